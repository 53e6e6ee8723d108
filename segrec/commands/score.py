"""`segrec score`: a frozen encoder's scores for a dataset (views or live rooms), or somebody else's brought in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def add_to(app: typer.Typer) -> None:
    """Adds `score` to `app`."""
    app.command("score")(score)


def score(  # noqa: PLR0917 - typer makes them options
    paths: Annotated[list[Path], typer.Argument(metavar="RUN DATASET", help="with --import or --prior: DATASET alone")],
    out: Annotated[Path, typer.Option("--out", metavar="SCORES.parquet", help="score table to write")],
    cross_fit: Annotated[
        int | None, typer.Option(metavar="K", help="score train rows (rooms) by K refits that did not see them")
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="scores of a prior: random, position, length_position, user, item, user_shrunk, item_shrunk, "
            "lightgbm_hazard",
        ),
    ] = None,
    imported: Annotated[
        Path | None, typer.Option("--import", metavar="FILE", help="scores of your own, Parquet or CSV")
    ] = None,
    trained_until: Annotated[
        str | None, typer.Option(metavar="DATE", help="--import: last day that the scores' model was trained on")
    ] = None,
    kind: Annotated[str, typer.Option(help="--import: relevance or stay_probability")] = "relevance",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing score table")] = False,
) -> None:
    """Score every impression's segments, or every segment of live rooms; train rows out of fold with --cross-fit."""
    from segrec.records import ConfigError, DataError, DatasetFolder, RunFolder
    from segrec.scoring.importing import ImportRequest, import_scores
    from segrec.scoring.prior_scores import write_prior_scores
    from segrec.scoring.score_tables import write_scores

    if imported is not None and prior is not None:
        raise ConfigError("--import and --prior are two sources of scores; give one")
    expected = 2 if imported is None and prior is None else 1
    if len(paths) != expected:
        form = "RUN DATASET" if expected == 2 else f"--{'prior NAME' if prior else 'import FILE'} DATASET"
        raise ConfigError(f"segrec score takes {form} (found: {' '.join(map(str, paths))})")
    if out.exists() and not overwrite:
        raise DataError(out, "exists already", fix="choose another --out, or pass --overwrite")
    dataset = DatasetFolder.open(paths[-1])
    if imported is not None:
        table, note = import_scores(ImportRequest.of(imported, trained_until, kind, cross_fit), dataset, out)
        typer.echo(note)
    elif prior is not None:
        table = write_prior_scores(prior, dataset, out, cross_fit)
    else:
        table = write_scores(RunFolder.open(paths[0], "encoder"), dataset, out, cross_fit)
    _tell(table)


def _tell(table: Any) -> None:
    import polars as pl

    rows = table.frame().select(pl.len()).collect().item()
    typer.echo(f"{table.path}: {rows:,} rows, {table.meta.kind} by {table.meta.encoder}")
    warning = table.leak_warning()
    if warning is not None:
        typer.echo(f"warning: {warning}")
