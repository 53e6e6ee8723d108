"""Simple predictors of a live segment's rate: what stands in every highlight table beside the models.

Each looks only at rates that are known when the target's segment begins. Legend: T segments of all rooms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from segrec.records import DataError
from segrec.segments.rooms import NO_ROW, Rooms

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LAST_VALUE, ROOM_MEAN, STREAMER_MEAN, MINUS_POSITION = "last_value", "room_mean", "streamer_mean", "minus_position"
GLOBAL_MEAN = "global_mean"
SIMPLE = (LAST_VALUE, ROOM_MEAN, STREAMER_MEAN, MINUS_POSITION)
"What a model must beat."
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"Trials (segments, where the source does not tell) that a prior may be worth."
_DIGITS = 9
"Predictions are rounded, so that what is constant by construction is constant as a float."


@dataclass(frozen=True)
class LivePriors:
    """The simple predictors, fitted on the train rooms; strengths are chosen on the valid rooms."""

    rooms: Rooms
    "Of all splits: earlier rooms are a streamer's past, whatever their split."
    known: KnownSums
    global_mean: float
    "Over the train rooms: successes over trials."
    streamer_strength: float
    "Trials of the global mean that a streamer's own mean starts with."
    room_strength: float
    "Trials of the streamer's mean that a room's own mean starts with."

    @classmethod
    def fit(cls, rooms: Rooms, rate: str, shift: int) -> Self:
        """:raises DataError: no such rate, or none is known in the train rooms."""
        known = KnownSums.of(rooms, rate, shift)
        target = rooms.target(rate, shift)
        values, weights = _weighted(target.values, target.trials)
        split = rooms.frame["split"].to_numpy()
        own = rooms.target(rate, 0)
        train_values, train_weights = _weighted(own.values, own.trials)
        train = split == "train"
        if not train_weights[train].sum():
            raise DataError(rooms.dataset.path, f"has no known {rate} in its train rooms", fix="choose another target")
        mean = float(np.average(train_values[train], weights=train_weights[train]))
        tuned = split == "valid"
        if not weights[tuned].sum():
            tuned = train
        rows = tuned & (weights > 0)

        def error(predicted: FloatArray) -> float:
            return float((weights[rows] * (predicted[rows] - values[rows]) ** 2).sum())

        def streamer(strength: float) -> FloatArray:
            return known.others.mean(strength, mean)

        of_streamer = _best(streamer, error)
        prior = streamer(of_streamer)
        return cls(rooms, known, mean, of_streamer, _best(lambda s: known.room.mean(s, prior), error))

    @cached_property
    def streamer_mean(self) -> FloatArray:
        """(T,) (successes of the streamer's other rooms + strength x global mean) / (trials + strength), as of then."""
        return self.known.others.mean(self.streamer_strength, self.global_mean)

    @cached_property
    def room_mean(self) -> FloatArray:
        """(T,) the same of this room so far, towards the streamer's mean."""
        return self.known.room.mean(self.room_strength, self.streamer_mean)

    @cached_property
    def last_value(self) -> FloatArray:
        """(T,) the newest known rate of the room as it is; the streamer's mean where there is none yet."""
        row = self.known.newest
        return np.where(row == NO_ROW, self.streamer_mean, self.known.values[row])

    @property
    def minus_position(self) -> FloatArray:
        """(T,) minus the place in the room: an order, no rate."""
        return (self.rooms.offsets[self.rooms.room] - np.arange(len(self.rooms.room))).astype(np.float64)

    def predictions(self) -> dict[str, FloatArray]:
        """(T,) of each by name, the constant global mean among them (its order is no order)."""
        return {
            LAST_VALUE: self.last_value,
            ROOM_MEAN: self.room_mean,
            STREAMER_MEAN: self.streamer_mean,
            MINUS_POSITION: self.minus_position,
            GLOBAL_MEAN: np.full(len(self.last_value), self.global_mean),
        }


@dataclass(frozen=True)
class Counted:
    """Successes and trials known at each segment."""

    successes: FloatArray
    "(T,)"
    trials: FloatArray
    "(T,)"

    def mean(self, strength: float, prior: FloatArray | float) -> FloatArray:
        """(T,) the mean that starts with `strength` trials of the prior."""
        return np.round((self.successes + strength * prior) / (self.trials + strength), _DIGITS)


@dataclass(frozen=True)
class KnownSums:
    """What is known of a rate when each segment's target is predicted."""

    values: FloatArray
    "(T,) the rate of each segment, 0 where unknown."
    newest: IntArray
    "(T,) row of the newest segment of the room with a known rate; -1 where there is none."
    room: Counted
    "Of this room so far."
    others: Counted
    "Of the streamer's other rooms so far."

    @classmethod
    def of(cls, rooms: Rooms, rate: str, shift: int) -> Self:
        """:raises DataError: no such rate."""
        rooms.target(rate, 0)  # Refuses an unknown rate, in one line.
        column = rooms.dataset.meta.rates[rate].trials
        raw = rooms.frame[rate].cast(float).fill_null(float("nan")).to_numpy()
        trials = np.full_like(raw, np.nan) if column is None else rooms.frame[column].cast(float).to_numpy()
        values, weights = _weighted(raw, trials)
        last = rooms.newest_known(rate, shift)
        room = _room_sums(rooms, values * weights, weights, last)
        streamer = _streamer_sums(rooms, values * weights, weights, rate, shift)
        others = Counted(streamer.successes - room.successes, streamer.trials - room.trials)
        return cls(values, _newest_with_rate(rooms, weights > 0, last), room, others)


def _weighted(values: npt.NDArray[np.floating], trials: npt.NDArray[np.floating]) -> tuple[FloatArray, FloatArray]:
    """Values (0 = unknown) and weights: trials, 1 where the source does not tell, 0 where the value is unknown."""
    known = ~np.isnan(values)
    return np.where(known, values, 0).astype(np.float64), np.where(known, np.where(np.isnan(trials), 1, trials), 0)


def _newest_with_rate(rooms: Rooms, known: npt.NDArray[np.bool_], last: IntArray) -> IntArray:
    row = np.where(known, np.arange(len(known)), NO_ROW)
    newest = np.where(last == NO_ROW, NO_ROW, np.maximum.accumulate(row)[last])
    return np.where(newest < rooms.offsets[rooms.room], NO_ROW, newest)


def _room_sums(rooms: Rooms, successes: FloatArray, weights: FloatArray, last: IntArray) -> Counted:
    first = rooms.offsets[rooms.room]
    until = np.where(last == NO_ROW, first, last + 1)
    return Counted(*(_between(column, first, until) for column in (successes, weights)))


def _streamer_sums(rooms: Rooms, successes: FloatArray, weights: FloatArray, rate: str, shift: int) -> Counted:
    """Over all rooms of the streamer, this one too, until the target's segment begins."""
    known_ms = rooms.end_ms + rooms.dataset.meta.rates[rate].known_after_ms
    asked_ms = rooms.end_ms if shift else rooms.start_ms
    begin = min(int(known_ms.min()), int(asked_ms.min())) - 1
    span = max(int(known_ms.max()), int(asked_ms.max())) - begin + 1
    streamer = _streamer_codes(rooms) * span
    known = streamer + known_ms - begin
    order = np.argsort(known, kind="stable")
    first = np.searchsorted(known[order], streamer)
    until = np.searchsorted(known[order], streamer + asked_ms - begin, side="right")
    return Counted(*(_between(column[order], first, until) for column in (successes, weights)))


def _streamer_codes(rooms: Rooms) -> IntArray:
    """(T,) number of each row's streamer; a room without one is its own."""
    codes = rooms.frame["author_id"].rank("dense").cast(int).fill_null(0).to_numpy().astype(np.int64)
    return np.where(codes == 0, codes.max(initial=0) + 1 + rooms.room, codes)


def _between(column: FloatArray, first: IntArray, until: IntArray) -> FloatArray:
    running: FloatArray = np.append(0.0, column.cumsum())
    found: FloatArray = running[until] - running[first]
    return found


def _best(predict: Callable[[float], FloatArray], error: Callable[[FloatArray], float]) -> float:
    return min(STRENGTHS, key=lambda strength: error(predict(strength)))
