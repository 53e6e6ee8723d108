"""`segrec checkpoint`: look into checkpoints, compare two, take their weights out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_WHERE = "run folder (then its best checkpoint) or one checkpoint, RUN/checkpoints/step_..."
_Checkpoint = Annotated[Path, typer.Argument(metavar="RUN_OR_CHECKPOINT", help=_WHERE)]


def add_to(app: typer.Typer) -> None:
    """Adds the group `checkpoint` to `app`."""
    group = typer.Typer(
        help="Inspect, compare and export training checkpoints. Open only your own: a part is a pickle.",
        no_args_is_help=True,
    )
    group.command("inspect")(inspect)
    group.command("diff")(diff)
    group.command("export")(export)
    app.add_typer(group, name="checkpoint")


def inspect(where: _Checkpoint) -> None:
    """Where the run stood, which checkpoints are intact, tables, optimizer states and sizes."""
    from segrec.fitting.checkpoint_report import report

    for line in report(where):
        typer.echo(line)


def diff(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help=_WHERE)],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help=_WHERE)],
) -> None:
    """Settings and tensors that differ: first | second. Exit code 0 whether they differ or not."""
    from segrec.fitting.checkpoint_difference import differences

    found = 0
    for line in differences(first, second):
        typer.echo(line)
        found += 1
    if not found:
        typer.echo("equal: settings, progress, weights and optimizer states")


def export(
    where: _Checkpoint,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="FILE.safetensors, or with --table FILE.parquet, to write")
    ],
    table: Annotated[
        str | None,
        typer.Option("--table", metavar="NAME", help="only this table: id, code and vector a row, as Parquet"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing file")] = False,
) -> None:
    """Write whole, unsharded weights."""
    from segrec.fitting.checkpoint_export import export_table, export_weights
    from segrec.fitting.stored_checkpoint import StoredCheckpoint
    from segrec.records import DataError, check_suffix

    if out.exists() and not overwrite:
        raise DataError(out, "exists already", fix="choose another --out, or pass --overwrite")
    check_suffix(out, ".safetensors" if table is None else ".parquet")
    stored = StoredCheckpoint.open(where)
    if table is None:
        typer.echo(f"{out}: {export_weights(stored, out)} tensors of {stored.path.name}")
    else:
        typer.echo(f"{out}: {export_table(stored, table, out)} rows of table {table!r} of {stored.path.name}")
