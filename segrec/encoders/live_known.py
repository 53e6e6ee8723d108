"""What is known of a live room when one of its segments is scored: past rates, counters, time; one push at a time.

The same recursion serves whole tables (`known_table`) and rooms that are still running (`KnownState.push`).
Legend: T segments, R rooms, M rooms that have a new segment, N rates, C counters, F columns. A pair is (successes,
trials); a rate without trials counts each known segment as one trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import DatasetMeta
from segrec.segments.rooms import NO_ROW, Rooms

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

HALF_LIVES = (15.0, 5.0, 2.0)
"In segments: how fast past rates fade."
_COUNTER_HALF_LIFE = 5.0
_PULL_TRIALS, _PULL_SEGMENTS = 20.0, 2.0
"Pulls before they are learned."
_LISTS = ("rates", "counted", "means", "counters", "known_after_ms", "pulls")
_STREAMER, _ROOM, _NEWEST = 0, 1, 2 + len(HALF_LIVES)
LEVELS = 3 + len(HALF_LIVES)
"Pairs kept of each rate: streamer's earlier rooms, this room, one a half-life, newest."


@dataclass(frozen=True)
class KnownColumns:
    """Which columns there are; fixed by the dataset that was fitted on."""

    rates: tuple[str, ...]
    counted: tuple[bool, ...]
    "Whether trials are known, of each rate."
    means: tuple[float, ...]
    "Of each rate over the train segments: where an estimate starts."
    counters: tuple[str, ...]
    known_after_ms: tuple[int, ...]
    "Of each rate: how long after its segment's end it may be looked at."
    pulls: tuple[tuple[float, ...], ...]
    """(N, LEVELS): each estimate is pulled to the next wider one with so many trials, or segments where trials are
    unknown."""
    shift: int
    "Label shift: with 1 the segment's own counters are known, with 0 those of the one before."

    @classmethod
    def of(cls, rooms: Rooms, shift: int) -> Self:
        """Learned from train rooms."""
        meta = rooms.dataset.meta
        sums = [rate_pairs(rooms.frame, meta, rate).sum(axis=0) for rate in meta.rates]
        means = tuple(float(successes / trials) if trials > 0 else 0.5 for successes, trials in sums)
        counted = tuple(rate.trials is not None for rate in meta.rates.values())
        delays = tuple(rate.known_after_ms for rate in meta.rates.values())
        pulls = tuple((_PULL_TRIALS if known else _PULL_SEGMENTS,) * LEVELS for known in counted)
        return cls(tuple(meta.rates), counted, means, tuple(meta.counters), delays, pulls, shift)

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Self:
        """What `plain` gave."""
        tuples = {name: tuple(plain[name]) for name in _LISTS}
        tuples["pulls"] = tuple(map(tuple, tuples["pulls"]))
        return cls(**tuples, shift=plain["shift"])

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        lists = {name: list(getattr(self, name)) for name in _LISTS}
        return {**lists, "shift": self.shift}

    @property
    def names(self) -> list[str]:
        """The F columns, in order."""
        levels = ["streamer", "room", *(f"recent_{half:g}" for half in HALF_LIVES), "newest"]
        trials = ["streamer_trials", "room_trials", "newest_trials"]
        of_rates = [f"{rate}_{name}" for rate in self.rates for name in (*levels, *trials)]
        of_counters = [f"{name}_{what}" for what in ("now", "change") for name in self.counters]
        return [*of_rates, *of_counters, "time"]


class KnownState:
    """What is known of R rooms so far."""

    def __init__(self, columns: KnownColumns, rooms: int) -> None:
        self.columns = columns
        self.pairs = np.zeros((rooms, len(columns.rates), LEVELS, 2))
        self.counters = np.full((rooms, len(columns.counters)), np.nan)
        "Of the segment before."
        self.usual = np.full((rooms, len(columns.counters)), np.nan)
        "Fading mean of the counters' logarithms."
        self.begun_ms = np.zeros(rooms, np.int64)

    def begin(self, slots: IntArray, begun_ms: IntArray, streamer_MN2: DoubleArray) -> None:
        """New rooms in `slots` (M,): when they began, and the streamers' pairs from earlier rooms."""
        self.pairs[slots] = 0.0
        self.pairs[slots, :, _STREAMER] = streamer_MN2
        self.counters[slots] = self.usual[slots] = np.nan
        self.begun_ms[slots] = begun_ms

    def push(self, slots: IntArray, end_ms: IntArray, counters_MC: DoubleArray, known_MN2: DoubleArray) -> FloatArray:
        """(M, F) columns of the next segment of the rooms in `slots`, all different.

        :param counters_MC: counts inside the new segment, NaN = unknown.
        :param known_MN2: pairs of the room's segments whose rates became known since the push before.
        """
        self._learn(slots, known_MN2)
        counts = counters_MC if self.columns.shift else self.counters[slots]
        self.counters[slots] = counters_MC
        now = np.log1p(np.maximum(counts, 0.0))
        change = now - self.usual[slots]
        self._fade(slots, now)
        minutes = np.log1p(np.maximum(end_ms - self.begun_ms[slots], 0) / 60_000)[:, None]
        return np.concatenate([self._rates(slots), now, change, minutes], axis=1).astype(np.float32)

    def _learn(self, slots: IntArray, known: DoubleArray) -> None:
        pairs = self.pairs[slots]
        pairs[:, :, _ROOM] += known
        for place, half in enumerate(HALF_LIVES):
            pairs[:, :, 2 + place] = pairs[:, :, 2 + place] * 0.5 ** (1 / half) + known
        fresh = known[:, :, 1] > 0
        pairs[:, :, _NEWEST][fresh] = known[fresh]
        self.pairs[slots] = pairs

    def _fade(self, slots: IntArray, now: DoubleArray) -> None:
        usual, keep = self.usual[slots], 0.5 ** (1 / _COUNTER_HALF_LIFE)
        faded = keep * usual + (1 - keep) * now
        self.usual[slots] = np.where(np.isnan(usual), now, np.where(np.isnan(now), usual, faded))

    def _rates(self, slots: IntArray) -> DoubleArray:
        """(M, N * 9): log-odds at each level, pulled to the level before; then logarithms of trials."""
        pairs, columns = self.pairs[slots], self.columns
        estimate = np.broadcast_to(np.asarray(columns.means, np.float64), pairs.shape[:2])
        odds = []
        for level, pull in enumerate(np.asarray(columns.pulls, np.float64).T):
            estimate = pulled(pairs[:, :, level], estimate, pull)
            bounded = np.clip(estimate, 1e-4, 1 - 1e-4)
            odds.append(np.log(bounded) - np.log1p(-bounded))
        trials = np.log1p(pairs[:, :, [_STREAMER, _ROOM, _NEWEST], 1])
        return np.concatenate([np.stack(odds, axis=2), trials], axis=2).reshape(len(pairs), -1)


