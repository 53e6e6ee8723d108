"""What a caller of live scoring hands in: raw segments and, later, their rates; checked once, at the door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from segrec.encoders.live_known import KnownColumns
from segrec.encoders.live_rate import LiveRateEncoder
from segrec.records import ConfigError
from segrec.scoring.live_slots import RoomId

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LiveSegment:
    """One segment of a room, when it has ended."""

    start_ms: int
    end_ms: int
    streamer: RoomId | None = None
    "author_id of the room; looked at when the room is new here."
    vectors: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    "By modality (visual, text): (E,) as the segment vectors of a dataset; left out where there is none."
    counters: Mapping[str, float] = field(default_factory=dict)
    "Counts inside the segment, by the dataset's names; left out where unknown."
    rates: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    "Rate and trials, where they are known with the segment (ctr is at its end); others come by `observe`."


@dataclass(frozen=True, slots=True)
class RateOutcome:
    """A rate of a segment of a room that has become known (or will at end_ms + known_after_ms)."""

    room: RoomId
    end_ms: int
    "End of the segment that it describes."
    rate: str
    "ctr, lvtr: a rate of the dataset that the encoder was fitted on."
    value: float
    "NaN: there was nothing to count."
    trials: float | None = None
    "Impressions, entries; None where the source does not tell."


@dataclass(frozen=True)
class SegmentArrays:
    """Segments side by side, M rows."""

    rooms: Sequence[RoomId]
    streamers: Sequence[RoomId | None]
    start_ms: IntArray
    end_ms: IntArray
    contents: Mapping[str, FloatArray]
    "By modality: (M, E), rows of NaN where a segment has no vector."
    counters: DoubleArray
    "(M, C), NaN = unknown."
    pairs: DoubleArray
    "(M, N, 2) successes and trials of the rates that came with the segment, NaN where they did not."

    @classmethod
    def of(cls, pushes: Sequence[tuple[RoomId, LiveSegment]], encoder: LiveRateEncoder) -> SegmentArrays:
        """:raises ConfigError: a segment that ends before it starts; a vector of another width, or with NaN or infinite
        values; content that the encoder was not fitted on.
        """
        segments = [segment for _, segment in pushes]
        count = len(segments)
        start = np.fromiter((segment.start_ms for segment in segments), np.int64, count)
        end = np.fromiter((segment.end_ms for segment in segments), np.int64, count)
        if (end <= start).any():
            place = int((end <= start).argmax())
            raise ConfigError(
                f"segment of room {pushes[place][0]!r} ends at {end[place]} (expected: after its start {start[place]})"
            )
        widths = {name: len(scales.means) for name, scales in encoder.inputs.content_scales.items()}
        _check_names(pushes, widths)
        contents = {name: _vectors(pushes, name, width) for name, width in widths.items()}
        columns = encoder.inputs.columns
        names = () if columns is None else columns.counters
        counters = np.array(
            [[segment.counters.get(name, np.nan) for name in names] for segment in segments], np.float64
        )
        pairs = np.empty((count, 0, 2)) if columns is None else _pairs(segments, columns)
        rooms, streamers = [room for room, _ in pushes], [segment.streamer for segment in segments]
        return cls(rooms, streamers, start, end, contents, counters.reshape(count, len(names)), pairs)

    def rooms_at(self, rows: npt.NDArray[np.integer]) -> list[RoomId]:
        """The rooms at `rows`."""
        return [self.rooms[row] for row in rows.tolist()]

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
            self.counters[rows],
            self.pairs[rows],
        )

    def waves(self, longest: int) -> list[IntArray]:
        """Rows cut so that no room is twice in a part of at most `longest`, each room's segments in the given order."""
        turns: dict[RoomId, int] = {}
        turn = np.empty(len(self.rooms), np.int64)
        for row, room in enumerate(self.rooms):
            turn[row] = turns[room] = turns.get(room, -1) + 1
        if len(turns) == len(self.rooms) <= longest:
            return [np.arange(len(self.rooms))]
        parts = [np.flatnonzero(turn == number) for number in range(max(turns.values(), default=-1) + 1)]
        return [part[first : first + longest] for part in parts for first in range(0, len(part), longest)]


def pair_of(columns: KnownColumns, rate: str, value: float, trials: float | None) -> tuple[int, float, float]:
    """Number of the rate, successes and trials; a rate without trials counts as one; NaN: nothing to count.

    :raises ConfigError: a rate that the encoder does not know, or no trials where it counts them.
    """
    if rate not in columns.rates:
        raise ConfigError(f"unknown rate {rate!r} (known: {', '.join(columns.rates)})")
    number = columns.rates.index(rate)
    if not columns.counted[number]:
        trials = 1.0
    elif trials is None:
        raise ConfigError(f"an outcome of rate {rate!r} needs its trials (found: none)")
    if np.isnan(value):
        return number, 0.0, 0.0
    return number, value * trials, trials


def _pairs(segments: Sequence[LiveSegment], columns: KnownColumns) -> DoubleArray:
    found = np.full((len(segments), len(columns.rates), 2), np.nan)
    for rate in set().union(*(segment.rates for segment in segments)):
        told = [(row, *segment.rates[rate]) for row, segment in enumerate(segments) if rate in segment.rates]
        pairs = [pair_of(columns, rate, value, trials) for _, value, trials in told]
        found[[row for row, *_ in told], pairs[0][0]] = [pair[1:] for pair in pairs]
    return found


def _check_names(pushes: Sequence[tuple[RoomId, LiveSegment]], known: Mapping[str, int]) -> None:
    for room, segment in pushes:
        for name in segment.vectors.keys() - known.keys():
            raise ConfigError(f"vector {name!r} of room {room!r} is unknown (known: {', '.join(known) or 'none'})")


def _vectors(pushes: Sequence[tuple[RoomId, LiveSegment]], name: str, width: int) -> FloatArray:
    found = np.full((len(pushes), width), np.nan, np.float32)
    missing = np.zeros(len(pushes), bool)
    for row, (room, segment) in enumerate(pushes):
        vector = segment.vectors.get(name)
        if vector is None:
            missing[row] = True
            continue
        if np.shape(vector) != (width,):
            raise ConfigError(f"vector {name!r} of room {room!r} has shape {np.shape(vector)} (expected: ({width},))")
        found[row] = vector
    broken = ~(np.isfinite(found).all(axis=1) | missing)
    if broken.any():
        room = pushes[int(broken.argmax())][0]
        raise ConfigError(f"vector {name!r} of room {room!r} has a NaN or infinite value; leave it out instead")
    return found
