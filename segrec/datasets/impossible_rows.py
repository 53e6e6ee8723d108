"""Rows that parse but cannot be true: taken out and counted by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import polars as pl

_NEEDED = ("user_id", "item_id", "time_ms", "duration_ms", "watch_ms")

LATEST_MS = 4_102_444_800_000
"2100-01-01: a later time is a wrong unit."


def impossible(
    schema: pl.Schema, flags: Sequence[str], own: Mapping[str, pl.Expr], may_miss: Sequence[str] = ()
) -> dict[str, pl.Expr]:
    """{reason: expression that is true for such rows}, in the order in which they are counted.

    Columns of `may_miss` may be null.
    """
    needed = [name for name in (*_NEEDED, *flags) if name not in may_miss]
    reasons = {f"missing {name}": _missing(name, schema[name]) for name in needed}
    return {
        **reasons,
        "time_ms < 0": pl.col("time_ms") < 0,
        "time_ms after 2100": pl.col("time_ms") >= LATEST_MS,
        "duration_ms <= 0": pl.col("duration_ms") <= 0,
        "watch_ms < 0": pl.col("watch_ms") < 0,
        **own,
    }


def take_out(frame: pl.DataFrame, reasons: Mapping[str, pl.Expr], counted: Counter[str]) -> pl.DataFrame:
    """`frame` without the rows of `reasons`; a row counts for its first reason only."""
    bad = frame.select(pl.any_horizontal(expr.fill_null(False) for expr in reasons.values()).alias("bad"))["bad"]
    if not bad.any():
        return frame
    first = pl.coalesce(pl.when(expr).then(pl.lit(reason)) for reason, expr in reasons.items())
    for reason, rows in frame.filter(bad).select(first.alias("reason"))["reason"].value_counts().iter_rows():
        counted[reason] += rows
    return frame.filter(~bad)


def _missing(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name).is_null() | (pl.col(name) == "") if dtype == pl.String else pl.col(name).is_null()
