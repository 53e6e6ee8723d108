"""KuaiLive: clicks, unclicked exposures, comments, likes and gifts of live rooms, without content.

Qu et al., "KuaiLive: A Real-time Interactive Dataset for Live Streaming Recommendation", SIGIR 2026;
https://zenodo.org/records/16565801, CC BY-NC-SA 4.0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from segrec.datasets.columns import check_columns, resolve_aliases
from segrec.datasets.csv_stream import csv_frames, csv_header
from segrec.datasets.live_groups import RoomGroups, RoomSpill
from segrec.datasets.live_join import CHECKED, GroupSegments, IntArray, LiveEvents, LiveJoin, Seen
from segrec.datasets.live_source import LONG_VIEW_MS, LiveSource, RowVectors
from segrec.datasets.live_times import epoch_ms
from segrec.datasets.log_source import LogSource, ReadOptions
from segrec.datasets.made_world import SEGMENT_TRUTH, origin, truth_file
from segrec.records import DataError

LICENCE = "CC BY-NC-SA 4.0"
SOURCE = "KuaiLive (https://zenodo.org/records/16565801)"
SEGMENT_MS = 300_000
"Few of a bin's viewers are among the sampled users: 30 s would leave most bins empty."

ROOMS, CLICKS, SHOWN, USERS, STREAMERS = "room.csv", "click.csv", "negative.csv", "user.csv", "streamer.csv"
OTHERS = {"comments": "comment.csv", "likes": "like.csv", "gifts": "gift.csv"}
STREAMER = ("streamer_id", "author_id")
"As documented, and as the publisher's scripts call it."
ROOM_FEATURES = {"live_type": pa.int64(), "live_content_category": pa.string(), "live_name_id": pa.int64()}
ONE_HOT = tuple(f"onehot_feat{number}" for number in range(7))
USER_FEATURES = (
    "age", "gender", "country", "device_brand", "device_price", "reg_timestamp", "fans_num", "follow_num",
    "first_watch_live_timestamp", "is_live_streamer", "is_photo_author", *ONE_HOT,
)  # fmt: skip
STREAMER_FEATURES = (
    "gender", "age", "country", "device_brand", "device_price", "live_operation_tag", "fans_user_num",
    "fans_group_fans_num", "follow_user_num", "first_live_timestamp", "reg_timestamp", *ONE_HOT,
)  # fmt: skip
_WHOLE = {*ONE_HOT, "is_live_streamer", "is_photo_author"}
_ACCUMULATED = "accu_* of users and streamers were left out: they add up to a day that is not stated"
_TITLES = "title embeddings were not read: they belong to titles (live_name_id), not to moments"


@dataclass(frozen=True)
class _Table:
    """One CSV file and what its columns are called here."""

    file: Path
    renames: Mapping[str, str]
    types: Mapping[str, pa.DataType]

    def frames(self) -> Iterator[pl.DataFrame]:
        """Our columns; times checked to be milliseconds."""
        row = 2
        for frame in csv_frames(self.file, self.types, columns=list(self.types)):
            times = [name for name in frame.columns if name.endswith("timestamp") and frame.schema[name] == pl.Int64]
            yield frame.with_columns(epoch_ms(frame[name], self.file, 0.0, row) for name in times).rename(self.renames)
            row += frame.height


@dataclass(frozen=True)
class RoomGrid:
    """Bins of one length from a room's start to the last thing that happened in it."""

    segment_ms: int
    vectors: tuple[RowVectors, ...] = ()

    def survey(self, groups: RoomGroups, seen: Seen, spill: RoomSpill | None, rejected: Counter[str]) -> None:
        """There is nothing to read."""

    def of_group(
        self, groups: RoomGroups, group: int, last_ms: IntArray, spill: RoomSpill, rejected: Counter[str]
    ) -> GroupSegments:
        """Rooms in which nothing happened have no bins."""
        first = group * groups.rooms_a_group
        start = groups.rooms["start_ms"][first : first + groups.rooms_a_group].to_numpy()
        last = last_ms[first : first + len(start)]
        counts = np.where(last >= start, (last - start) // self.segment_ms + 1, 0)
        room = np.repeat(np.arange(len(start)), counts)
        segment = np.arange(len(room)) - np.repeat(np.cumsum(counts) - counts, counts)
        begin = start[room] + segment * self.segment_ms
        frame = pl.DataFrame(
            {
                "room": room + first,
                "segment": segment.astype(np.int32),
                "start_ms": begin,
                "end_ms": begin + self.segment_ms,
            }
        )
        return GroupSegments(frame)


def read_kuailive(source: Path, options: ReadOptions) -> LogSource:
    """The folder of room.csv and click.csv; the other tables are read where they lie. Times are epoch ms.

    :raises DataError: a needed file or a column is missing.
    """
    options.refuse("kuailive", "columns", "with_month_averages", "label_shift", "utc_offset")
    if not source.is_dir():
        raise DataError(source, "is not a folder", expected=f"KuaiLive's folder with {ROOMS}", fix="unpack it")
    truth, segment_truth = truth_file((source,)), truth_file((source,), SEGMENT_TRUTH)
    licence, name = origin(segment_truth, LICENCE, SOURCE)
    segment_ms = options.segment_ms or SEGMENT_MS
    events = _events(source)
    streamers = _streamers(source / STREAMERS)
    long_view_ms = LONG_VIEW_MS if options.long_view_s is None else options.long_view_s * 1000
    join = LiveJoin(
        name,
        _rooms(source / ROOMS),
        events,
        RoomGrid(segment_ms),
        long_view_ms=long_view_ms,
        describe=partial(_with_streamers, streamers),
    )
    missing = [file for file in (SHOWN, *OTHERS.values()) if not (source / file).is_file()]
    users = source / USERS
    return LogSource(
        format="kuailive",
        licence=licence,
        source=name,
        batches=join.impressions,
        segment_ms=segment_ms,
        utc_offset_hours=8.0,
        flags=("is_click", "long_view"),
        may_miss=("duration_ms", "long_view"),
        impossible={reason: pl.col(column) for column, reason in CHECKED.items()},
        checked_only=tuple(CHECKED),
        users=_table(users, {"user_id": ("user_id",)}, _feature_types(USER_FEATURES)).frames
        if users.is_file()
        else None,
        live=LiveSource(join.prepare, join.rates, join.counters, _same_grid(segment_truth, segment_ms)),
        truth=truth,
        notes=(*([f"not there, so not counted: {', '.join(missing)}"] if missing else []), _ACCUMULATED, _TITLES),
    )


def _same_grid(truth: Path | None, segment_ms: int) -> Path | None:
    """The made world's truth of its own 30 s segments, where these bins are the same."""
    return truth if segment_ms == 30_000 else None


def _table(file: Path, ids: Mapping[str, tuple[str, ...]], types: Mapping[str, pa.DataType]) -> _Table:
    """`ids` = {our name: accepted names} of whole numbers; `types` = the other columns.

    :raises DataError: the file is not there, or lacks a column.
    """
    found = csv_header(file)
    renames = resolve_aliases(file, "KuaiLive", found, ids)
    check_columns(file, "KuaiLive", found, list(types))
    return _Table(file, renames, {**dict.fromkeys(renames, pa.int64()), **types})


def _event_table(file: Path, **more: tuple[str, ...]) -> _Table:
    ids = {"user_id": ("user_id",), "item_id": ("live_id",), "author_id": STREAMER, "time_ms": ("timestamp",), **more}
    return _table(file, ids, {})


def _feature_types(names: tuple[str, ...]) -> dict[str, pa.DataType]:
    return {name: pa.int64() if name in _WHOLE else pa.string() for name in names}


def _events(source: Path) -> LiveEvents:
    clicks = _event_table(source / CLICKS, watch_ms=("watch_live_time",))
    there = {name: source / file for name, file in OTHERS.items() if (source / file).is_file()}
    shows = source / SHOWN
    return LiveEvents(
        partial(_session_frames, clicks),
        _event_table(shows).frames if shows.is_file() else None,
        {name: _event_table(file).frames for name, file in there.items()},
    )


def _session_frames(clicks: _Table) -> Iterator[pl.DataFrame]:
    for frame in clicks.frames():
        yield frame.with_columns(end_ms=pl.col("time_ms") + pl.col("watch_ms"))


def _rooms(file: Path) -> pl.DataFrame:
    """One row a room: it may stand on several p_date, then it ends with the last of them."""
    ids = {"item_id": ("live_id",), "author_id": STREAMER}
    times = {"start_timestamp": pa.int64(), "end_timestamp": pa.int64()}
    table = _table(file, ids, {**times, **ROOM_FEATURES})
    rows = pl.concat(table.frames()).rename({"start_timestamp": "start_ms", "end_timestamp": "end_ms"})
    rooms = rows.drop_nulls(["item_id", "start_ms"]).group_by("item_id").agg(
        pl.first("author_id"), pl.min("start_ms"), pl.max("end_ms"), *(pl.first(name) for name in ROOM_FEATURES)
    )  # fmt: skip
    return rooms.with_columns(end_ms=pl.when(pl.col("end_ms") > pl.col("start_ms")).then("end_ms"))


def _streamers(file: Path) -> pl.DataFrame | None:
    if not file.is_file():
        return None
    table = _table(file, {"author_id": STREAMER}, _feature_types(STREAMER_FEATURES))
    streamers = pl.concat(table.frames()).drop_nulls("author_id").unique("author_id", keep="first", maintain_order=True)
    return streamers.rename({name: f"author_{name}" for name in STREAMER_FEATURES})


def _with_streamers(streamers: pl.DataFrame | None, rooms: pl.DataFrame) -> pl.DataFrame:
    return rooms if streamers is None else rooms.join(streamers, on="author_id", how="left", maintain_order="left")
