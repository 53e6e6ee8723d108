"""Where each segment of each item lies on its own clock, and which one a moment falls into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import DataError, DatasetFolder, segment_count
from segrec.segments.views import grid_width


@dataclass(frozen=True)
class SegmentGrid:
    """All segments of a dataset: of live rooms from the segment table, of short videos from their durations."""

    frame: pl.DataFrame
    """item_id, segment (Int32), start_ms, end_ms: Int64, from the item's start; sorted by item_id, segment.
    The row number is a segment's `place`."""
    item_starts: pl.DataFrame
    "item_id, room_start_ms: the item's start on the dataset's clock; 0 for short videos."

    @classmethod
    def of(cls, dataset: DatasetFolder) -> SegmentGrid:
        """:raises DataError: the dataset has neither a segment table nor durations."""
        segments = dataset.segments()
        if segments is not None:
            return cls._of_rooms(dataset, segments.select("item_id", "segment", "start_ms", "end_ms").collect())
        return cls._of_durations(_durations(dataset), dataset.meta.segment_ms)

    @classmethod
    def _of_rooms(cls, dataset: DatasetFolder, segments: pl.DataFrame) -> SegmentGrid:
        starts = segments.group_by("item_id").agg(room_start_ms=pl.min("start_ms"))
        items = dataset.items()
        if items is not None and "start_ms" in items.columns:
            # The first segment may be missing from the table; the room's files still begin with the room.
            told = items.select("item_id", told_ms=pl.col("start_ms").cast(pl.Int64))
            starts = starts.join(told, on="item_id", how="left").select(
                "item_id", room_start_ms=pl.min_horizontal("room_start_ms", "told_ms")
            )
        since = segments.join(starts, on="item_id", how="left").select(
            "item_id",
            pl.col("segment").cast(pl.Int32),
            start_ms=pl.col("start_ms") - pl.col("room_start_ms"),
            end_ms=pl.col("end_ms") - pl.col("room_start_ms"),
        )
        return cls(since.sort("item_id", "segment"), starts.sort("item_id"))

    @classmethod
    def _of_durations(cls, durations: pl.DataFrame, segment_ms: int) -> SegmentGrid:
        counts = segment_count(segment_ms).clip(upper_bound=grid_width(segment_ms))
        frame = (
            durations.select("item_id", "duration_ms", segment=pl.int_ranges(0, counts, dtype=pl.Int32))
            .explode("segment")
            .select(
                "item_id",
                "segment",
                start_ms=pl.col("segment").cast(pl.Int64) * segment_ms,
                end_ms=pl.min_horizontal((pl.col("segment").cast(pl.Int64) + 1) * segment_ms, "duration_ms"),
            )
        )
        starts = durations.select("item_id", room_start_ms=pl.lit(0, pl.Int64))
        return cls(frame.sort("item_id", "segment"), starts.sort("item_id"))

    def item_of(self, text: str) -> Any:
        """The item id written as `text` in a file's name, in the dataset's own type; None where none is known."""
        return self._by_name.get(text)

    def segments_of(self, item: Any) -> slice:
        """Places of an item's segments: `frame[grid.segments_of(item)]`."""
        return self._spans[item]

    def placed(self, moments: pl.DataFrame) -> pl.DataFrame:
        """`moments` with `place`, the row of their segment; null where there is none.

        moments: item_id, segment (null = go by time), time_ms. A time below the room's own start on the dataset's
        clock counts from the room's start; any other is on the dataset's clock. A segment takes start <= t < end.
        """
        grid = self.frame.with_row_index("place").with_columns(pl.col("place").cast(pl.Int64))
        rows = moments.with_row_index("row").join(self.item_starts, on="item_id", how="left")
        named = rows.filter(pl.col("segment").is_not_null()).join(
            grid.select("item_id", "segment", "place"), on=["item_id", "segment"], how="left"
        )
        timed = (
            rows.filter(pl.col("segment").is_null() & pl.col("room_start_ms").is_not_null())
            .with_columns(since_ms=since_start())
            .sort("since_ms")
            .join_asof(
                grid.select("item_id", "start_ms", "end_ms", "place").sort("start_ms"),
                left_on="since_ms", right_on="start_ms", by="item_id", check_sortedness=False,
            )
            .with_columns(place=pl.when(pl.col("since_ms") < pl.col("end_ms")).then("place"))
        )  # fmt: skip
        found = pl.concat([named.select("row", "place"), timed.select("row", "place")])
        return rows.select("row", *moments.columns).join(found, on="row", how="left").sort("row").drop("row")

    @cached_property
    def _by_name(self) -> Mapping[str, Any]:
        items = self.item_starts["item_id"]
        return dict(zip(items.cast(pl.String).to_list(), items.to_list(), strict=True))

    @cached_property
    def _spans(self) -> Mapping[Any, slice]:
        runs = self.frame.group_by("item_id", maintain_order=True).len()
        ends = np.cumsum(runs["len"].to_numpy())
        begins: npt.NDArray[np.int64] = np.concatenate([[0], ends[:-1]])
        return {
            item: slice(int(begin), int(end))
            for item, begin, end in zip(runs["item_id"].to_list(), begins, ends, strict=True)
        }


def since_start() -> pl.Expr:
    """`time_ms` counted from `room_start_ms`, whichever of both clocks it is on."""
    on_clock = pl.col("time_ms") >= pl.col("room_start_ms")
    return pl.when(on_clock).then(pl.col("time_ms") - pl.col("room_start_ms")).otherwise("time_ms")


def _durations(dataset: DatasetFolder) -> pl.DataFrame:
    """item_id, duration_ms > 0: of items.parquet where it knows them, else the longest that impressions tell."""
    items = dataset.items()
    if items is not None and "duration_ms" in items.columns:
        found = items.select("item_id", pl.col("duration_ms").cast(pl.Int64))
    elif dataset.interaction_files():
        found = dataset.interactions().group_by("item_id").agg(pl.max("duration_ms")).collect(engine="streaming")
    else:
        found = pl.DataFrame(schema={"item_id": pl.Int64, "duration_ms": pl.Int64})
    found = found.filter(pl.col("duration_ms") > 0)
    if found.is_empty():
        raise DataError(
            dataset.path, "has neither segments nor durations, so nobody knows where a segment lies",
            fix="read a source that has them with `segrec read`",
        )  # fmt: skip
    return found.sort("item_id")
