"""What a live room's earlier segments tell when a segment is to be predicted: last and running counts and rates.

Legend: T segments of all rooms (see `segrec.segments.rooms.Rooms`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from segrec.segments.rooms import NO_ROW, FloatArray, IntArray, Rooms

STRENGTH = 10.0
"Rates are shrunk to train's as if so many trials at that rate came on top; of unknown trials: as many segments."

Columns = dict[str, FloatArray]
"(T,) each, NaN where nothing is known yet."


def lagged_columns(rooms: Rooms, shift: int) -> Columns:
    """Inputs for the rate of each segment (shift 0) or of the next one (1), known when that segment begins.

    Of each counter, from segments that have ended by then: log(1 + x) of the newest value (lag_NAME), of the mean
    (lag_NAME_mean) and of the sum (lag_NAME_sum) over the room so far. Of each rate, from segments whose rate is
    known by then: the logit of the newest one (lag_NAME) and of the rate over the room so far (lag_NAME_mean), shrunk.
    """
    newest, found = newest_ended(rooms, shift), {}
    for name in rooms.dataset.meta.counters:
        counts = column(rooms, name)
        total, known = _running(rooms, np.nan_to_num(counts)), _running(rooms, ~np.isnan(counts))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / known
        found[f"lag_{name}"] = _at(np.log1p(counts), newest)
        found[f"lag_{name}_mean"] = _at(np.log1p(mean), newest)
        found[f"lag_{name}_sum"] = _at(np.log1p(total), newest)
    for name in rooms.dataset.meta.rates:
        found |= _lagged_rate(rooms, name, rooms.newest_known(name, shift))
    return {name: values.astype(np.float32) for name, values in found.items()}


def own_columns(rooms: Rooms, shift: int) -> Columns:
    """log(1 + x) of each counter in the very segment that is predicted (own_NAME): a leak, as in the papers' inputs."""
    row = np.arange(len(rooms.room)) + shift
    inside = row < rooms.run_offsets[1:].repeat(np.diff(rooms.run_offsets))
    row = np.where(inside, row, NO_ROW)
    return {
        f"own_{name}": _at(np.log1p(column(rooms, name)), row).astype(np.float32)
        for name in rooms.dataset.meta.counters
    }


def newest_ended(rooms: Rooms, shift: int) -> IntArray:
    """(T,) row of the newest segment of the room that has ended when the predicted one begins; -1 where none has."""
    if shift:
        return np.arange(len(rooms.room))
    span = int(rooms.end_ms.max()) - int(rooms.start_ms.min()) + 1
    first = int(rooms.start_ms.min())
    ended, asked = (rooms.room * span + times - first for times in (rooms.end_ms, rooms.start_ms))
    newest = np.searchsorted(ended, asked, side="right") - 1
    return np.where(newest >= rooms.offsets[rooms.room], newest, NO_ROW)


def column(rooms: Rooms, name: str) -> npt.NDArray[np.float64]:
    """(T,) a column of the segment table; NaN where null."""
    return rooms.frame[name].cast(float).fill_null(float("nan")).to_numpy()


def _lagged_rate(rooms: Rooms, name: str, newest: IntArray) -> dict[str, npt.NDArray[np.float64]]:
    rate, trials_column = column(rooms, name), rooms.dataset.meta.rates[name].trials
    trials = np.ones_like(rate) if trials_column is None else column(rooms, trials_column)
    trials = np.where(np.isnan(rate), 0.0, np.nan_to_num(trials))
    hits = np.nan_to_num(rate) * trials
    train = (rooms.frame["split"] == "train").to_numpy()
    base = float(np.clip(hits[train].sum() / max(float(trials[train].sum()), 1.0), 1e-3, 1 - 1e-3))
    return {
        f"lag_{name}": _at(_logit(hits, trials, base), newest),
        f"lag_{name}_mean": _at(_logit(_running(rooms, hits), _running(rooms, trials), base), newest),
    }


def _logit(hits: npt.NDArray[np.float64], trials: npt.NDArray[np.float64], base: float) -> npt.NDArray[np.float64]:
    rate = (hits + STRENGTH * base) / (trials + STRENGTH)
    logit: npt.NDArray[np.float64] = np.log(rate / (1 - rate))
    return logit


def _running(rooms: Rooms, values: npt.NDArray[np.floating] | npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Sum over the room up to and with each segment."""
    total = np.cumsum(values, dtype=np.float64)
    before = np.concatenate([[0.0], total])[rooms.offsets[:-1]]
    since: npt.NDArray[np.float64] = total - before[rooms.room]
    return since


def _at(values: npt.NDArray[np.float64], rows: IntArray) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.where(rows == NO_ROW, np.nan, values[rows])
    return found
