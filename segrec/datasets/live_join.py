"""Impressions, sessions and events of live rooms, joined to segments by event time, a group of rooms at a time.

Nothing looks ahead: a segment's counters hold what happened before its end; lvtr is known a long view's length later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.datasets.live_apart import Apartness
from segrec.datasets.live_counts import SESSION_FORM, SHOW_FORM, Segments, audience, long_view
from segrec.datasets.live_groups import NO_ROOM, RoomGroups, RoomSpill
from segrec.datasets.live_source import Describe, LivePart, LiveTables, RowVectors, same
from segrec.datasets.log_source import Frames
from segrec.records import Rate

IntArray = npt.NDArray[np.int64]

AUDIENCE = ("viewers", "exposures", "clicks", "entries", "long_views", "leaves")
UNKNOWN_ROOM, TURNED = "unknown room", "session ends before it starts"
CHECKED = {"_unknown": UNKNOWN_ROOM, "_turned": TURNED}
"Columns of impressions that tell why a row is impossible, and are not kept."
_TEXT_FORM = {**SHOW_FORM, "text": pl.String}


@dataclass(frozen=True)
class LiveEvents:
    """What a live log holds; times in epoch ms, ids Int64."""

    sessions: Frames
    "item_id, user_id, author_id, time_ms, end_ms and watch_ms (both null: still open)."
    shows: Frames | None
    "item_id, user_id, author_id, time_ms of impressions that were not entered."
    others: Mapping[str, Frames] = field(default_factory=dict)
    "comments, likes ...: item_id, user_id, time_ms; comments may have text."


@dataclass(frozen=True)
class GroupSegments:
    """Segments of one group of rooms."""

    frame: pl.DataFrame
    "room (place), segment, start_ms, end_ms; sorted by room, then by time."
    vectors: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    "By name: room, segment, source_row."


class Seen(Protocol):
    """Takes note of when something happened in a room."""

    def __call__(self, places: IntArray, time_ms: pl.Series) -> None:
        """Both (n,)."""


class Segmenting(Protocol):
    """How rooms are cut into segments."""

    @property
    def vectors(self) -> tuple[RowVectors, ...]:
        """Segment vectors, where the source has some."""

    def survey(self, groups: RoomGroups, seen: Seen, spill: RoomSpill | None, rejected: Counter[str]) -> None:
        """Reads the source's own segments, where it has some."""

    def of_group(
        self, groups: RoomGroups, group: int, last_ms: IntArray, spill: RoomSpill, rejected: Counter[str]
    ) -> GroupSegments:
        """Segments of a group; `last_ms` (R,) = when the last thing was seen in each room of all groups."""


