"""Which author an item is by: joined to the log from the items' side table."""

from __future__ import annotations

from pathlib import Path

import polars as pl

_SPARSE = 4
"Ids up to this many times the number of items are looked up by position, others by hash."


class Authors:
    """author_id of every item of an items.parquet that has authors; holds the ids in memory."""

    def __init__(self, items: Path) -> None:
        self._table: pl.DataFrame | None = None
        self._by_position: pl.Series | None = None
        if not items.is_file() or "author_id" not in pl.read_parquet_schema(items):
            return
        self._table = pl.read_parquet(items, columns=["item_id", "author_id"])
        ids = self._table["item_id"]
        lowest, highest = (ids.min(), ids.max()) if ids.dtype == pl.Int64 else (None, None)
        if isinstance(lowest, int) and isinstance(highest, int) and lowest >= 0 and highest < _SPARSE * len(ids):
            every = pl.DataFrame({"item_id": pl.int_range(highest + 1, eager=True)})
            self._by_position = every.join(self._table, on="item_id", how="left", maintain_order="left")["author_id"]

    def join(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` with author_id, null where it is not known; as it is where it has one already."""
        if "author_id" in frame.columns:
            return frame
        if self._table is None:
            return frame.with_columns(author_id=pl.lit(None, dtype=frame.schema["item_id"]))
        if self._by_position is None:
            return frame.join(self._table, on="item_id", how="left", maintain_order="left")
        known = pl.col("item_id").is_between(0, len(self._by_position) - 1)
        positions = frame.select(pl.when(known).then("item_id"))["item_id"]
        return frame.with_columns(self._by_position.gather(positions).alias("author_id"))