def pulled(pairs: DoubleArray, wider: DoubleArray, pull: DoubleArray | float) -> DoubleArray:
    """Rates of (..., 2) pairs, pulled to the estimates `wider` (...) with `pull` trials."""
    estimate: DoubleArray = (pairs[..., 0] + pull * wider) / (pairs[..., 1] + pull)
    return estimate


def known_table(rooms: Rooms, columns: KnownColumns, history: Rooms) -> FloatArray:
    """(T, F): each segment's columns. `history`: rooms that streamers' pasts are counted in, as of each room's start;
    it may hold `rooms` themselves.
    """
    found = np.empty((len(rooms.room), len(columns.names)), np.float32)
    for rows, _, pushed in pushes(rooms, columns, history):
        found[rows] = pushed
    return found


def pushes(rooms: Rooms, columns: KnownColumns, history: Rooms) -> Iterator[tuple[IntArray, KnownState, FloatArray]]:
    """All rooms at once, segment by segment: table rows of the n-th segments, the state after them, their columns."""
    state, count = KnownState(columns, len(rooms.offsets) - 1), len(rooms.room)
    begun = rooms.start_ms[rooms.offsets[:-1]]
    state.begin(np.arange(len(begun)), begun, streamer_past(rooms, history, columns.rates))
    known = np.stack([_newly_known(rooms, rate, columns.shift) for rate in columns.rates], axis=1)
    counters = np.full((count, len(columns.counters)), np.nan)
    for place, name in enumerate(columns.counters):
        if name in rooms.frame.columns:
            counters[:, place] = rooms.frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    place_in_room = np.arange(count) - rooms.offsets[rooms.room]
    order = np.argsort(place_in_room, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(place_in_room))[:-1]):
        yield rows, state, state.push(rooms.room[rows], rooms.end_ms[rows], counters[rows], known[rows])


def streamer_past(rooms: Rooms, history: Rooms, rates: Sequence[str]) -> DoubleArray:
    """(R, N, 2) pairs of each room's streamer that were known when the room began."""
    frame, meta = history.frame, history.dataset.meta
    asked = rooms.frame[rooms.offsets[:-1]].select("author_id", time=pl.col("start_ms")).with_row_index("place")
    found = np.zeros((asked.height, len(rates), 2))
    for place, rate in enumerate(rates):
        if rate not in meta.rates:
            continue
        pairs = rate_pairs(frame, meta, rate)
        known = frame.select("author_id", time=pl.col("end_ms") + meta.rates[rate].known_after_ms)
        known = known.with_columns(successes=pairs[:, 0], trials=pairs[:, 1]).sort("time")
        summed = known.with_columns(pl.col("successes", "trials").cum_sum().over("author_id"))
        joined = asked.sort("time").join_asof(summed, on="time", by="author_id", check_sortedness=False)
        sums = joined.sort("place").select("successes", "trials").fill_null(0.0)
        found[:, place] = sums.to_numpy()
    return found


def _newly_known(rooms: Rooms, rate: str, shift: int) -> DoubleArray:
    """(T, 2) pairs of the segments of the room whose rate became known since the segment before was scored."""
    meta = rooms.dataset.meta
    if rate not in meta.rates:
        return np.zeros((len(rooms.room), 2))
    sums = np.concatenate([np.zeros((1, 2)), rate_pairs(rooms.frame, meta, rate).cumsum(axis=0)])
    newest = rooms.newest_known(rate, shift)
    reached = np.where(newest == NO_ROW, rooms.offsets[rooms.room], newest + 1)
    before = np.concatenate([reached[:1], reached[:-1]])
    before[rooms.offsets[:-1]] = rooms.offsets[:-1]
    fresh: DoubleArray = sums[reached] - sums[before]
    return fresh


def rate_pairs(frame: pl.DataFrame, meta: DatasetMeta, rate: str) -> DoubleArray:
    """(T, 2) successes and trials of a rate at each segment, 0 and 0 where it is unknown."""
    column = meta.rates[rate].trials
    values = frame[rate].cast(pl.Float64).fill_nan(None)
    trials = pl.ones(frame.height, pl.Float64, eager=True) if column is None else frame[column].cast(pl.Float64)
    trials = trials.fill_nan(None).fill_null(0.0)
    known = values.is_not_null().to_numpy()
    counted = np.where(known, trials.to_numpy(), 0.0)
    return np.stack([counted * values.fill_null(0.0).to_numpy(), counted], axis=1)
