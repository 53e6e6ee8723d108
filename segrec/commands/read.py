"""`segrec read`: a public or private log becomes a dataset folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def add_to(app: typer.Typer) -> None:
    """Adds `read` to `app`."""
    app.command("read")(read)


def read(
    format_name: Annotated[
        str,
        typer.Argument(metavar="FORMAT", help="kuairand, segmm, klive, kuailive, kuailive_m3, table (your own log)"),
    ],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="folder or file as downloaded")],
    *,
    out: Annotated[Path, typer.Option("--out", help="dataset folder to write")],
    valid_from: Annotated[str | None, typer.Option(help="first day of valid, YYYY-MM-DD in the source's clock")] = None,
    test_from: Annotated[str | None, typer.Option(help="first day of test; live rooms: by their start")] = None,
    split: Annotated[
        str | None, typer.Option(help="time (default), users or published; klive: published (default) or time")
    ] = None,
    only: Annotated[str | None, typer.Option(metavar="FLAG", help="keep rows whose FLAG is 1, e.g. is_click")] = None,
    columns: Annotated[Path | None, typer.Option(metavar="MAP.yaml", help="table: which column is what")] = None,
    segment_ms: Annotated[int | None, typer.Option(help="length of a segment; default 5000, kuailive 300000")] = None,
    with_month_averages: Annotated[
        bool, typer.Option("--with-month-averages", help="kuairand: read statistics that see the future")
    ] = False,
    label_shift: Annotated[
        str | None,
        typer.Option(help="klive: applied = the file's lvtr is already the next segment's; none = it is not"),
    ] = None,
    utc_offset: Annotated[
        float | None,
        typer.Option(metavar="HOURS", help="kuailive_m3: clock of datetimes without a zone; default: found out"),
    ] = None,
    long_view_s: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="live sessions: a long view lasts longer; default 60")
    ] = None,
    vectors_type: Annotated[str, typer.Option(help="float32 or float16: how segment vectors are stored")] = "float32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing dataset folder")] = False,
) -> None:
    """Read a log or live rooms into a dataset folder: checked, cut by day, joined by time, sorted and split."""
    from segrec.datasets import ReadOptions, find_reader, write_dataset
    from segrec.splitting import SplitRequest

    options = ReadOptions.checked(
        {
            "split": SplitRequest.asked(split, valid_from, test_from),
            "only": only,
            "columns": columns,
            "segment_ms": segment_ms,
            "with_month_averages": with_month_averages,
            "vectors_type": vectors_type,
            "label_shift": label_shift,
            "utc_offset": utc_offset,
            "long_view_s": long_view_s,
        }
    )
    log = find_reader(format_name)(source, options)
    _tell(write_dataset(log, out, options, overwrite=overwrite))
    for note in log.notes:
        typer.echo(f"note: {note}")


def _tables(meta: Any) -> list[tuple[str, dict[str, int]]]:
    return [("rows", meta.rows), ("segments", meta.segments)]


def _by_split(rows: dict[str, int]) -> str:
    return ", ".join(f"{part} {count:,}" for part, count in rows.items())


def _known(dataset: Any, rate: str) -> str:
    from polars import col

    known, mean = dataset.segments().select(col(rate).count(), col(rate).mean().alias("mean")).collect().row(0)
    return f"known in {known:,} segments, mean {mean or 0:.4f}"


def _tell(dataset: Any) -> None:
    meta = dataset.meta
    sizes = [f"{sum(rows.values()):,} {what} ({_by_split(rows)})" for what, rows in _tables(meta) if sum(rows.values())]
    typer.echo(f"{dataset.path}: {', '.join(sizes)}, split by {meta.split.rule}")
    for name, rate in meta.rates.items():
        typer.echo(f"segments: rate {name} of {rate.trials or 'unknown'} trials, {_known(dataset, name)}")
    if meta.split.rule == "published":
        typer.echo("note: random within each user, to compare with published numbers only; it mixes past and future")
    for title, counts in (("rejected", meta.rejected), ("left out", meta.left_out)):
        if counts:
            typer.echo(f"{title}: " + ", ".join(f"{reason}: {count:,}" for reason, count in counts.items()))
    for name in dataset.vector_names():
        vectors = dataset.vectors(name).meta
        typer.echo(f"segments/{name}: {vectors.rows:,} vectors of {vectors.dim} x {vectors.dtype}, {vectors.model}")
    typer.echo(f"source: {meta.source}; licence: {meta.licence}")
