"""Views: rows of a dataset with their segment grid, as every skip model takes them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from segrec.records import DataError, DatasetFolder, Split, exit_segment, segment_count, skip_views
from segrec.records.interactions import SKIP_MAX_DURATION_MS

_MS_AN_HOUR = 3_600_000


def grid_width(segment_ms: int) -> int:
    """Segments in the longest video of the skip task (200 s): 40 at 5 s. Longer videos are scored that far."""
    return -(-SKIP_MAX_DURATION_MS // segment_ms)


def check_views(dataset: DatasetFolder) -> None:
    """:raises DataError: a dataset of live rooms, whose impressions have no length to skip in."""
    if dataset.meta.segments:
        raise DataError(
            dataset.path, "holds live rooms", expected="views of videos",
            fix="take an encoder of live rooms (content_ctr, kuaihl), measure it with `segrec evaluate highlight`",
        )  # fmt: skip


def skip_views_of(dataset: DatasetFolder, splits: Sequence[Split]) -> pl.DataFrame:
    """The skip-task rows of `splits` in time order, with n_segments, exit_segment and hour.

    Rows: watch_ms > 0 and 0 < duration_ms < 200 s. `exit_segment` is 0-based and equals n_segments when the view
    was watched to the end; `hour` is 0..23 on the source's clock. All interaction columns are kept.
    """
    rows = dataset.interactions(splits).filter(skip_views())
    return with_grid(rows, dataset).sort("time_ms", maintain_order=True).collect()


def with_grid(rows: pl.LazyFrame, dataset: DatasetFolder) -> pl.LazyFrame:
    """`rows` with n_segments, exit_segment and hour; a video beyond the grid counts as the grid's length."""
    segment_ms, width = dataset.meta.segment_ms, grid_width(dataset.meta.segment_ms)
    clock_ms = pl.col("time_ms") + round(dataset.meta.utc_offset_hours * _MS_AN_HOUR)
    return rows.with_columns(
        n_segments=segment_count(segment_ms).clip(upper_bound=width),
        exit_segment=exit_segment(segment_ms).clip(upper_bound=width),
        hour=((clock_ms // _MS_AN_HOUR) % 24).cast(pl.Int32),
    )
