"""`segrec rank`: a ranker learns from a dataset, with or without per-segment scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Adds `rank` to `app`."""
    app.command("rank")(rank)


def rank(  # noqa: PLR0917 - typer makes them options
    ranker: Annotated[
        str,
        typer.Argument(
            metavar="RANKER", help="dcn_v2, deep_fm, difm, logistic_regression, wide_deep, or an installed one"
        ),
    ],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="dataset folder")],
    label: Annotated[str, typer.Option("--label", help="a flag of the log (is_click ...) or effective_view")],
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="run folder to write")],
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="SCORES.parquet", help="what `segrec score` wrote")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE.yaml", help="settings")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="one setting, e.g. scores.use=weights")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing run folder")] = False,
) -> None:
    """Train a ranker on the train rows and keep the weights that do best on the valid rows. A stopped run goes on."""
    from ranking.rankers import find_ranker
    from ranking.training.ranker_run import train_ranker
    from segrec.records import DatasetFolder, ScoreTable

    settings = find_ranker(ranker).config.of(config, sets or ())
    opened = DatasetFolder.open(dataset)
    table = None if scores is None else ScoreTable.open(scores)
    leak = None if table is None else table.leak_warning()
    if leak is not None:
        typer.echo(f"warning: {leak}", err=True)
    run, result = train_ranker(ranker, opened, out, label=label, config=settings, scores=table, overwrite=overwrite)
    stopped = "stopped early" if result.stopped_early else "all epochs done"
    typer.echo(f"{run.meta.model}: {result.steps} steps, {stopped}; best after epoch {result.best_epoch + 1}")
    typer.echo("valid: " + ", ".join(f"{name} {value:.4f}" for name, value in result.best.items()))
    typer.echo(f"run: {run.path}")
