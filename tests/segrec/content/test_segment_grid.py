"""Which segment a moment falls into, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from segrec.content.segment_grid import SegmentGrid
from segrec.records import DataError, DatasetFolder

ROOM_START = 1_747_000_000_000


def _placed(grid: SegmentGrid, *moments: tuple[Any, int | None, int | None]) -> list[int | None]:
    schema = {"item_id": grid.frame.schema["item_id"], "segment": pl.Int32(), "time_ms": pl.Int64()}
    return grid.placed(pl.DataFrame(list(moments), schema=schema, orient="row"))["place"].to_list()


def test_rooms_count_from_their_own_start(grid: SegmentGrid) -> None:
    assert grid.frame.rows() == [
        (7, 0, 0, 30_000), (7, 1, 30_000, 60_000), (7, 2, 60_000, 90_000), (7, 4, 120_000, 150_000),
        (8, 0, 0, 30_000), (8, 1, 30_000, 60_000),
    ]  # fmt: skip
    assert grid.segments_of(8) == slice(4, 6)
    assert (grid.item_of("7"), grid.item_of("9"), grid.item_of("x")) == (7, None, None)


def test_a_segment_holds_its_start_but_not_its_end(grid: SegmentGrid) -> None:
    assert _placed(
        grid, (7, None, 0), (7, None, 29_999), (7, None, 30_000), (7, None, 89_999), (7, None, 90_000),
        (7, None, 119_999), (7, None, 120_000), (7, None, 149_999), (7, None, 150_000), (8, None, 59_999),
    ) == [0, 0, 1, 2, None, None, 3, 3, None, 5]  # fmt: skip


def test_a_time_may_be_on_the_datasets_clock(grid: SegmentGrid) -> None:
    assert _placed(
        grid, (7, None, ROOM_START), (7, None, ROOM_START + 120_000), (8, None, ROOM_START + 3_600_000 + 30_000),
        (8, None, ROOM_START),
    ) == [0, 3, 5, None]  # fmt: skip


def test_a_named_segment_wins_over_the_time(grid: SegmentGrid) -> None:
    assert _placed(grid, (7, 2, 0), (7, 3, None), (9, 0, None), (9, None, 5), (8, None, None)) == [
        2, None, None, None, None,
    ]  # fmt: skip


def test_moments_keep_their_order_and_columns(grid: SegmentGrid) -> None:
    moments = pl.DataFrame(
        {"item_id": [8, 7, 8], "segment": pl.Series([None, 1, 0], dtype=pl.Int32), "time_ms": [31_000, None, None],
         "text": ["c", "a", "b"]}
    )  # fmt: skip
    expected = moments.with_columns(place=pl.Series([5, 1, 4], dtype=pl.Int64))
    assert_frame_equal(grid.placed(moments), expected)


def test_ids_that_are_text(write_rooms: Callable[..., DatasetFolder]) -> None:
    grid = SegmentGrid.of(write_rooms(id_form="room{}"))
    assert grid.item_of("room7") == "room7"
    assert _placed(grid, ("room8", None, 30_000), ("room7", 4, None)) == [5, 3]


def test_a_room_begins_where_items_say(rooms: DatasetFolder) -> None:
    """Segment 0 is missing from the table: what is relative still counts from the room's start."""
    file = rooms.path / "segments" / "part-00000.parquet"
    pl.read_parquet(file).filter(pl.col("segment") > 0).write_parquet(file)
    grid = SegmentGrid.of(rooms)
    assert grid.frame.row(0) == (7, 1, 30_000, 60_000)
    assert _placed(grid, (7, None, 10_000), (7, None, 35_000)) == [None, 0]


@pytest.mark.parametrize("in_items", [True, False])
def test_short_videos_are_cut_by_their_durations(
    write_videos_dataset: Callable[..., DatasetFolder], in_items: bool
) -> None:
    grid = SegmentGrid.of(write_videos_dataset({5: 12_000, 6: 5_000, 9: 3_600_000}, in_items=in_items))
    assert grid.frame.filter(pl.col("item_id") < 9).rows() == [
        (5, 0, 0, 5_000), (5, 1, 5_000, 10_000), (5, 2, 10_000, 12_000), (6, 0, 0, 5_000),
    ]  # fmt: skip
    assert grid.frame.filter(pl.col("item_id") == 9).height == 40
    assert _placed(grid, (5, None, 11_999), (5, None, 12_000), (6, None, 0)) == [2, None, 3]


def test_neither_segments_nor_durations(write_videos_dataset: Callable[..., DatasetFolder]) -> None:
    with pytest.raises(DataError, match="has neither segments nor durations"):
        SegmentGrid.of(write_videos_dataset({5: 0}))
