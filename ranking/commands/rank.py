"""`segrec rank`: a ranker learns from impressions, with or without scores of segments, or from segments themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from ranking.rankers import RankerConfig
    from segrec.fitting import FitResult
    from segrec.records import DatasetFolder, RunFolder


def add_to(app: typer.Typer) -> None:
    """Adds `rank` to `app`."""
    app.command("rank")(rank)


def rank(
    *,
    ranker: Annotated[
        str,
        typer.Argument(
            metavar="RANKER",
            help="adagin, can, dcn_mix, dcn_v2, deep_fm, dien, difm, din, final_mlp, logistic_regression, wide_deep, "
            "or an installed one",
        ),
    ],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="dataset folder")],
    label: Annotated[
        list[str],
        typer.Option(
            "--label",
            help="a flag of the log (is_click ...), effective_view, watch_time, watch_share; given several times: all "
            "side by side; of segments: a rate (lvtr, ctr)",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="run folder to write")],
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="SCORES.parquet", help="what `segrec score` wrote")
    ] = None,
    rows: Annotated[
        Literal["impressions", "segments"],
        typer.Option(
            "--rows",
            help="segments: learn the rate of each segment of live rooms from ids and earlier segments' counts; "
            "RUN/predictions.parquet is for `segrec evaluate highlight`",
        ),
    ] = "impressions",
    shift: Annotated[
        int,
        typer.Option(
            "--shift", min=0, max=1, help="with --rows segments: 0 = the segment's own rate, 1 = the next one's"
        ),
    ] = 0,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE.yaml", help="settings")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="one setting, e.g. scores.use=weights, allow_leak=true"),
    ] = None,
    warm_start: Annotated[
        Path | None,
        typer.Option(
            "--warm-start",
            metavar="RUN",
            help="start with an older run's rows of the same raw ids, e.g. with --set warm_start.tables=\\[item_id]",
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="tell where the time of 50 steps goes (--set profile_steps=N: of N)")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing run folder")] = False,
) -> None:
    """Train a ranker on the train rows and keep the weights that do best on the valid rows. A stopped run goes on."""
    from ranking.rankers import find_ranker
    from segrec.records import ConfigError, DatasetFolder

    older = [] if warm_start is None else [f"warm_start.run={json.dumps(str(warm_start))}"]
    profiled = ["profile_steps=50"] if profile else []
    settings = find_ranker(ranker).config.of(config, [*profiled, *(sets or ()), *older])
    opened = DatasetFolder.open(dataset)
    if rows == "segments":
        if scores is not None:
            raise ConfigError("--rows segments takes no --scores: those would be another model of the same rate")
        if len(label) > 1:
            raise ConfigError("--rows segments learns one rate: pass one --label")
        trained = _on_segments(ranker, opened, out, rate=label[0], shift=shift, config=settings, overwrite=overwrite)
    else:
        if shift:
            raise ConfigError("--shift is for --rows segments: an impression has no next one")
        trained = _on_impressions(ranker, opened, out, label=label, scores=scores, config=settings, overwrite=overwrite)
    _tell(*trained)


def _on_segments(
    ranker: str, dataset: DatasetFolder, out: Path, *, rate: str, shift: int, config: RankerConfig, overwrite: bool
) -> tuple[RunFolder, FitResult]:
    from ranking.training.segment_run import train_segment_ranker

    return train_segment_ranker(ranker, dataset, out, rate=rate, shift=shift, config=config, overwrite=overwrite)


def _on_impressions(
    ranker: str,
    dataset: DatasetFolder,
    out: Path,
    *,
    label: list[str],
    scores: Path | None,
    config: RankerConfig,
    overwrite: bool,
) -> tuple[RunFolder, FitResult]:
    from ranking.training.ranker_run import train_ranker
    from segrec.records import ScoreTable

    table = None if scores is None else ScoreTable.open(scores)
    leak = None if table is None else table.leak_warning()
    if leak is not None:
        typer.echo(f"warning: {leak}", err=True)
    return train_ranker(ranker, dataset, out, label=label, config=config, scores=table, overwrite=overwrite)


def _tell(run: RunFolder, result: FitResult) -> None:
    from ranking.id_report import IdReport
    from ranking.rows.damaged_shards import skipped_note
    from ranking.targets.labels import StoredLabel, note_of
    from ranking.training.warm_start import warm_start_lines
    from segrec.fitting.profiling import profile_lines
    from segrec.tables.plans import plan_lines

    for line in warm_start_lines(run.path):
        typer.echo(line)
    stopped = "stopped early" if result.stopped_early else "all epochs done"
    typer.echo(f"{run.meta.model}: {result.steps} steps, {stopped}; best after epoch {result.best_epoch + 1}")
    typer.echo("valid: " + ", ".join(f"{name} {value:.4f}" for name, value in result.best.items()))
    for note in (note_of(StoredLabel.load(run.path / "label.yaml")), skipped_note(run.path)):
        if note is not None:
            typer.echo(f"note: {note}")
    for title, lines in (
        ("tables", plan_lines(run.path)),
        ("ids", IdReport.read(run.path).lines()),
        ("profile", profile_lines(run.path)),
    ):
        for line in (f"{title}:", *lines) if lines else ():
            typer.echo(line)
    typer.echo(f"run: {run.path}")
