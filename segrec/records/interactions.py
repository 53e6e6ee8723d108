"""Names and types of an impression's columns: the one schema that everybody speaks."""

from __future__ import annotations

from typing import Literal

import polars as pl

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")

KEY = ("user_id", "item_id", "time_ms")
"An impression's key."

ID_COLUMNS = ("user_id", "item_id", "author_id")
"Int64 or String, as in the source. author_id may be null."

REQUIRED: dict[str, pl.DataType] = {
    "time_ms": pl.Int64(),
    "duration_ms": pl.Int64(),
    "watch_ms": pl.Int64(),
    "split": pl.String(),
}
"Columns that every interactions file has, besides user_id, item_id and author_id."

SKIP_MAX_DURATION_MS = 200_000
"Short-video skip tables use 0 < duration < 200 s (design: honest measurement 1)."


def skip_views() -> pl.Expr:
    """True for the rows of the skip task: watch_ms > 0 and 0 < duration_ms < 200,000."""
    return (pl.col("watch_ms") > 0) & (pl.col("duration_ms") > 0) & (pl.col("duration_ms") < SKIP_MAX_DURATION_MS)


def segment_count(segment_ms: int) -> pl.Expr:
    """N = ceil(duration_ms / segment_ms) as Int32."""
    return ((pl.col("duration_ms") + segment_ms - 1) // segment_ms).cast(pl.Int32)


def exit_segment(segment_ms: int) -> pl.Expr:
    """The 0-based segment in which the view ended, or N when watched to the end, as Int32 (SegMM, section 3.1)."""
    inside = ((pl.col("watch_ms") + segment_ms - 1) // segment_ms - 1).clip(lower_bound=0)
    full = pl.col("watch_ms") >= pl.col("duration_ms")
    return pl.when(full).then(segment_count(segment_ms)).otherwise(inside).cast(pl.Int32)
