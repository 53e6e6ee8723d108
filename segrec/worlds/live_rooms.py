"""The rooms of a made live world: when they are on, and the path of their state over segments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic import Field, PositiveInt

from segrec.records import Config
from segrec.worlds.jagged import Floats, Ints, positions_of, rows_of, starts_of
from segrec.worlds.live_streamers import Streamers

SEGMENT_MS = 30_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FIRST_DAY_MS = 1_746_374_400_000
"2025-05-05 00:00 in UTC+8: the first day of KuaiLive."
_SHORTEST_MS, _LONGEST_MS = 20_000, 60_000
_PAUSE_MS = 600_000
_ROOM_KEY = 1 << 42
_HOURLY = np.array([2, 1, 1, 0, 0, 0, 1, 2, 3, 4, 4, 4, 5, 5, 5, 5, 5, 6, 8, 10, 12, 12, 9, 5], dtype=np.float64)
"Relative number of rooms that begin in each hour of the day."


class RoomsConfig(Config):
    """What is live, and how its state moves."""

    rooms: PositiveInt = 240
    "Number of rooms."
    segments: int = Field(default=45, ge=3)
    "Mean number of segments of a room; rooms have between half of it and one and a half."
    days: PositiveInt = 7
    "Days over which rooms begin."
    varying_share: float = Field(default=0.1, ge=0, le=1)
    "Share of segments that last 20 to 60 s; the others last 30 s. KLive's form needs 0."
    excitement_persistence: float = Field(default=0.8, ge=0, lt=1)
    "Autocorrelation of the excitement from one segment to the next; it shows in the vectors."
    heard_share: float = Field(default=0.15, ge=0, le=1)
    "Share of the excitement's variance that is heard only: text shows it, frames do not."
    hidden_persistence: float = Field(default=0.3, ge=0, lt=1)
    "Autocorrelation of what moves the rates and shows in no content."


@dataclass(frozen=True)
class LiveRooms:
    """R rooms in order of their start with T segments in all; public ids are a permutation."""

    item_id: Ints
    "(R,)"
    streamer: Ints
    "(R,) index into the streamers."
    lengths: Ints
    "(R,) number of segments."
    start_ms: Ints
    "(T,) epoch ms; segments of a room follow each other without a gap."
    end_ms: Ints
    "(T,)"
    activity: Ints
    "(T,) index into ACTIVITIES: a Markov chain with the streamer's transition matrix."
    seen: Floats
    "(T,) standard normal, autoregressive: excitement that frames and text show."
    heard: Floats
    "(T,) the same, that only text shows."
    excitement: Floats
    "(T,) sqrt(1 - heard_share) seen + sqrt(heard_share) heard: what moves the rates; autoregressive as they are."
    hidden: Floats
    "(T,) standard normal, autoregressive."

    @cached_property
    def room(self) -> Ints:
        """(T,) room of each segment."""
        return rows_of(self.lengths)

    @cached_property
    def begin_ms(self) -> Ints:
        """(R,) when the room begins."""
        begin: Ints = self.start_ms[starts_of(self.lengths)]
        return begin

    @cached_property
    def over_ms(self) -> Ints:
        """(R,) when the room ends."""
        over: Ints = self.end_ms[starts_of(self.lengths) + self.lengths - 1]
        return over

    @cached_property
    def last_of_room(self) -> Ints:
        """(T,) flat index of the last segment of the segment's room."""
        return np.repeat(starts_of(self.lengths) + self.lengths - 1, self.lengths)

    def segment_at(self, room: Ints, at_ms: Ints) -> Ints:
        """(N,) flat index of the segment of `room` with start_ms <= at_ms < end_ms."""
        ends = self.room * _ROOM_KEY + self.end_ms - self.begin_ms[self.room]
        found: Ints = np.searchsorted(ends, room * _ROOM_KEY + at_ms - self.begin_ms[room], side="right")
        return found


