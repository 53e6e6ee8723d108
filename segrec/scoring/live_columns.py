"""Segments of many rooms side by side: what live scoring takes column by column, and what it works on.

Legend: M segments, E width of a modality's vectors, C counters, N rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from segrec.encoders.live_known import KnownColumns
from segrec.encoders.live_rate import LiveRateEncoder
from segrec.records import ConfigError
from segrec.scoring.live_segments import LiveSegment
from segrec.scoring.live_slots import RoomId

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Pushes = Sequence[tuple[RoomId, LiveSegment]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentColumns:
    """M segments that have ended, as a service holds them that works with arrays; fields as those of `LiveSegment`."""

    rooms: Sequence[RoomId] | IntArray
    start_ms: IntArray
    end_ms: IntArray
    streamers: Sequence[RoomId | None] | IntArray | None = None
    vectors: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    "By modality: (M, E), a row that is NaN all through where a segment has none."
    counters: Mapping[str, npt.NDArray[np.number]] = field(default_factory=dict)
    "By name: (M,), NaN = unknown."
    rates: Mapping[str, tuple[npt.NDArray[np.floating], npt.NDArray[np.number] | None]] = field(default_factory=dict)
    """By name: (M,) values and (M,) trials. Both NaN, or the value where a rate has no trials: not known with the
    segment. Only the value NaN: there was nothing to count."""


@dataclass(frozen=True)
class SegmentArrays:
    """Segments that were checked, in the encoder's order of modalities, counters and rates."""

    rooms: Sequence[RoomId]
    streamers: Sequence[RoomId | None]
    start_ms: IntArray
    end_ms: IntArray
    contents: Mapping[str, FloatArray]
    "By modality: (M, E), rows of NaN where a segment has no vector."
    present: Mapping[str, BoolArray]
    "By modality: (M,) whether there is one."
    counters: DoubleArray
    "(M, C), NaN = unknown."
    pairs: DoubleArray
    "(M, N, 2) successes and trials of the rates that came with the segment, NaN where they did not."

    @classmethod
    def of(cls, pushes: Pushes, encoder: LiveRateEncoder) -> SegmentArrays:
        """:raises ConfigError: a segment that ends before it starts; a vector of another width, or with NaN or infinite
        values; content or rates that the encoder was not fitted on; a rate without the trials that it counts.
        """
        rooms, segments = [room for room, _ in pushes], [segment for _, segment in pushes]
        start = np.array([segment.start_ms for segment in segments], np.int64)
        end = np.array([segment.end_ms for segment in segments], np.int64)
        _check_times(rooms, start, end)
        widths = _widths(encoder)
        _check_names(pushes, widths)
        contents, present = {}, {}
        for name, width in widths.items():
            contents[name], given = _stacked(pushes, name, width)
            present[name] = _present(name, contents[name], rooms, given)
        columns = encoder.inputs.columns
        counters = {
            name: np.array([segment.counters.get(name, np.nan) for segment in segments], np.float64)
            for name in (() if columns is None else columns.counters)
        }
        pairs = np.empty((len(rooms), 0, 2)) if columns is None else _pairs_of_segments(segments, columns)
        streamers = [segment.streamer for segment in segments]
        return cls(rooms, streamers, start, end, contents, present, _side_by_side(counters, len(rooms)), pairs)

    @classmethod
    def of_columns(cls, told: SegmentColumns, encoder: LiveRateEncoder) -> SegmentArrays:
        """:raises ConfigError: as `of`; columns of different lengths."""
        rooms, count = _plain(told.rooms), len(told.rooms)
        streamers = [None] * count if told.streamers is None else _plain(told.streamers)
        _check_lengths(told, len(streamers))
        start, end = np.asarray(told.start_ms, np.int64), np.asarray(told.end_ms, np.int64)
        _check_times(rooms, start, end)
        widths = _widths(encoder)
        for name in told.vectors.keys() - widths.keys():
            raise ConfigError(f"vectors {name!r} are unknown (known: {', '.join(widths) or 'none'})")
        contents, present = {}, {}
        for name, width in widths.items():
            found = told.vectors.get(name)
            contents[name] = (
                np.full((count, width), np.nan, np.float32) if found is None else _of_width(name, found, width)
            )
            present[name] = np.zeros(count, bool) if found is None else _present(name, contents[name], rooms, None)
        columns = encoder.inputs.columns
        nothing = np.full(count, np.nan)
        counters = {name: told.counters.get(name, nothing) for name in (() if columns is None else columns.counters)}
        pairs = np.empty((count, 0, 2)) if columns is None else _pairs_of_columns(told, count, columns)
        return cls(rooms, streamers, start, end, contents, present, _side_by_side(counters, count), pairs)

    def rooms_at(self, rows: npt.NDArray[np.integer]) -> Sequence[RoomId]:
        """The rooms at `rows`, ascending."""
        return self.rooms if len(rows) == len(self.rooms) else [self.rooms[row] for row in rows.tolist()]

    def rows(self, rows: npt.NDArray[np.integer]) -> SegmentArrays:
        """The segments at `rows`, ascending."""
        if len(rows) == len(self.rooms):
            return self
        return SegmentArrays(
            self.rooms_at(rows),
            [self.streamers[row] for row in rows.tolist()],
            self.start_ms[rows],
            self.end_ms[rows],
            {name: vectors[rows] for name, vectors in self.contents.items()},
            {name: there[rows] for name, there in self.present.items()},
            self.counters[rows],
            self.pairs[rows],
        )

    def waves(self, longest: int) -> list[IntArray]:
        """Rows cut so that no room is twice in a part of at most `longest`, each room's segments in the given order."""
        if len(set(self.rooms)) == len(self.rooms) <= longest:
            return [np.arange(len(self.rooms))]
        turns: dict[RoomId, int] = {}
        turn = np.empty(len(self.rooms), np.int64)
        for row, room in enumerate(self.rooms):
            turn[row] = turns[room] = turns.get(room, -1) + 1
        parts = [np.flatnonzero(turn == number) for number in range(max(turns.values(), default=-1) + 1)]
        return [part[first : first + longest] for part in parts for first in range(0, len(part), longest)]


