"""KuaiLive-M3: watch sessions, impressions, comments and content vectors of segments of live rooms.

https://huggingface.co/datasets/imgkkk2004/KuaiLive-M3; code and field list: https://github.com/imgkkk574/KuaiLive-M3.
Its short-video half (photo_*) is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa

from segrec.datasets.columns import check_columns
from segrec.datasets.csv_stream import csv_frames, csv_header
from segrec.datasets.kuailive_m3_clock import clock_of
from segrec.datasets.kuailive_m3_segments import FEATURE, StoredSegments, VectorRows, parts_in_order, whole_ids
from segrec.datasets.live_join import CHECKED, LiveEvents, LiveJoin
from segrec.datasets.live_source import LONG_VIEW_MS, LiveSource
from segrec.datasets.live_times import epoch_ms
from segrec.datasets.log_source import LogSource, ReadOptions
from segrec.datasets.made_world import SEGMENT_TRUTH, VECTORS, origin, truth_file
from segrec.datasets.parquet_stream import parquet_columns, parquet_frames
from segrec.records import DataError

LICENCE = "see the data card of imgkkk2004/KuaiLive-M3: none is stated with the code"
SOURCE = "KuaiLive-M3 (https://huggingface.co/datasets/imgkkk2004/KuaiLive-M3)"
UTC_OFFSET_HOURS = 8.0
"Days are counted in this clock, as the publisher's p_date."
NOMINAL_MS = 30_000
"Segments have any length; most are near this."

SESSIONS = "live_interaction.csv"
SHOWS = "live_show.parquet"
ROOMS = "live_room_meta.parquet"
AUTHORS = "author_profile.csv"
EMBEDDINGS = "live_emb_128_ts"
OTHERS = {
    "comments": ("live_comment.csv", "live_stream_id", "comment_ts"),
    "likes": ("live_like.csv", "live_id", "like_timestamp"),
    "shares": ("live_share.csv", "live_id", "share_timestamp"),
}
"Counter: file, room column, time column."
SESSION_COLUMNS = (
    "user_id", "author_id", "live_id", "live_play_start_timestamp", "live_play_end_timestamp", "play_duration",
)  # fmt: skip
AUTHOR_FEATURES = ("is_photo_author", "is_live_author", "gender", "age_segment", "fans_user_num")


@dataclass(frozen=True)
class _Table:
    """A CSV or Parquet file of events."""

    file: Path
    columns: tuple[str, ...]

    def frames(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """(number of the first row, frame); CSV rows count from 2, after the header; times are still text there."""
        row = 1
        if self.file.suffix == ".csv":
            row = 2
            types = {name: pa.int64() if _is_whole(name) else pa.string() for name in self.columns}
            frames = csv_frames(self.file, types, columns=self.columns, multiline="content" in self.columns)
        else:
            frames = parquet_frames(self.file, self.columns)
        for frame in frames:
            yield row, frame
            row += frame.height

    def checked(self) -> _Table:
        """:raises DataError: the file is not there, is damaged or lacks a column."""
        found = csv_header(self.file) if self.file.suffix == ".csv" else list(parquet_columns(self.file))
        check_columns(self.file, "KuaiLive-M3", found, self.columns)
        return self


def _is_whole(name: str) -> bool:
    return name.endswith("_id") or name == "play_duration"


def read_kuailive_m3(source: Path, options: ReadOptions) -> LogSource:
    """The folder of the live half: sessions, rooms and segment embeddings are needed, the rest is read where it lies.

    :raises DataError: a needed file is missing, a column is missing, the clocks of the files do not agree.
    """
    options.refuse("kuailive_m3", "columns", "with_month_averages", "segment_ms", "label_shift")
    if not source.is_dir():
        raise DataError(source, "is not a folder", expected=f"KuaiLive-M3's folder with {SESSIONS}", fix="unpack it")
    truth, segment_truth = truth_file((source,)), truth_file((source,), SEGMENT_TRUTH)
    licence, name = origin(segment_truth, LICENCE, SOURCE)
    segments = _stored_segments(source, made=segment_truth is not None)
    rooms = _Table(source / ROOMS, ("live_id", "author_id", "live_name", "start_timestamp", "end_timestamp")).checked()
    clock = clock_of(rooms.file, segments.rows[0], options.utc_offset)
    events = _events(source, clock.offset_hours)
    meta = pl.concat(_room_frames(rooms, clock.offset_hours))
    long_view_ms = LONG_VIEW_MS if options.long_view_s is None else options.long_view_s * 1000
    describe = partial(_with_authors, _authors(source / AUTHORS))
    join = LiveJoin(name, _rooms(meta), events, segments, long_view_ms=long_view_ms, describe=describe)
    missing = [file for file in (SHOWS, *(file for file, _, _ in OTHERS.values())) if not (source / file).is_file()]
    return LogSource(
        format="kuailive_m3",
        licence=licence,
        source=name,
        batches=join.impressions,
        segment_ms=NOMINAL_MS,
        utc_offset_hours=UTC_OFFSET_HOURS,
        flags=("is_click", "long_view"),
        may_miss=("duration_ms", "long_view"),
        impossible={reason: pl.col(column) for column, reason in CHECKED.items()},
        checked_only=tuple(CHECKED),
        live=LiveSource(join.prepare, join.rates, join.counters, segment_truth),
        truth=truth,
        notes=(*clock.notes, *([f"not there, so not counted: {', '.join(missing)}"] if missing else [])),
    )


def _stored_segments(source: Path, *, made: bool) -> StoredSegments:
    files = parts_in_order(source / EMBEDDINGS, f"{EMBEDDINGS}_part*.parquet")
    if not files:
        raise DataError(
            source, f"holds no {EMBEDDINGS}/{EMBEDDINGS}_part*.parquet", expected="segment embeddings",
            fix="download that folder",
        )  # fmt: skip
    model = VECTORS if made else "KuaiLive-M3's own: PCA of a 2,307-wide multimodal vector"
    rows = [VectorRows.checked(FEATURE, files, FEATURE, model)]
    for file in sorted(source.glob("segment_vectors_*.parquet")):
        name = file.stem.removeprefix("segment_vectors_")
        model = VECTORS if made else f"{file.name} (as delivered)"
        rows.append(VectorRows.checked(name, [file], "vector", model))
    return StoredSegments(tuple(rows))


def _events(source: Path, offset_hours: float) -> LiveEvents:
    sessions = _Table(source / SESSIONS, SESSION_COLUMNS).checked()
    shows = source / SHOWS
    others = {}
    for name, (file, room, time) in OTHERS.items():
        if (source / file).is_file():
            text = ("content",) if name == "comments" else ()
            table = _Table(source / file, ("user_id", room, time, *text)).checked()
            others[name] = partial(
                _event_frames, table, {room: "item_id", time: "time_ms", "content": "text"}, offset_hours
            )
    shown = None
    if shows.is_file():
        table = _Table(shows, ("user_id", "author_id", "live_id", "show_timestamp")).checked()
        shown = partial(_event_frames, table, {"live_id": "item_id", "show_timestamp": "time_ms"}, offset_hours)
    return LiveEvents(partial(_session_frames, sessions, offset_hours), shown, others)


def _event_frames(table: _Table, names: Mapping[str, str], offset_hours: float) -> Iterator[pl.DataFrame]:
    time = next(theirs for theirs, ours in names.items() if ours == "time_ms")
    for row, frame in table.frames():
        stamps = epoch_ms(frame[time], table.file, offset_hours, row)
        ids = [whole_ids(frame[name], table.file) for name in frame.columns if name.endswith("_id")]
        yield frame.with_columns(*ids, stamps.alias(time)).rename(names, strict=False)


def _session_frames(table: _Table, offset_hours: float) -> Iterator[pl.DataFrame]:
    """A missing end follows from play_duration; without both the session is still open."""
    for row, frame in table.frames():
        start, end = (epoch_ms(frame[name], table.file, offset_hours, row) for name in SESSION_COLUMNS[3:5])
        named = frame.select(
            "user_id", "author_id", item_id="live_id", time_ms=start, end_ms=end, watch_ms="play_duration"
        )
        yield named.with_columns(
            end_ms=pl.coalesce("end_ms", pl.col("time_ms") + pl.col("watch_ms")),
            watch_ms=pl.coalesce("watch_ms", (pl.col("end_ms") - pl.col("time_ms")).clip(0)),
        )


def _room_frames(table: _Table, offset_hours: float) -> Iterator[pl.DataFrame]:
    for row, frame in table.frames():
        yield frame.select(
            whole_ids(frame["live_id"], table.file).alias("item_id"),
            whole_ids(frame["author_id"], table.file),
            frame["live_name"].cast(pl.String),
            epoch_ms(frame["start_timestamp"], table.file, offset_hours, row).alias("start_ms"),
            epoch_ms(frame["end_timestamp"], table.file, offset_hours, row).alias("end_ms"),
        )


def _rooms(meta: pl.DataFrame) -> pl.DataFrame:
    """One row a room: cross-day rooms may stand on several rows; still open where one of them is."""
    whole = meta.drop_nulls(["item_id", "start_ms"])
    end = pl.when(pl.col("end_ms").is_null().any()).then(None).otherwise(pl.col("end_ms").max())
    rooms = whole.group_by("item_id").agg(
        pl.first("author_id"), pl.min("start_ms"), end.alias("end_ms"), pl.first("live_name")
    )
    return rooms.with_columns(end_ms=pl.when(pl.col("end_ms") > pl.col("start_ms")).then("end_ms"))


def _authors(file: Path) -> pl.DataFrame | None:
    """author_id, author_gender ... from the creators' profiles, where those are."""
    if not file.is_file():
        return None
    check_columns(file, "KuaiLive-M3 creators", csv_header(file), ["author_id", *AUTHOR_FEATURES])
    types = {"author_id": pa.int64(), **dict.fromkeys(AUTHOR_FEATURES, pa.string())}
    profiles = pl.concat([pl.DataFrame(schema={"author_id": pl.Int64, **dict.fromkeys(AUTHOR_FEATURES, pl.String)}),
                          *csv_frames(file, types, columns=list(types))])  # fmt: skip
    once = profiles.drop_nulls("author_id").unique("author_id", keep="first", maintain_order=True)
    return once.rename({name: f"author_{name}" for name in AUTHOR_FEATURES})


def _with_authors(authors: pl.DataFrame | None, rooms: pl.DataFrame) -> pl.DataFrame:
    return rooms if authors is None else rooms.join(authors, on="author_id", how="left", maintain_order="left")
