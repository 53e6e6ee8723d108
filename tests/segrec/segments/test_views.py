"""The skip-task rows and their grid."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from segrec.records import DatasetFolder
from segrec.segments.views import grid_width, skip_views_of, with_grid


@pytest.fixture
def four_rows(make_interest_dataset: Callable[..., DatasetFolder], small_log: pl.DataFrame) -> DatasetFolder:
    """Skipped in segment 1; watched to the end; not watched; too long."""
    rows = small_log.filter(pl.col("split") == "train")[:4].with_columns(
        duration_ms=pl.Series([12_000, 7_000, 7_000, 205_000]),
        watch_ms=pl.Series([6_000, 7_001, 0, 203_000]),
        time_ms=pl.col("time_ms").min() + pl.int_range(4) * 3_600_000,
    )
    return make_interest_dataset(rows)


def test_views_by_hand(four_rows: DatasetFolder) -> None:
    views = skip_views_of(four_rows, ["train"])
    assert views["n_segments"].to_list() == [3, 2]
    assert views["exit_segment"].to_list() == [1, 2]
    assert views["hour"].to_list() == [(time // 3_600_000) % 24 for time in views["time_ms"].to_list()]
    assert views.schema["n_segments"] == views.schema["exit_segment"] == pl.Int32


def test_other_splits_are_left_out(four_rows: DatasetFolder) -> None:
    assert skip_views_of(four_rows, ["valid", "test"]).is_empty()


def test_long_videos_are_cut_at_the_grid(four_rows: DatasetFolder) -> None:
    """205 s are 41 segments: the grid holds 40, and a view that left after them counts as 'stayed'."""
    rows = with_grid(four_rows.interactions(), four_rows).collect()
    assert rows["n_segments"].to_list() == [3, 2, 2, 40]
    assert rows["exit_segment"].to_list() == [1, 2, 0, 40]


@pytest.mark.parametrize(("segment_ms", "width"), [(5000, 40), (3000, 67), (200_000, 1)])
def test_grid_covers_200_seconds(segment_ms: int, width: int) -> None:
    assert grid_width(segment_ms) == width


def test_views_are_in_time_order(interest_dataset: DatasetFolder) -> None:
    views = skip_views_of(interest_dataset, ["train", "valid", "test"])
    assert views["time_ms"].is_sorted()
    assert (views["watch_ms"] > 0).all()
    assert (views["duration_ms"] < 200_000).all()