def pair_of(columns: KnownColumns, rate: str, value: float, trials: float | None) -> tuple[int, float, float]:
    """Number of the rate, successes and trials; a rate without trials counts as one; NaN: nothing to count.

    :raises ConfigError: a rate that the encoder does not know, or no trials where it counts them.
    """
    number = _number_of(rate, columns)
    _check_trials(rate, columns.counted[number] and trials is None)
    pair = _pairs(np.array([value], np.float64), np.array([trials], np.float64), counted=columns.counted[number])[0]
    return number, float(pair[0]), float(pair[1])


def _pairs(values: DoubleArray, trials: DoubleArray, *, counted: bool) -> DoubleArray:
    """(K,), (K,) -> (K, 2)."""
    weights = trials if counted else np.ones(len(values))
    pairs = np.stack([values * weights, weights], axis=1)
    pairs[np.isnan(values)] = 0.0
    return pairs


def _number_of(rate: str, columns: KnownColumns) -> int:
    if rate not in columns.rates:
        raise ConfigError(f"unknown rate {rate!r} (known: {', '.join(columns.rates)})")
    return columns.rates.index(rate)


def _check_trials(rate: str, missing: bool | np.bool_) -> None:
    if missing:
        raise ConfigError(f"an outcome of rate {rate!r} needs its trials (found: none)")


def _pairs_of_segments(segments: Sequence[LiveSegment], columns: KnownColumns) -> DoubleArray:
    found = np.full((len(segments), len(columns.rates), 2), np.nan)
    for rate in set().union(*(segment.rates for segment in segments)):
        number = _number_of(rate, columns)
        rows = [row for row, segment in enumerate(segments) if rate in segment.rates]
        told = [segments[row].rates[rate] for row in rows]
        _check_trials(rate, columns.counted[number] and any(trials is None for _, trials in told))
        values, trials = np.array(told, np.float64).T
        found[rows, number] = _pairs(values, trials, counted=columns.counted[number])
    return found


def _pairs_of_columns(told: SegmentColumns, count: int, columns: KnownColumns) -> DoubleArray:
    found = np.full((count, len(columns.rates), 2), np.nan)
    for rate, (given, weights) in told.rates.items():
        number = _number_of(rate, columns)
        values, counted = np.asarray(given, np.float64), columns.counted[number]
        trials = np.full(count, np.nan) if weights is None else np.asarray(weights, np.float64)
        _check_trials(rate, counted and bool((np.isnan(trials) & ~np.isnan(values)).any()))
        there = ~np.isnan(trials if counted else values)
        found[there, number] = _pairs(values[there], trials[there], counted=counted)
    return found


