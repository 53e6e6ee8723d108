"""Do watch sessions happen while their rooms have segments? If not, two files are in different clocks."""

from __future__ import annotations

import numpy as np
import polars as pl

from segrec.datasets.live_counts import Segments
from segrec.datasets.live_times import HOUR_MS
from segrec.records import DataError

_HOURS = np.arange(-28, 29) / 2
_FEW = 10
"Sessions that say nothing yet."
_LEAST = 0.5
_A_GROUP = 20_000
"Sessions of each group of rooms that are looked at."


class Apartness:
    """Counts sessions of rooms with segments, and those that meet them, as they are and moved by whole half hours."""

    def __init__(self) -> None:
        self._asked = 0
        self._met = np.zeros(len(_HOURS), np.int64)

    def add(self, segments: Segments, sessions: pl.DataFrame) -> None:
        """`sessions`: room, time_ms, end_ms."""
        if not len(segments.room):
            return
        room, begin, end = (sessions[name].head(_A_GROUP).to_numpy() for name in ("room", "time_ms", "end_ms"))
        at = np.minimum(np.searchsorted(segments.room, room), len(segments.room) - 1)
        cut = segments.room[at] == room
        self._asked += int(cut.sum())
        for place, hours in enumerate(_HOURS):
            moved = round(hours * HOUR_MS)
            self._met[place] += int(segments.met(room[cut], begin[cut] + moved, end[cut] + moved).sum())

    def refuse(self, source: str) -> None:
        """:raises DataError: less than half of the sessions meet a segment's time; names the hours that are between."""
        if self._asked < _FEW:
            return
        shares = self._met / self._asked
        here, best = float(shares[len(_HOURS) // 2]), int(np.argmax(shares))
        if here >= _LEAST:
            return
        moved = f", {shares[best]:.0%} if they were {_HOURS[best]:+g} h later" if shares[best] >= _LEAST else ""
        raise DataError(
            source, "watch sessions do not happen while their rooms have segments",
            found=f"{here:.0%} do{moved}", expected=f"at least {_LEAST:.0%}",
            fix="bring the time columns of sessions and segments to one clock",
        )  # fmt: skip
