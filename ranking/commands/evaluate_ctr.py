"""`segrec evaluate ctr`: rankers' predictions measured on a split, beside other models, priors and placebos."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ranking.evaluation import Prediction
    from ranking.measures.evaluated_models import NamedPath, RunAnswers
    from ranking.measures.outcomes import Outcomes
    from ranking.targets.labels import SingleLabel
    from segrec.records import DatasetFolder, MetricRow, RunFolder, Split

Flag = Literal["is_click", "long_view"]
"Labels whose probability a made world knows."
SHOWN = (
    "AUC", "gauc_impression", "LogLoss", "NE",
    "MAE", "RMSE", "spearman_rows", "concordance", "concordance_user", "calibration_ratio",
)  # fmt: skip
"Metrics that are printed, for all rows; the file holds the others and the cohorts."
COHORTS_SHOWN = ("all", "warm", "cold", "first_of_user")
WIDTH = 150
"Of printed tables where there is no terminal."


def add_to(evaluate: typer.Typer) -> None:
    """Adds `ctr` to the group `evaluate`."""
    evaluate.command("ctr")(ctr)


def ctr(
    *,
    runs: Annotated[
        list[str], typer.Argument(metavar="RANKER_RUN...", help="ranker runs; seeds of one model are averaged")
    ],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="dataset folder")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.json", help="metric rows to write")],
    split: Annotated[str, typer.Option("--split", help="test or valid")] = "test",
    label: Annotated[
        list[str] | None, typer.Option("--label", help="only this label of runs that have several; may be repeated")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against", metavar="[NAME=]RUN|PREDICTIONS.parquet",
            help="a run, or predictions (user_id, item_id, time_ms, prediction), to take paired differences against",
        ),
    ] = None,
    placebo: Annotated[
        bool, typer.Option("--placebo", help="train the same ranker without scores and with placebo scores beside it")
    ] = False,
    placebo_runs: Annotated[
        Path | None, typer.Option("--placebo-runs", help="where those runs lie; default: beside --out")
    ] = None,
    replicates: Annotated[int, typer.Option(min=100, help="of the bootstrap over users")] = 1000,
) -> None:  # fmt: skip
    """Measure AUC, GAUC, LogLoss, NE, F1 and calibration with user-clustered 95% intervals, alone and paired."""
    from ranking.measures.evaluated_models import NamedPath, common_labels
    from ranking.measures.outcomes import Outcomes
    from segrec.records import SPLITS, ConfigError, DatasetFolder, RunFolder, write_metric_rows

    if split not in SPLITS:
        raise ConfigError(f"--split {split!r} is unknown (known: {', '.join(SPLITS)})")
    opened = DatasetFolder.open(dataset)
    given = [NamedPath.parse(text) for text in runs]
    folders = [RunFolder.open(path.path, "ranker") for path in given]
    labels = common_labels(folders, label or ())
    files, others = _others(against or [], opened, split, [one.name for one in labels])
    if files and len(labels) > 1:
        raise ConfigError(f"{files[0].path}: files of predictions are read for one label: say which with --label")
    own = _answers(folders, [path.name for path in given], opened, split)
    controls = _controls(folders, own, opened, split, placebo_runs or out.with_suffix("")) if placebo else []
    rows: list[MetricRow] = []
    for one in labels:
        outcomes = Outcomes.of(opened, one, split)
        found = _measured(
            opened, one, outcomes, own=own, others=[*controls, *others], files=files, replicates=replicates
        )
        rows += found
        _show(found, outcomes)
    write_metric_rows(out, rows)
    typer.echo(f"{out}: {len(rows):,} rows")


def _measured(
    dataset: DatasetFolder,
    label: SingleLabel,
    outcomes: Outcomes,
    *,
    own: Sequence[RunAnswers],
    others: Sequence[RunAnswers],
    files: Sequence[NamedPath],
    replicates: int,
) -> list[MetricRow]:
    """The metric rows of one label."""
    from ranking.evaluation import metric_rows
    from ranking.measures.evaluated_models import check_distinct, file_predictions, labels_of

    ours = [answers.on(outcomes) for answers in own]
    theirs = [answers.on(outcomes) for answers in others if label.name in labels_of(answers.run)]
    theirs += file_predictions(files, outcomes)
    references, lift = _references(dataset, label, outcomes)
    predictions = [*ours, *theirs, *references]
    check_distinct(predictions)
    return metric_rows(outcomes, predictions, _pairs(ours, theirs), lift=lift, replicates=replicates)


def _answers(
    folders: Sequence[RunFolder], given: Sequence[str | None], dataset: DatasetFolder, split: Split
) -> list[RunAnswers]:
    from ranking.measures.evaluated_models import RunAnswers, model_names

    names = model_names(folders, given)
    return [RunAnswers.of(run, name, dataset, split) for run, name in zip(folders, names, strict=True)]


def _others(
    against: Sequence[str], dataset: DatasetFolder, split: Split, labels: Sequence[str]
) -> tuple[list[NamedPath], list[RunAnswers]]:
    """Files, and the answers of runs that have one of the labels."""
    from ranking.measures.evaluated_models import NamedPath, labels_of
    from segrec.records import ConfigError, RunFolder

    given = [NamedPath.parse(text) for text in against]
    named = [path for path in given if not path.is_file]
    folders = [RunFolder.open(path.path, "ranker") for path in named]
    for run in folders:
        if not set(labels_of(run)) & set(labels):
            raise ConfigError(f"{run.path} was trained for {run.meta.label!r}, not for {', '.join(map(repr, labels))}")
    answers = _answers(folders, [path.name for path in named], dataset, split)
    return [path for path in given if path.is_file], answers


def _controls(
    folders: Sequence[RunFolder], own: Sequence[RunAnswers], dataset: DatasetFolder, split: Split, folder: Path
) -> list[RunAnswers]:
    """Each run with scores, again without them and with placebos."""
    from ranking.measures.evaluated_models import RunAnswers
    from ranking.measures.placebo_runs import placebo_runs
    from segrec.records import ConfigError

    known = {(answers.name, answers.run.meta.seed) for answers in own}
    scored = [run for run in folders if run.meta.scores is not None]
    if not scored:
        raise ConfigError(f"{folders[0].path} was trained without scores: --placebo needs a run with --scores")
    return [
        RunAnswers.of(control, name, dataset, split)
        for run in scored
        for name, control in placebo_runs(run, dataset, folder / run.path.resolve().name)
        if (name, control.meta.seed) not in known
    ]


def _references(
    dataset: DatasetFolder, label: SingleLabel, outcomes: Outcomes
) -> tuple[list[Prediction], tuple[str, str] | None]:
    """The rate priors and, in a made world that knows this label's probability, the oracle."""
    from ranking.evaluation import Prediction
    from ranking.targets.rate_priors import position_prior, prior_probabilities
    from segrec.worlds.oracle import FLAG_PROBABILITIES, Oracle

    priors = prior_probabilities(dataset, label, outcomes.rows)
    found = [Prediction(name, probabilities) for name, probabilities in priors.items()]
    if dataset.truth() is None or label.name not in FLAG_PROBABILITIES:
        return found, None
    oracle = Oracle.of(dataset)
    probabilities = oracle.flag_probability(outcomes.rows, cast("Flag", label.name))
    found.append(Prediction(oracle.name, probabilities))
    return found, (position_prior(dataset), oracle.name)


