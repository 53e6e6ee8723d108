"""A run, or a folder of runs, as one HTML file that asks nothing of the network and runs no script."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ranking.prediction import binary_answers, predict
from ranking.report.calibration import calibration_picture, exit_calibration
from ranking.report.charts import Absent, Picture
from ranking.report.differences import Differences, differences
from ranking.report.gathering import Gathered, RunRecord, gather
from ranking.report.heat_strips import HeatStrips, heat_strips, ticks
from ranking.report.live_part import LivePart, live_part
from ranking.report.metric_names import better, meaning
from ranking.report.metric_tables import TASKS, MetricTable, metric_tables
from ranking.report.scored_views import ScoredViews, scored_views
from ranking.report.skip_positions import measured_positions, skip_positions
from ranking.report.training_curves import TrainingCurves, training_curves
from ranking.training.trained_ranker import WEIGHTS
from segrec.records import DatasetFolder, SegrecError, new_file
from segrec.skip_evaluation import Verdict, verdicts

MOST_PREDICTED = 2_000_000
"A ranker with more test rows is not run again for its calibration curve."


@dataclass(frozen=True)
class RunPart:
    """One run with its training curves."""

    record: RunRecord
    config: str
    curves: TrainingCurves | Absent


@dataclass(frozen=True)
class ScorePart:
    """Everything drawn from segment scores."""

    made_by: str
    scored: ScoredViews
    strips: HeatStrips | None
    ticks: list[float]
    positions: list[Picture]
    calibration: Picture | None


@dataclass(frozen=True)
class Page:
    """What the template writes."""

    title: str
    runs: list[RunPart]
    datasets: list[DatasetFolder]
    tables: dict[str, list[MetricTable]]
    unmeasured: dict[str, Absent]
    "Tasks without a test row."
    differences: dict[str, list[Differences]]
    calibrations: dict[str, list[Picture | Absent]]
    verdicts: list[Verdict]
    positions: list[Picture]
    "Drawn from metric rows, so at hand without scores."
    scores: ScorePart | Absent | None
    "None: no run here is about videos."
    live: LivePart | None
    "None: nothing here is about live rooms."


def write_page(source: Path, out: Path | None = None) -> Path:
    """Writes the page of a run folder, or of a folder of runs, to `out` (default: report.html inside it).

    :raises DataError: no run there, a metric file that does not parse, or a place that cannot be written.
    """
    gathered = gather(Path(source))
    out = Path(source) / "report.html" if out is None else Path(out)
    html = render(build(gathered))
    with new_file(out) as building:
        building.write_text(html, encoding="utf-8")
    return out


def build(gathered: Gathered) -> Page:
    """Everything on the page, drawn."""
    return Page(
        title=_title(gathered),
        runs=[_run_part(run) for run in gathered.runs],
        datasets=_datasets(gathered),
        tables={task: _tables(gathered, task) for task in _tasks(gathered)},
        unmeasured={task: _unmeasured(gathered, task) for task in _tasks(gathered) if not _tested(gathered, task)},
        differences={task: differences(gathered.rows, task) for task in _tasks(gathered)},
        calibrations={task: _calibrations(gathered) if task == "ctr" else [] for task in _tasks(gathered)},
        verdicts=verdicts([row for row in gathered.rows if row.task == "skip"]),
        positions=measured_positions(gathered.rows, [run.meta.model for run in gathered.runs]),
        scores=_score_part(gathered),
        live=live_part(gathered),
    )


def render(page: Page) -> str:
    """The page as HTML; every text is escaped."""
    environment = Environment(
        loader=PackageLoader("ranking.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["absent"] = lambda value: isinstance(value, Absent)
    environment.filters.update(better=better, meaning=meaning, count=lambda number: f"{number:,}")
    known: dict[str, Any] = {"page": page, "task_names": TASKS}
    return environment.get_template("page.html.j2").render(known)


def _title(gathered: Gathered) -> str:
    if len(gathered.runs) > 1:
        return f"Runs in {gathered.path.resolve().name}"
    run = gathered.runs[0]
    on = "" if run.dataset_meta is None else f" on {run.dataset_meta.format}"
    return f"{run.meta.model}{on}"


def _run_part(run: RunRecord) -> RunPart:
    config = run.folder.config
    text = config.read_text(encoding="utf-8") if config.is_file() else "config.yaml is missing"
    curves = training_curves(run.folder.path / "events")
    return RunPart(run, text, curves or Absent("this run wrote no TensorBoard events", _refit(run)))


def _labels(run: RunRecord) -> str:
    """The options of `segrec rank` for the run's labels."""
    return " ".join(f"--label {label}" for label in str(run.meta.label).split("+"))


