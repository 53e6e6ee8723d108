"""Rooms in groups by their start, and rows kept by group on disk: what joins by room fits into memory."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

ROOMS_A_GROUP = 100_000
FLUSH_ROWS = 1_000_000
"Rows of one kind that are held before they go to their groups."

NO_ROOM = -1
IntArray = npt.NDArray[np.int64]


class RoomGroups:
    """`rooms` (item_id, start_ms ...) in order of their start; a room's place is its row in that order."""

    def __init__(self, rooms: pl.DataFrame, rooms_a_group: int = ROOMS_A_GROUP) -> None:
        self.rooms = rooms.sort("start_ms", "item_id")
        self.rooms_a_group = rooms_a_group
        ids = self.rooms["item_id"].to_numpy()
        self._order = np.argsort(ids, kind="stable")
        self._ids = ids[self._order]

    @property
    def count(self) -> int:
        """Number of groups."""
        return -(-self.rooms.height // self.rooms_a_group)

    def places(self, ids: pl.Series) -> IntArray:
        """(n,) place of each id's room, NO_ROOM where there is none."""
        if not len(self._ids):
            return np.full(len(ids), NO_ROOM)
        known = ids.is_not_null().to_numpy()
        wanted = ids.fill_null(0).to_numpy()
        at = np.minimum(np.searchsorted(self._ids, wanted), len(self._ids) - 1)
        found: IntArray = np.where(known & (self._ids[at] == wanted), self._order[at], NO_ROOM)
        return found

    def ids(self, places: IntArray) -> IntArray:
        """item_id at these places."""
        found: IntArray = self.rooms["item_id"].to_numpy()[places]
        return found


class RoomSpill:
    """Takes frames with a column `room` (place), of several kinds, in any order; gives them back group by group."""

    def __init__(self, folder: Path, groups: RoomGroups) -> None:
        self._folder = folder
        self._groups = groups
        self._held: dict[str, list[pl.DataFrame]] = defaultdict(list)
        self._flushes = 0

    def add(self, kind: str, frame: pl.DataFrame) -> None:
        """Takes the rows of `frame` whose room is known."""
        self._held[kind].append(frame.filter(pl.col("room") != NO_ROOM))
        if sum(each.height for each in self._held[kind]) >= FLUSH_ROWS:
            self._flush(kind)

    def read(self, kind: str, group: int, schema: dict[str, Any]) -> pl.DataFrame:
        """All rows of a kind in one group, in the order in which they came; `schema` where there are none."""
        for held in list(self._held):
            self._flush(held)
        files = sorted((self._folder / kind / f"{group}").glob("*.arrow"))
        if not files:
            return pl.DataFrame(schema=schema)
        frame = pl.concat([pl.read_ipc(file) for file in files])
        for file in files:
            file.unlink()
        return frame

    def _flush(self, kind: str) -> None:
        if not self._held[kind]:
            return
        frame = pl.concat(self._held[kind]).with_columns(_group=pl.col("room") // self._groups.rooms_a_group)
        self._held[kind] = []
        cut = frame.partition_by("_group", as_dict=True, include_key=False, maintain_order=True)
        for (group,), rows in cut.items():
            folder = self._folder / kind / f"{group}"
            folder.mkdir(parents=True, exist_ok=True)
            rows.write_ipc(folder / f"{self._flushes:06}.arrow", compression="lz4")
        self._flushes += 1
