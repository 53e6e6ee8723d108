"""What a row's place and time tell besides its own columns: the clock's hour and day, the age of its live room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import polars as pl

from segrec.records import DatasetFolder, Split

CLOCK = ("hour", "day")
ROOM_AGE = "room_age_ms"
"Time since the live room began; how long it will last is nobody's to know."


@dataclass(frozen=True)
class RowContext:
    """Adds `hour` (0-23), `day` (since 1970) in the source's clock and, for live rooms, `room_age_ms` to rows."""

    dataset: DatasetFolder
    starts: pl.DataFrame | None
    "item_id, start_ms of live rooms; None where items have no start."

    @classmethod
    def of(cls, dataset: DatasetFolder) -> Self:
        """The context of the dataset's rows."""
        items = dataset.items()
        live = items is not None and "start_ms" in items.columns
        return cls(dataset, items.select("item_id", "start_ms") if items is not None and live else None)

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that it adds."""
        return CLOCK if self.starts is None else (*CLOCK, ROOM_AGE)

    def rows(self, splits: Sequence[Split], columns: Sequence[str]) -> pl.LazyFrame:
        """`columns` of the dataset's rows, its own and added ones."""
        return self.added(self.dataset.interactions(splits), columns).select(columns)

    def added(self, frame: pl.LazyFrame, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        """`frame` with those of `columns` (default: all) that this context knows, from time_ms and item_id."""
        local = pl.col("time_ms") + int(self.dataset.meta.utc_offset_hours * 3_600_000)
        frame = frame.with_columns(
            (local // 3_600_000 % 24).cast(pl.Int32).alias("hour"), (local // 86_400_000).cast(pl.Int32).alias("day")
        )
        if self.starts is None or (columns is not None and ROOM_AGE not in columns):
            return frame
        begun = self.starts.lazy().rename({"start_ms": "_begun"})
        joined = frame.join(begun, on="item_id", how="left", maintain_order="left")
        age = (pl.col("time_ms") - pl.col("_begun")).clip(lower_bound=0)
        return joined.with_columns(age.alias(ROOM_AGE)).drop("_begun")
