"""What happened inside each segment, joined by event time: counts by binary search, rates from counts.

Legend: S segments of many rooms, sorted by room and time; a room is a whole number (its place).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

IntArray = npt.NDArray[np.int64]

_ROOM = 1 << 42
"Times below this many ms (until 2109) and rooms share one 64-bit key."


@dataclass(frozen=True)
class Segments:
    """Segments [start_ms, end_ms), sorted by room, then by time, without overlap inside a room."""

    room: IntArray
    "(S,)"
    start_ms: IntArray
    end_ms: IntArray

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Self:
        """From columns room, start_ms, end_ms in that order of rows."""
        return cls(*(frame[name].cast(pl.Int64).to_numpy() for name in ("room", "start_ms", "end_ms")))

    def counts(self, room: npt.NDArray[Any], time_ms: npt.NDArray[Any]) -> IntArray:
        """(S,) events with start_ms <= time_ms < end_ms."""
        events = np.sort(_keys(room, time_ms))
        counted: IntArray = np.searchsorted(events, self._ends) - np.searchsorted(events, self._starts)
        return counted

    def present(self, room: npt.NDArray[Any], start_ms: npt.NDArray[Any], end_ms: npt.NDArray[Any]) -> IntArray:
        """(S,) sessions that overlap: begun before the segment's end, not over at its start."""
        begun = np.searchsorted(np.sort(_keys(room, start_ms)), self._ends)
        over = np.searchsorted(np.sort(_keys(room, end_ms)), self._starts, side="right")
        counted: IntArray = begun - over
        return counted

    def at(self, room: npt.NDArray[Any], time_ms: npt.NDArray[Any]) -> IntArray:
        """(n,) row of the segment that an event falls into, -1 where it falls into none."""
        if not len(self.room):
            return np.full(len(room), -1)
        keys = _keys(room, time_ms)
        row = np.searchsorted(self._starts, keys, side="right") - 1
        inside = (row >= 0) & (keys < self._ends[np.maximum(row, 0)])
        return np.where(inside, row, -1)

    def met(
        self, room: npt.NDArray[Any], start_ms: npt.NDArray[Any], end_ms: npt.NDArray[Any]
    ) -> npt.NDArray[np.bool_]:
        """(n,) sessions that are on between the first start and the last end of their room's segments."""
        first, after = np.searchsorted(self.room, room), np.searchsorted(self.room, room, side="right")
        cut = after > first
        last = np.maximum(after - 1, 0)
        first = np.minimum(first, len(self.room) - 1)
        found: npt.NDArray[np.bool_] = cut & (start_ms < self.end_ms[last]) & (end_ms >= self.start_ms[first])
        return found

    @cached_property
    def _starts(self) -> IntArray:
        return _keys(self.room, self.start_ms)

    @cached_property
    def _ends(self) -> IntArray:
        return _keys(self.room, self.end_ms)


SESSION_FORM = {"room": pl.Int64, "user_id": pl.Int64, "time_ms": pl.Int64, "end_ms": pl.Int64, "watch_ms": pl.Int64}
SHOW_FORM = {"room": pl.Int64, "user_id": pl.Int64, "time_ms": pl.Int64}


def long_view(sessions: pl.DataFrame, until_ms: npt.NDArray[Any], long_view_ms: int) -> pl.Series:
    """Int8: 1 where the session was watched longer than `long_view_ms`, 0 where not, null where nobody could see it.

    Whether it is null depends on when the session began only (its room was not on, or not seen, for that long), never
    on how long it lasted: leaving out only the short ones would make rates too high, keeping all too low.
    """
    seen = pl.Series(until_ms) - sessions["time_ms"] > long_view_ms
    return (sessions["watch_ms"] > long_view_ms).cast(pl.Int8).set(~seen, None).alias("long_view")


def audience(segments: Segments, sessions: pl.DataFrame, shows: pl.DataFrame) -> dict[str, pl.Series]:
    """Columns viewers, exposures, clicks, ctr, entries, long_views, lvtr and leaves of each segment.

    `sessions`: room, time_ms, end_ms (never null), is_open (not seen to end), long_view; `shows`: room, time_ms, not
    entered.
    """
    room, begin, end = (sessions[name].to_numpy() for name in ("room", "time_ms", "end_ms"))
    outcome = sessions["long_view"].fill_null(-1).to_numpy()
    over = ~sessions["is_open"].to_numpy()
    clicks = segments.counts(room, begin)
    exposures = clicks + segments.counts(shows["room"].to_numpy(), shows["time_ms"].to_numpy())
    entries = segments.counts(room[outcome >= 0], begin[outcome >= 0])
    long_views = segments.counts(room[outcome == 1], begin[outcome == 1])
    columns = {
        "viewers": segments.present(room, begin, np.maximum(end, begin)),
        "exposures": exposures,
        "clicks": clicks,
        "entries": entries,
        "long_views": long_views,
        "leaves": segments.counts(room[over], end[over]),
    }
    made = {name: pl.Series(name, values, dtype=pl.Int32) for name, values in columns.items()}
    return {**made, "ctr": _rate("ctr", clicks, exposures), "lvtr": _rate("lvtr", long_views, entries)}


def _rate(name: str, hits: IntArray, trials: IntArray) -> pl.Series:
    """Float32, null where nobody tried."""
    rate = pl.Series(name, hits / np.maximum(trials, 1), dtype=pl.Float32)
    return rate.set(pl.Series(trials == 0), None)


def _keys(room: npt.NDArray[Any], time_ms: npt.NDArray[Any]) -> IntArray:
    keys: IntArray = room.astype(np.int64) * _ROOM + np.clip(time_ms, 0, _ROOM - 1)
    return keys
