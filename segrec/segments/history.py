"""What a user saw before a view: as-of windows into a log sorted by user and time.

Legend: V rows of the log, B views that ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

IntArray = npt.NDArray[np.int64]

PAST_COLUMNS = ("user_id", "time_ms", "item_id", "n_segments", "exit_segment")
"What a past row tells."


@dataclass(frozen=True)
class HistoryLog:
    """A log by user and time. A view's history is one window of it: its user's rows strictly before its time."""

    rows: pl.DataFrame
    "PAST_COLUMNS, sorted by user and time."
    users: pl.DataFrame
    "user_id, first, last: the user's rows are first..last-1."
    times: IntArray
    "(V,) time_ms of `rows`."

    @classmethod
    def of(cls, rows: pl.DataFrame) -> HistoryLog:
        """From rows in any order with PAST_COLUMNS."""
        ordered = rows.select(PAST_COLUMNS).sort("user_id", "time_ms", maintain_order=True)
        users = (
            ordered.with_row_index("row")
            .group_by("user_id", maintain_order=True)
            .agg(first=pl.col("row").first().cast(pl.Int64), last=pl.col("row").last().cast(pl.Int64) + 1)
        )
        return cls(ordered, users, ordered["time_ms"].to_numpy())

    def windows(self, views: pl.DataFrame, cap: int) -> tuple[IntArray, IntArray]:
        """(start, end) rows of each view's newest `cap` past rows, (B,) each; start == end where there is none.

        Rows at the view's own time are not past: a view never sees itself nor what happened together with it.
        """
        asked = views.select("user_id", "time_ms").join(self.users, on="user_id", how="left", maintain_order="left")
        first = asked["first"].fill_null(0).to_numpy()
        last = asked["last"].fill_null(0).to_numpy()
        end = _first_at_or_after(self.times, first, last, asked["time_ms"].to_numpy())
        return np.maximum(first, end - cap), end

    def tail(self, cap: int) -> pl.DataFrame:
        """Each user's newest `cap` rows: all that later views can ask for."""
        return self.rows.group_by("user_id", maintain_order=True).tail(cap).select(self.rows.columns)


def window_sums(values: npt.NDArray[np.floating[Any]], start: IntArray, end: IntArray) -> npt.NDArray[np.float64]:
    """Sums of values[start:end], (B,) or (B, F); 0 for an empty window."""
    sums = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, dtype=np.float64, out=sums[1:])
    return sums[end] - sums[start]


def ranges(start: IntArray, end: IntArray) -> IntArray:
    """start[0]..end[0]-1, start[1]..end[1]-1, ... as one array."""
    counts = end - start
    offsets = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(offsets - start, counts)


def _first_at_or_after(times: IntArray, first: IntArray, last: IntArray, asked: IntArray) -> IntArray:
    """For each question the first row in first..last-1 with times >= asked (else `last`): bisection, all at once."""
    low, high = first.copy(), last.copy()
    while (open_ := low < high).any():
        middle = (low + high) // 2
        before = open_ & (times[np.minimum(middle, max(len(times) - 1, 0))] < asked)
        low = np.where(before, middle + 1, low)
        high = np.where(open_ & ~before, middle, high)
    return low