class LiveJoin:
    """Rooms of one source with everything that happened in them."""

    def __init__(
        self, name: str, rooms: pl.DataFrame, events: LiveEvents, segmenting: Segmenting, *, long_view_ms: int,
        describe: Describe = same,
    ) -> None:  # fmt: skip
        """`name` = the source in messages; `rooms`: item_id, author_id, start_ms, end_ms (null where unknown) and
        features known at the start."""
        self.name = name
        self.describe = describe
        self.groups = RoomGroups(rooms)
        self.events = events
        self.segmenting = segmenting
        self.long_view_ms = long_view_ms
        self._last = np.zeros(rooms.height, np.int64)
        self._last_event = np.zeros(rooms.height, np.int64)
        self._surveyed = False

    @property
    def rates(self) -> dict[str, Rate]:
        """ctr only where impressions that were not entered are known."""
        lvtr = {"lvtr": Rate(trials="entries", known_after_ms=self.long_view_ms)}
        return lvtr if self.events.shows is None else {"ctr": Rate(trials="exposures"), **lvtr}

    @property
    def counters(self) -> tuple[str, ...]:
        """What is known at a segment's end: not long_views, nor entries, which leave out what nobody could see."""
        known = [name for name in AUDIENCE if name not in ("entries", "long_views")]
        if self.events.shows is None:
            known.remove("exposures")
        return (*known, *self.events.others)

    def impressions(self) -> Iterator[pl.DataFrame]:
        """Frames for the folder writer: entered rooms, then those that were only shown."""
        self._survey(None, Counter())
        for frame in self.events.sessions():
            places = self.groups.places(frame["item_id"])
            until = pl.Series(self.until_ms[places], dtype=pl.Int64)
            so_far = pl.max_horizontal(until - pl.col("time_ms"), 0)
            watched = frame.with_columns(watch_ms=pl.coalesce("watch_ms", so_far), is_click=pl.lit(1, pl.Int8))
            yield _impressions(watched.with_columns(long_view(watched, until.to_numpy(), self.long_view_ms)), places)
        for frame in self.events.shows() if self.events.shows is not None else ():
            shown = frame.with_columns(
                pl.lit(None, pl.Int64).alias("end_ms"), watch_ms=pl.lit(0, pl.Int64), is_click=pl.lit(0, pl.Int8),
                long_view=pl.lit(0, pl.Int8),
            )  # fmt: skip
            yield _impressions(shown, self.groups.places(frame["item_id"]))

    def prepare(self, scratch: Path, rejected: Counter[str]) -> LiveTables:
        """The tables for the folder writer."""
        spill = RoomSpill(scratch, self.groups)
        self._survey(spill, rejected)
        for name, frames in {"shows": self.events.shows, **self.events.others}.items():
            for frame in frames() if frames is not None else ():
                placed = self._placed(frame, rejected if name != "shows" else Counter(), name)
                _see(self._last_event, placed["room"].to_numpy(), placed["time_ms"])
                spill.add(name, placed)
        rooms = self.groups.rooms.drop("end_ms")
        return LiveTables(rooms, self._parts(spill, rejected), self.segmenting.vectors, self.describe)

    @cached_property
    def until_ms(self) -> IntArray:
        """(R,) until when each room was seen: its end where that is known, or the last thing in it if that is later."""
        end = self.groups.rooms["end_ms"].fill_null(0).to_numpy()
        until: IntArray = np.maximum(np.minimum(end, self._last.max(initial=0)), self._last)
        return until

    def _survey(self, spill: RoomSpill | None, rejected: Counter[str]) -> None:
        """One pass over segments and sessions: when the last thing was seen, and into the spill."""
        if self._surveyed and spill is None:
            return
        self.segmenting.survey(self.groups, partial(_see, self._last), spill, rejected)
        for frame in self.events.sessions():
            placed = self._placed(frame, Counter(), "sessions")
            kept = placed.filter(pl.col("end_ms").is_null() | (pl.col("end_ms") >= pl.col("time_ms")))
            _see(self._last, kept["room"].to_numpy(), kept.select(pl.coalesce("end_ms", "time_ms")).to_series())
            if spill is not None:
                spill.add("sessions", kept.select(*SESSION_FORM))
        self._surveyed = True

    def _placed(self, frame: pl.DataFrame, rejected: Counter[str], name: str) -> pl.DataFrame:
        """Rows that have a user and a time, with the place of their room; those of unknown rooms are counted."""
        whole = frame.drop_nulls(["user_id", "time_ms"])
        placed = whole.with_columns(room=pl.Series(self.groups.places(whole["item_id"]), dtype=pl.Int64))
        rejected[f"{name}: missing user or time"] += frame.height - whole.height
        rejected[f"{name}: {UNKNOWN_ROOM}"] += int((placed["room"] == NO_ROOM).sum())
        columns = [
            name for name in ("room", "user_id", "time_ms", "end_ms", "watch_ms", "text") if name in placed.columns
        ]
        return placed.select(columns)

    def _parts(self, spill: RoomSpill, rejected: Counter[str]) -> Iterator[LivePart]:
        apart = Apartness()
        for group in range(self.groups.count):
            yield self._part(spill, group, rejected, apart)
        apart.refuse(self.name)

    def _part(self, spill: RoomSpill, group: int, rejected: Counter[str], apart: Apartness) -> LivePart:
        cut = self.segmenting.of_group(self.groups, group, np.maximum(self._last, self._last_event), spill, rejected)
        segments = Segments.of(cut.frame)
        sessions = self._sessions(spill.read("sessions", group, SESSION_FORM))
        shows = _once(spill.read("shows", group, SHOW_FORM), Counter(), "shows")
        apart.add(segments, sessions)
        columns = audience(segments, sessions, shows)
        if self.events.shows is None:
            columns = {name: values for name, values in columns.items() if name not in ("ctr", "exposures")}
        frame = cut.frame.with_columns(**columns)
        texts = None
        for name in self.events.others:
            happened = _once(spill.read(name, group, SHOW_FORM), rejected, name)
            counted = segments.counts(happened["room"].to_numpy(), happened["time_ms"].to_numpy())
            frame = frame.with_columns(pl.Series(name, counted, dtype=pl.Int32))
            if "text" in happened.columns:
                texts = self._texts(happened, segments, cut.frame, rejected, name)
        return LivePart(
            self._with_ids(frame), {name: self._with_ids(index) for name, index in cut.vectors.items()}, texts
        )

    def _sessions(self, held: pl.DataFrame) -> pl.DataFrame:
        once = held.unique(maintain_order=True)
        until = self.until_ms[once["room"].to_numpy()]
        so_far = pl.max_horizontal(pl.Series(until, dtype=pl.Int64) - pl.col("time_ms"), 0)
        sessions = once.with_columns(
            is_open=pl.col("end_ms").is_null(),
            watch_ms=pl.coalesce("watch_ms", so_far),
            end_ms=pl.coalesce("end_ms", pl.col("time_ms") + so_far),
        )
        return sessions.with_columns(long_view(sessions, until, self.long_view_ms))

    def _texts(
        self, comments: pl.DataFrame, segments: Segments, cut: pl.DataFrame, rejected: Counter[str], name: str
    ) -> pl.DataFrame:
        rows = segments.at(comments["room"].to_numpy(), comments["time_ms"].to_numpy())
        rejected[f"{name}: outside every segment"] += int((rows < 0).sum())
        inside = comments.filter(pl.Series(rows >= 0)).with_columns(
            segment=cut["segment"].gather(rows[rows >= 0]).cast(pl.Int32), source=pl.lit("comment")
        )
        return self._with_ids(inside.filter(pl.col("text").is_not_null()).sort("room", "time_ms"))

    def _with_ids(self, frame: pl.DataFrame) -> pl.DataFrame:
        ids = pl.Series("item_id", self.groups.ids(frame["room"].to_numpy()), dtype=pl.Int64)
        return frame.drop("room").insert_column(0, ids)


def _see(last: IntArray, places: IntArray, time_ms: pl.Series) -> None:
    known = places != NO_ROOM
    np.maximum.at(last, places[known], time_ms.fill_null(0).to_numpy()[known])


def _impressions(frame: pl.DataFrame, places: IntArray) -> pl.DataFrame:
    return frame.select(
        "user_id", "item_id", "author_id", "time_ms", "watch_ms", "is_click", "long_view",
        duration_ms=pl.lit(None, pl.Int64),
        _unknown=pl.Series(places == NO_ROOM),
        _turned=(pl.col("end_ms") < pl.col("time_ms")).fill_null(False),
    )  # fmt: skip


def _once(held: pl.DataFrame, rejected: Counter[str], name: str) -> pl.DataFrame:
    once = held.unique(maintain_order=True)
    rejected[f"{name}: exact duplicate"] += held.height - once.height
    return once
