"""KuaiRand (Pure, 1K, 27K): the publisher's log and feature files, any subset of the logs.

Gao et al., "KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos", CIKM 2022;
https://zenodo.org/records/10439422, CC BY-SA 4.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa

from segrec.datasets.columns import check_columns
from segrec.datasets.csv_stream import csv_frames, csv_header
from segrec.datasets.log_source import LIVE_ONLY, LogSource, ReadOptions
from segrec.datasets.made_world import origin, truth_file
from segrec.datasets.vector_file import vectors_beside
from segrec.records import DataError

LICENCE = "CC BY-SA 4.0"
SOURCE = "KuaiRand (https://zenodo.org/records/10439422)"

FLAGS = (
    "is_click", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "long_view", "is_profile_enter",
)  # fmt: skip
CONTEXT = ("tab",)
"profile_stay_time and comment_stay_time are outcomes; is_random says how the row came about: none is context."

LOG_TYPES: dict[str, pa.DataType] = {
    "user_id": pa.int64(), "video_id": pa.int64(), "date": pa.int32(), "hourmin": pa.int16(), "time_ms": pa.int64(),
    **dict.fromkeys(FLAGS, pa.int8()), "play_time_ms": pa.int64(), "duration_ms": pa.int64(),
    "profile_stay_time": pa.int64(), "comment_stay_time": pa.int64(), "is_rand": pa.int8(), "tab": pa.int16(),
}  # fmt: skip
RENAMES = {"video_id": "item_id", "play_time_ms": "watch_ms", "is_rand": "is_random"}

ONE_HOT = tuple(f"onehot_feat{number}" for number in range(18))
USER_COUNTS = (
    "is_lowactive_period", "is_live_streamer", "is_video_author", "follow_user_num", "fans_user_num",
    "friend_user_num", "register_days", *ONE_HOT,
)  # fmt: skip
USER_TEXTS = (
    "user_active_degree", "follow_user_num_range", "fans_user_num_range", "friend_user_num_range",
    "register_days_range",
)  # fmt: skip
VIDEO_COUNTS = ("author_id", "visible_status", "server_width", "server_height", "music_id", "music_type")
VIDEO_TEXTS = ("video_type", "upload_dt", "upload_type", "tag")

MONTH_AVERAGE = "month_average_"
"Marks a column of the statistics file: an average over the whole month, future included."

_LOGS = r"log_(standard|random)_.*\.csv(\.gz)?"
_VERSION = re.compile(r"_(pure|1k|27k)(_part\d+)?\.csv(\.gz)?$", re.IGNORECASE)


def read_kuairand(source: Path, options: ReadOptions) -> LogSource:
    """The files in `source`, or in its folder `data`; times and days are UTC+8.

    :raises DataError: no log file, files of two versions, a missing column.
    """
    options.refuse("kuairand", "columns", *LIVE_ONLY)
    folder = _data_folder(source)
    logs = _files(folder, _LOGS)
    if not logs:
        raise DataError(
            source, "holds no KuaiRand log", expected="log_standard_*.csv or log_random_*.csv (or .csv.gz)",
            fix="pass the folder of the unpacked download, or its data/ folder",
        )  # fmt: skip
    users = _files(folder, r"user_features_.*\.csv(\.gz)?")
    videos = _files(folder, r"video_features_basic_.*\.csv(\.gz)?")
    statistics = _files(folder, r"video_features_statistic_.*\.csv(\.gz)?")
    _check_one_version([*logs, *users, *videos])
    _check_headers("KuaiRand log", logs, LOG_TYPES)
    _check_headers("KuaiRand user features", users, ["user_id", *USER_COUNTS, *USER_TEXTS])
    _check_headers("KuaiRand video features", videos, ["video_id", *VIDEO_COUNTS, *VIDEO_TEXTS])
    notes = _notes(options, folder, statistics)
    segment_ms = options.segment_ms or 5000
    items = partial(_video_frames, videos)
    if options.with_month_averages:
        items = partial(_with_month_averages, videos, statistics)
    truth = truth_file((source, folder))
    licence, name = origin(truth, LICENCE, SOURCE)
    return LogSource(
        format="kuairand",
        licence=licence,
        source=name,
        batches=partial(_log_frames, logs),
        segment_ms=segment_ms,
        utc_offset_hours=8.0,
        flags=FLAGS,
        context=CONTEXT,
        users=partial(_user_frames, users) if users else None,
        items=items if videos else None,
        vectors=vectors_beside((source, folder), pl.Int64()),
        truth=truth,
        notes=notes,
    )


def _data_folder(source: Path) -> Path:
    if not source.is_dir():
        raise DataError(source, "is not a folder", expected="KuaiRand's folder with its csv files", fix="unpack it")
    inner = source / "data"
    return inner if inner.is_dir() and not _files(source, _LOGS) else source


def _files(folder: Path, pattern: str) -> list[Path]:
    found = sorted(file for file in folder.iterdir() if re.fullmatch(pattern, file.name))
    names = {file.name for file in found}
    for file in found:
        if f"{file.name}.gz" in names:
            raise DataError(file, "lies beside its own .gz: every row would be read twice", fix="remove one of them")
    return found


def _check_headers(kind: str, files: Sequence[Path], required: Iterable[str]) -> None:
    for file in files:
        check_columns(file, kind, csv_header(file), list(required))


def _check_one_version(files: Sequence[Path]) -> None:
    versions: dict[str, Path] = {}
    for file in files:
        if match := _VERSION.search(file.name):
            versions.setdefault(match[1].lower(), file)
    if len(versions) > 1:
        named = ", ".join(f"{version}: {file.name}" for version, file in versions.items())
        raise DataError(
            files[0].parent, "holds files of several KuaiRand versions, whose ids differ", found=named,
            fix="keep one version in a folder",
        )  # fmt: skip


def _notes(options: ReadOptions, folder: Path, statistics: Sequence[Path]) -> tuple[str, ...]:
    if options.with_month_averages and not statistics:
        raise DataError(
            folder, "holds no video statistics for --with-month-averages", expected="video_features_statistic_*.csv",
            fix="leave the flag out",
        )  # fmt: skip
    if options.with_month_averages:
        return (f"columns {MONTH_AVERAGE}* are averages over the whole month: models that use them see the future",)
    if statistics:
        return (
            "video_features_statistic_* was not read: its averages over the whole month leak the future "
            "(--with-month-averages reads it)",
        )
    return ()


def _log_frames(logs: Sequence[Path]) -> Iterator[pl.DataFrame]:
    for log in logs:
        for frame in csv_frames(log, LOG_TYPES, columns=_known_first(log), flags=(*FLAGS, "is_rand")):
            yield frame.rename(RENAMES)


def _known_first(log: Path) -> list[str]:
    """Columns in one order for all logs, whatever the order in the file."""
    return [*LOG_TYPES, *sorted(set(csv_header(log)) - set(LOG_TYPES))]


def _user_frames(files: Sequence[Path]) -> Iterator[pl.DataFrame]:
    types = {"user_id": pa.int64(), **_texts(USER_TEXTS), **dict.fromkeys(USER_COUNTS, pa.float64())}
    for file in files:
        for frame in csv_frames(file, types):
            yield _whole(frame, USER_COUNTS, file)


def _video_frames(files: Sequence[Path]) -> Iterator[pl.DataFrame]:
    counts = dict.fromkeys((*VIDEO_COUNTS, "video_duration"), pa.float64())
    types = {"video_id": pa.int64(), **_texts(VIDEO_TEXTS), **counts}
    for file in files:
        for frame in csv_frames(file, types):
            yield _whole(frame, VIDEO_COUNTS, file).rename({"video_id": "item_id"})


def _with_month_averages(files: Sequence[Path], statistics: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """Video features with the statistics joined; holds the whole statistics in memory."""
    averages = pl.concat(frame for file in statistics for frame in csv_frames(file, {"video_id": pa.int64()}))
    marked = averages.unique("video_id", keep="first").rename(
        {name: MONTH_AVERAGE + name for name in averages.columns if name != "video_id"}
    )
    for frame in _video_frames(files):
        yield frame.join(marked, left_on="item_id", right_on="video_id", how="left", maintain_order="left")


def _texts(names: Sequence[str]) -> Mapping[str, pa.DataType]:
    return dict.fromkeys(names, pa.string())


def _whole(frame: pl.DataFrame, names: Sequence[str], file: Path) -> pl.DataFrame:
    """Whole numbers that the publisher writes as 4.0 where other rows of the column are missing, as Int64."""
    for name in names:
        if (frame[name] != frame[name].round()).any():
            value = frame[name].filter(frame[name] != frame[name].round())[0]
            raise DataError(file, f"column {name!r}: not a whole number", found=value, fix="correct the row")
    return frame.with_columns(pl.col(*names).cast(pl.Int64))