def _refit(run: RunRecord) -> str:
    verb = "fit" if run.meta.kind == "encoder" else "rank"
    rows = (
        f" --label {run.meta.label} --rows segments --shift {run.meta.label_shift}"
        if run.meta.rows == "segments"
        else ""
    )
    return f"segrec {verb} {run.meta.name} {run.meta.dataset} --out {run.folder.path}{rows}"


def _datasets(gathered: Gathered) -> list[DatasetFolder]:
    found = {run.dataset.meta.fingerprint: run.dataset for run in gathered.runs if run.dataset is not None}
    return list(found.values())


def _tasks(gathered: Gathered) -> list[str]:
    wanted = {run.task for run in gathered.runs} | {row.task for row in gathered.rows}
    return [task for task in TASKS if task in wanted]


def _tables(gathered: Gathered, task: str) -> list[MetricTable]:
    own = [run.meta.model for run in gathered.runs]
    return metric_tables([row for row in gathered.rows if row.task == task], own)


def _tested(gathered: Gathered, task: str) -> bool:
    return any(row.task == task and row.split == "test" for row in gathered.rows)


def _unmeasured(gathered: Gathered, task: str) -> Absent:
    run = next((run for run in gathered.runs if run.task == task), gathered.runs[0])
    command = f"segrec evaluate {task} {run.folder.path} {run.meta.dataset} --out {run.folder.path}/{task}_test.json"
    return Absent("the test rows have not been measured", command)


def _calibrations(gathered: Gathered) -> list[Picture | Absent]:
    """Those of each ranker run whose dataset and scores are at hand."""
    return [
        picture
        for run in gathered.runs
        if run.task == "ctr" and run.dataset
        for picture in _calibrations_of(run, run.dataset)
    ]


def _calibrations_of(run: RunRecord, dataset: DatasetFolder) -> list[Picture | Absent]:
    """One picture a label that is 0 or 1."""
    if dataset.meta.rows.get("test", 0) > MOST_PREDICTED or not (run.folder.path / WEIGHTS).is_file():
        return [Absent(f"the calibration of {run.label}: more than {MOST_PREDICTED:,} test rows, or no weights")]
    try:
        found = predict(run.folder, dataset, "test", scores=run.scores)
    except SegrecError as error:
        return [Absent(f"the calibration of {run.label}: {error}")]
    return [
        calibration_picture(labels, probabilities, f"{run.meta.model}, {label}", "rows")
        for label, labels, probabilities in binary_answers(found, run.meta.label or "")
    ]


def _score_part(gathered: Gathered) -> ScorePart | Absent | None:
    """From the encoder's run where there is one, else from the table that a ranker used."""
    of_videos = [run for run in gathered.runs if not run.of_rooms]
    for run in sorted(of_videos, key=lambda run: run.meta.kind != "encoder"):
        scored = scored_views(run)
        if scored is not None and run.dataset is not None:
            return _drawn(run, run.dataset, scored)
    return _why_no_scores(of_videos[0]) if of_videos else None


def _drawn(run: RunRecord, dataset: DatasetFolder, scored: ScoredViews) -> ScorePart:
    segment_ms = dataset.meta.segment_ms
    strips = heat_strips(scored, segment_ms, dataset.truth())
    calibrated = scored.kind == "stay_probability"
    return ScorePart(
        made_by=run.meta.model if run.scores is None else run.scores.meta.encoder,
        scored=scored,
        strips=strips,
        ticks=[] if strips is None else ticks(strips.longest_seconds),
        positions=skip_positions(scored, segment_ms) if calibrated else [],
        calibration=exit_calibration(scored) if calibrated else None,
    )


def _why_no_scores(run: RunRecord) -> Absent:
    if run.dataset is None:
        return Absent(f"the dataset folder {run.meta.dataset} is not there any more, or has changed since the run")
    if run.meta.kind == "ranker" and run.meta.scores is None:
        return Absent(
            "this ranker ran without segment scores",
            f"{_refit(run)}-with-scores {_labels(run)} --scores SCORES.parquet",
        )
    return Absent(
        f"no score table with test rows of {run.meta.dataset} lies at {run.meta.scores or run.folder.path}",
        f"segrec score ENCODER_RUN {run.meta.dataset} --out SCORES.parquet",
    )