def _pairs(own: Sequence[Prediction], others: Sequence[Prediction]) -> list[tuple[str, str]]:
    """Each run's model against each other one; the first run's model also against the other runs'."""
    models = list(dict.fromkeys(prediction.model for prediction in own))
    against = [name for name in dict.fromkeys(prediction.model for prediction in others) if name not in models]
    return [(models[0], name) for name in models[1:]] + [(model, name) for model in models for name in against]


def _show(rows: Sequence[MetricRow], outcomes: Outcomes) -> None:
    from rich.console import Console
    from rich.table import Table

    from ranking.evaluation import ORACLE_SHARE
    from segrec.records.metric_rows import table

    console = Console() if Console().is_terminal else Console(width=WIDTH)
    over_seeds = [row for row in rows if row.seed is None]
    for cohort in COHORTS_SHOWN:
        own = [row for row in over_seeds if row.cohort == cohort]
        for title, metrics in (("", SHOWN), (", share of the oracle's lift", [ORACLE_SHARE + name for name in SHOWN])):
            asked = [row for row in own if row.metric in metrics and not math.isnan(row.value)]
            if not asked:
                continue
            present = [metric for metric in metrics if any(row.metric == metric for row in asked)]
            header, *lines = table(asked, present)
            told = f"{outcomes.label}, {outcomes.split}, {cohort}: {asked[0].n:,} rows{title}"
            shown = Table(title=told, title_justify="left")
            for name in header:
                shown.add_column(name.removeprefix(ORACLE_SHARE), no_wrap=name == "model", overflow="fold")
            for line in lines:
                shown.add_row(*line)
            console.print(shown)
