"""What a user saw before a view: as-of windows into a log sorted by user and by the end of each view.

Legend: V rows of the log, B views that ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import skip_views

IntArray = npt.NDArray[np.int64]

PAST_COLUMNS = ("user_id", "item_id", "time_ms", "duration_ms", "watch_ms", "n_segments", "exit_segment", "end_ms")
"What a past view tells."
END_MS = pl.col("time_ms") + pl.col("watch_ms")
"Only after it a view's outcome is known."


@dataclass(frozen=True)
class EndedEvents:
    """When each event of a log sorted by user and end was over: what is known of a user at a moment is one window."""

    users: pl.DataFrame
    "user_id, first, last: the user's events are first..last-1."
    ends: IntArray
    "(V,) end_ms of all events, ascending inside a user."

    def windows(self, asked: pl.DataFrame, cap: int, max_age_ms: int | None = None) -> tuple[IntArray, IntArray]:
        """(start, end) of the newest `cap` events that ended strictly before, (B,) each; start == end: there is none.

        An event never sees itself, nor one that still ran when it began: its outcome was not known then.

        :param asked: user_id, time_ms.
        :param max_age_ms: events that ended longer ago are left out.
        """
        rows = asked.select("user_id", "time_ms").join(self.users, on="user_id", how="left", maintain_order="left")
        first, last = (rows[name].fill_null(0).to_numpy() for name in ("first", "last"))
        times = rows["time_ms"].to_numpy()
        end = _first_at_or_after(self.ends, first, last, times)
        start = first if max_age_ms is None else _first_at_or_after(self.ends, first, end, times - max_age_ms)
        return np.maximum(start, end - cap), end


@dataclass(frozen=True)
class HistoryLog:
    """Views by user and end. A view's history is one window of it: its user's views that ended strictly before."""

    rows: pl.DataFrame
    "PAST_COLUMNS and the extra ones asked for, sorted by user_id, end_ms."
    ended: EndedEvents
    "Of `rows`."

    @classmethod
    def of(cls, rows: pl.DataFrame, extra: Sequence[str] = ()) -> HistoryLog:
        """From rows in any order, with their grid; only those of the skip task count (watch_ms > 0, under 200 s)."""
        ended = rows.filter(skip_views()).with_columns(end_ms=END_MS)
        ordered = ended.select(*PAST_COLUMNS, *extra).sort("user_id", "end_ms", "time_ms", maintain_order=True)
        users = (
            ordered.with_row_index("row")
            .group_by("user_id", maintain_order=True)
            .agg(first=pl.col("row").first().cast(pl.Int64), last=pl.col("row").last().cast(pl.Int64) + 1)
        )
        return cls(ordered, EndedEvents(users, ordered["end_ms"].to_numpy()))

    def windows(self, views: pl.DataFrame, cap: int) -> tuple[IntArray, IntArray]:
        """(start, end) rows of each view's newest `cap` past views: see `EndedEvents.windows`."""
        return self.ended.windows(views, cap)

    def tail(self, cap: int, time_ms: int) -> pl.DataFrame:
        """All that views later than `time_ms` can ask for: each user's newest `cap` ended views, and those running."""
        running = self.rows.filter(pl.col("end_ms") >= time_ms)
        ended = self.rows.filter(pl.col("end_ms") < time_ms).group_by("user_id", maintain_order=True).tail(cap)
        return pl.concat([ended.select(self.rows.columns), running])


def ranges(start: IntArray, end: IntArray) -> IntArray:
    """start[0]..end[0]-1, start[1]..end[1]-1, ... as one array."""
    counts = end - start
    offsets = np.cumsum(counts) - counts
    joined: IntArray = np.arange(int(counts.sum())) - np.repeat(offsets - start, counts)
    return joined


def _first_at_or_after(times: IntArray, first: IntArray, last: IntArray, asked: IntArray) -> IntArray:
    """For each question the first row in first..last-1 with times >= asked (else `last`): bisection, all at once."""
    low, high = first.copy(), last.copy()
    while (searching := low < high).any():
        middle = (low + high) // 2
        before = searching & (times[np.minimum(middle, max(len(times) - 1, 0))] < asked)
        low = np.where(before, middle + 1, low)
        high = np.where(searching & ~before, middle, high)
    return low