def draw_rooms(config: RoomsConfig, streamers: Streamers, rng: np.random.Generator) -> LiveRooms:
    """Rooms drawn from the config: every streamer has about as many, one at a time."""
    n = config.rooms
    streamer = rng.permutation(np.arange(n) % len(streamers.author_id))
    lengths = rng.integers(max(3, config.segments // 2), config.segments + config.segments // 2 + 1, n)
    begin = _begins(config, streamers.joins, streamer, lengths, rng)
    order = np.argsort(begin, kind="stable")
    begin, streamer, lengths = begin[order], streamer[order], lengths[order]
    lasts = _segment_durations(config, int(lengths.sum()), rng)
    seen, heard = wandering(config.excitement_persistence, lengths, rng, width=2).T
    elapsed = np.cumsum(lasts)
    first = starts_of(lengths)
    end_ms = elapsed + np.repeat(begin - elapsed[first] + lasts[first], lengths)
    return LiveRooms(
        item_id=rng.permutation(n).astype(np.int64) + 1,
        streamer=streamer,
        lengths=lengths,
        start_ms=end_ms - lasts,
        end_ms=end_ms,
        activity=_activity_paths(streamers.transition()[streamer], streamers.repertoire[streamer], lengths, rng),
        seen=seen,
        heard=heard,
        excitement=np.sqrt(1 - config.heard_share) * seen + np.sqrt(config.heard_share) * heard,
        hidden=wandering(config.hidden_persistence, lengths, rng),
    )


def wandering(persistence: float, lengths: Ints, rng: np.random.Generator, width: int | None = None) -> Floats:
    """(T,), or (T, width): in each room a stationary autoregressive path with mean 0 and variance 1."""
    shape = (len(lengths), int(lengths.max())) + (() if width is None else (width,))
    path = rng.normal(size=shape)
    for step in range(1, shape[1]):
        path[:, step] = persistence * path[:, step - 1] + np.sqrt(1 - persistence**2) * path[:, step]
    inside: Floats = path[rows_of(lengths), positions_of(lengths)]
    return inside


def _begins(config: RoomsConfig, joins: Floats, streamer: Ints, lengths: Ints, rng: np.random.Generator) -> Ints:
    """(R,) by the daily rhythm; a streamer's later room waits until the earlier one is surely over."""
    n = len(streamer)
    hour = rng.choice(24, size=n, p=_HOURLY / _HOURLY.sum())
    day = (config.days * (joins[streamer] + (1 - joins[streamer]) * rng.random(n))).astype(np.int64)
    wanted = day * DAY_MS + hour * HOUR_MS + rng.integers(HOUR_MS, size=n)
    begin = FIRST_DAY_MS + wanted // 1000 * 1000
    free_ms: dict[int, int] = {}
    for row in np.argsort(begin, kind="stable").tolist():
        begin[row] = max(int(begin[row]), free_ms.get(int(streamer[row]), 0))
        free_ms[int(streamer[row])] = int(begin[row]) + int(lengths[row]) * _LONGEST_MS + _PAUSE_MS
    return begin


def _segment_durations(config: RoomsConfig, n: int, rng: np.random.Generator) -> Ints:
    varying = rng.integers(_SHORTEST_MS, _LONGEST_MS + 1, n)
    return np.where(rng.random(n) < config.varying_share, varying, SEGMENT_MS).astype(np.int64)


def _activity_paths(transition: Floats, first: Floats, lengths: Ints, rng: np.random.Generator) -> Ints:
    """(T,) Markov chains: row r starts from first[r] (A,) and moves by transition[r] (A, A)."""
    steps = int(lengths.max())
    point = rng.random((len(lengths), steps))
    path = np.empty((len(lengths), steps), np.int64)
    rows = np.arange(len(lengths))
    chance = first
    for step in range(steps):
        below = np.cumsum(chance, axis=1) <= point[:, step, None]
        path[:, step] = np.minimum(below.sum(axis=1), chance.shape[1] - 1)
        chance = transition[rows, path[:, step]]
    inside: Ints = path[rows_of(lengths), positions_of(lengths)]
    return inside
