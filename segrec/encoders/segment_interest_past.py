"""What a user's past views showed, as numbers: how they ended against what their lengths let expect.

Four sums over the newest past views: all alike; recent ones more (halved each 42 minutes); those on the view's page;
those on its topic. Legend: B views, P pairs of a view and one of its past views, V past rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.encoders.exit_table import Outcomes
from segrec.segments.history import HistoryLog, ranges

FloatArray = npt.NDArray[np.float32]

SUMS = ("all", "recent", "page", "topic")
OUTCOMES = ("first_residual", "early_residual", "late_residual", "share_full", "watch_ratio", "log_seconds")
PAST_NAMES: tuple[str, ...] = (
    *(f"{name}_log_views" for name in SUMS),
    *(f"{name}_{outcome}" for name in SUMS for outcome in OUTCOMES),
    "log_hours_since_last", "last_exit", "last_length", "last_full", "last_ratio",
)  # fmt: skip

_EARLY_END = 3
"Segments 1 and 2 are early, later ones late."
_MS_AN_HOUR = 3_600_000
_VIEWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class PastFeatures:
    """Past views of a log with their outcomes."""

    log: HistoryLog
    outcomes: npt.NDArray[np.float64]
    "(V, 10): 1, then exits and expected exits (first, early, late), watched to the end, watch ratio, log seconds."
    page: npt.NDArray[np.int64]
    topic: npt.NDArray[np.int64]
    "(V,) codes, 0 = unknown: matches nothing."

    @classmethod
    def of(
        cls,
        log: HistoryLog,
        hazards: npt.NDArray[np.float64],
        page: npt.NDArray[np.int64],
        topic: npt.NDArray[np.int64],
    ) -> PastFeatures:
        """`hazards` (W + 1, W) by length and position say what to expect."""
        seen = Outcomes.of(log.rows)
        sums = np.pad(np.cumsum(hazards, axis=1), ((0, 0), (1, 0)))
        reached = seen.last + 1
        bounds = [(0, 1), (1, _EARLY_END), (_EARLY_END, hazards.shape[1])]
        columns = [np.ones(len(reached))]
        for start, end in bounds:
            columns.append((seen.left & (seen.exits >= start) & (seen.exits < end)).astype(np.float64))
            through = sums[seen.lengths, np.clip(reached, start, end)] - sums[seen.lengths, start]
            columns.append(through)
        watch = log.rows["watch_ms"].to_numpy() / 1.0
        columns += [
            (~seen.left).astype(np.float64),
            np.minimum(watch / np.maximum(log.rows["duration_ms"].to_numpy(), 1), 1.5),
            np.log1p(watch / 1000),
        ]
        return cls(log, np.stack(columns, axis=1), page, topic)

    def features(
        self, views: pl.DataFrame, page: npt.NDArray[np.int64], topic: npt.NDArray[np.int64], cap: int
    ) -> FloatArray:
        """(B, len(PAST_NAMES)) from each view's newest `cap` past views; zeros where there is none."""
        parts = [
            self._features(views[at : at + _VIEWS_AT_ONCE], page[at : at + _VIEWS_AT_ONCE],
                           topic[at : at + _VIEWS_AT_ONCE], cap)
            for at in range(0, views.height, _VIEWS_AT_ONCE)
        ]  # fmt: skip
        return np.concatenate(parts) if parts else np.zeros((0, len(PAST_NAMES)), np.float32)

    def _features(
        self, views: pl.DataFrame, page: npt.NDArray[np.int64], topic: npt.NDArray[np.int64], cap: int
    ) -> FloatArray:
        start, end = self.log.windows(views, cap)
        row_P = ranges(start, end)
        view_P = np.repeat(np.arange(views.height), end - start)
        times = views["time_ms"].to_numpy()
        began = self.log.rows["time_ms"].to_numpy()
        hours_P = (times[view_P] - began[row_P]) / _MS_AN_HOUR
        weights = [
            np.ones(len(row_P)),
            np.exp(-np.maximum(hours_P, 0.0)),
            ((page[view_P] == self.page[row_P]) & (page[view_P] > 0)).astype(np.float64),
            ((topic[view_P] == self.topic[row_P]) & (topic[view_P] > 0)).astype(np.float64),
        ]
        sums = [_sums(self.outcomes[row_P] * weight[:, None], start, end) for weight in weights]
        columns = [np.log1p(total[:, :1]) for total in sums] + [_summary(total) for total in sums]
        columns.append(self._last(times, start, end))
        return np.concatenate(columns, axis=1).astype(np.float32)

    def _last(
        self, times: npt.NDArray[np.int64], start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """(B, 5) the newest past view."""
        rows = self.log.rows
        if rows.is_empty():
            return np.zeros((len(times), 5))
        newest = np.maximum(end - 1, 0)
        told = rows.select("time_ms", "exit_segment", "n_segments").to_numpy()[newest].astype(np.float64)
        hours = np.log1p(np.maximum(times - told[:, 0], 0) / _MS_AN_HOUR)
        found = np.stack([hours, told[:, 1] / 10, told[:, 2] / 10, *self.outcomes[newest][:, 7:9].T], axis=1)
        return np.where((end > start)[:, None], found, 0.0)


def _sums(
    values_PX: npt.NDArray[np.float64], start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """(B, X) sums over each view's pairs."""
    sums = np.zeros((len(values_PX) + 1, values_PX.shape[1]))
    np.cumsum(values_PX, axis=0, out=sums[1:])
    last = np.cumsum(end - start)
    found: npt.NDArray[np.float64] = sums[last] - sums[last - (end - start)]
    return found


def _summary(total: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(B, 6): standardised residual exits in three bands, and three means shrunk to 0."""
    seen = total[:, 0]
    residuals = [(total[:, at] - total[:, at + 1]) / np.sqrt(total[:, at + 1] + 2) for at in (1, 3, 5)]
    return np.stack([*residuals, *(total[:, at] / (seen + 2) for at in (7, 8, 9))], axis=1)