def _widths(encoder: LiveRateEncoder) -> dict[str, int]:
    return {name: len(scales.means) for name, scales in encoder.inputs.content_scales.items()}


def _plain(ids: Sequence[RoomId] | Sequence[RoomId | None] | IntArray) -> list[RoomId]:
    """Python's own numbers: they are looked up faster than NumPy's, and are what is saved."""
    found: list[RoomId] = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)  # type: ignore[arg-type]
    return found


def _side_by_side(counters: Mapping[str, npt.NDArray[np.number]], count: int) -> DoubleArray:
    found = np.empty((count, len(counters)))
    for place, values in enumerate(counters.values()):
        found[:, place] = values
    return found


def _check_lengths(told: SegmentColumns, streamers: int) -> None:
    lengths = {"start_ms": len(told.start_ms), "end_ms": len(told.end_ms), "streamers": streamers}
    lengths |= {f"counter {name!r}": len(values) for name, values in told.counters.items()}
    lengths |= {f"vectors {name!r}": len(vectors) for name, vectors in told.vectors.items()}
    for name, (values, trials) in told.rates.items():
        lengths[f"rate {name!r}"] = len(values)
        lengths[f"trials of {name!r}"] = len(values if trials is None else trials)
    for name, length in lengths.items():
        if length != len(told.rooms):
            raise ConfigError(f"{name} has {length} rows (expected: {len(told.rooms)}, one a room)")


def _check_times(rooms: Sequence[RoomId], start: IntArray, end: IntArray) -> None:
    wrong = end <= start
    if wrong.any():
        place = int(wrong.argmax())
        raise ConfigError(
            f"segment of room {rooms[place]!r} ends at {end[place]} (expected: after its start {start[place]})"
        )


def _check_names(pushes: Pushes, known: Mapping[str, int]) -> None:
    if set().union(*(segment.vectors for _, segment in pushes)) <= known.keys():
        return
    for room, segment in pushes:
        for name in segment.vectors.keys() - known.keys():
            raise ConfigError(f"vector {name!r} of room {room!r} is unknown (known: {', '.join(known) or 'none'})")


def _of_width(name: str, vectors: npt.NDArray[np.floating], width: int) -> FloatArray:
    if vectors.shape[1:] != (width,):
        raise ConfigError(f"vectors {name!r} have shape {vectors.shape} (expected: ({len(vectors)}, {width}))")
    return np.asarray(vectors, np.float32)


def _stacked(pushes: Pushes, name: str, width: int) -> tuple[FloatArray, BoolArray]:
    """(M, E) with NaN where there is no vector, (M,) whether there is one."""
    vectors = [segment.vectors.get(name) for _, segment in pushes]
    for (room, _), vector in zip(pushes, vectors, strict=True):
        if vector is not None and np.shape(vector) != (width,):
            raise ConfigError(f"vector {name!r} of room {room!r} has shape {np.shape(vector)} (expected: ({width},))")
    given = np.array([vector is not None for vector in vectors], bool)
    found = np.empty((len(vectors), width), np.float32)
    if vectors:
        nothing = np.full(width, np.nan, np.float32)
        rows = [nothing if vector is None else vector for vector in vectors]
        np.concatenate(rows, out=found.reshape(-1), casting="same_kind")
    return found, given


def _present(name: str, vectors: FloatArray, rooms: Sequence[RoomId], given: BoolArray | None) -> BoolArray:
    """(M,) whether there is a vector. `given`: where there should be one; else all but rows of nothing but NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        there: BoolArray = np.isfinite(vectors.sum(axis=1))
    doubtful = np.flatnonzero(~there)
    there[doubtful] = np.isfinite(vectors[doubtful]).all(axis=1)
    asked = ~np.isnan(vectors[doubtful]).all(axis=1) if given is None else given[doubtful]
    broken = doubtful[~there[doubtful] & asked]
    if len(broken):
        raise ConfigError(
            f"vector {name!r} of room {rooms[broken[0]]!r} has a NaN or infinite value; leave it out instead"
        )
    return there
