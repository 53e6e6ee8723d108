"""The column map of `segrec read table`: which column of somebody's log is what, in which unit."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
import yaml
from pydantic import Field, PositiveInt

from segrec.records import Config, ConfigError

Unit = Literal["s", "ms", "us"]
ColumnType = Literal["int", "float", "string"]

ARROW_TYPES: dict[ColumnType, pa.DataType] = {"int": pa.int64(), "float": pa.float64(), "string": pa.string()}

OUR_NAMES = ("user_id", "item_id", "author_id", "time_ms", "duration_ms", "watch_ms", "split", "is_random")
"Taken names: a flag or context column may not be called like this."


class TimeColumn(Config):
    """When the impression happened."""

    column: str
    unit: Literal["s", "ms", "us", "datetime"]
    "s, ms, us = since 1970 in UTC; datetime = dates; those without a zone are in the clock of utc_offset_hours."


class LengthColumn(Config):
    """A span of time."""

    column: str
    unit: Unit


class SideFile(Config):
    """Features of users or items: Parquet, .csv or .csv.gz, one row an id."""

    file: Path
    "Relative to the map's folder."
    id: str
    "The column that holds the id, of the log's type."
    features: tuple[str, ...] | None = None
    "Columns to keep; None = all."


class VectorFile(Config):
    """Segment vectors: Parquet, one row a segment."""

    file: Path
    "Relative to the map's folder."
    item_id: str = "item_id"
    segment: str = "segment"
    vector: str = "vector"
    model: str | None = None
    "What made the vectors: name and revision."


class ColumnMap(Config):
    """MAP.yaml. Columns of the log that are not named here are not read."""

    user_id: str
    item_id: str
    author_id: str | None = None
    time: TimeColumn
    duration: LengthColumn
    "Length of the item."
    watch: LengthColumn
    "How long it was watched."
    split: str | None = None
    "A column that holds train, valid or test."
    is_random: str | None = None
    "A column that is 1 where the exposure was random."
    flags: tuple[str, ...] = ()
    "Feedback that can be a label; 0 and 1, or true and false."
    context: tuple[str, ...] = ()
    "Known before the outcome of the impression; usable as features."
    users: SideFile | None = None
    items: SideFile | None = None
    "A column author_id in it joins to the log, where the log has none."
    vectors: dict[str, VectorFile] = {}
    "Segment vectors by name: visual, text ..."
    segment_ms: PositiveInt = 5000
    utc_offset_hours: Annotated[float, Field(ge=-14, le=14)] = 0.0
    "The log's clock: days and hours are counted in it."
    types: dict[str, ColumnType] = {}
    "Types of CSV columns whose first rows mislead (ids that look like numbers at first)."
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    "Of CSV files."
    licence: str = "the log owner's own"
    source: str | None = None
    "What reports call this log; None = its file name."

    @classmethod
    def read(cls, file: Path) -> ColumnMap:
        """:raises ConfigError: not YAML, an unknown field, a name used twice or taken by a column of ours."""
        columns = cls.of(file)
        named = [*columns.flags, *columns.context]
        for name in named:
            if named.count(name) > 1:
                raise ConfigError(f"{file}: column {name!r} is named twice among flags and context; name it once")
            if name in OUR_NAMES:
                raise ConfigError(f"{file}: column {name!r} among flags or context has a name of segrec's own columns")
        return columns

    def log_columns(self) -> list[str]:
        """Every column of the log that is read, once."""
        optional = [name for name in (self.author_id, self.split, self.is_random) if name is not None]
        spans = [self.time.column, self.duration.column, self.watch.column]
        return list(dict.fromkeys([self.user_id, self.item_id, *spans, *optional, *self.flags, *self.context]))

    def arrow_types(self) -> dict[str, pa.DataType]:
        """Types of CSV columns that need no look at the data."""
        lengths = dict.fromkeys([self.duration.column, self.watch.column], pa.float64())
        time = {self.time.column: pa.string() if self.time.unit == "datetime" else pa.float64()}
        split = {self.split: pa.string()} if self.split is not None else {}
        return {**lengths, **time, **split, **{name: ARROW_TYPES[kind] for name, kind in self.types.items()}}


_USUAL = {
    "user_id": ("user_id", "uid", "user", "viewer_id", "member_id", "userId"),
    "item_id": ("item_id", "video_id", "photo_id", "vid", "item", "video", "live_id", "itemId"),
    "time": ("time_ms", "timestamp", "ts", "time", "datetime", "event_time", "created_at"),
    "duration": ("duration_ms", "duration", "video_duration", "length", "video_length", "dur"),
    "watch": ("watch_ms", "play_time_ms", "playing_time", "watch_time", "play_time", "played", "watched"),
}


def minimal_map(columns: Mapping[str, object]) -> str:
    """A map in one line of YAML for a log with these columns (name: type), guessed where a name is usual."""
    guess = {ours: _nearest(usual, list(columns)) for ours, usual in _USUAL.items()}
    parts: dict[str, object] = {"user_id": guess["user_id"], "item_id": guess["item_id"]}
    for ours in ("time", "duration", "watch"):
        parts[ours] = {"column": guess[ours], "unit": _unit(guess[ours], columns.get(guess[ours]))}
    return yaml.safe_dump(parts, default_flow_style=True, sort_keys=False, width=10_000).strip()


def _nearest(usual: tuple[str, ...], columns: list[str]) -> str:
    for name in usual:
        if near := difflib.get_close_matches(name, columns, 1, 0.85):
            return near[0]
    return "?"


def _unit(column: str, kind: object) -> str:
    if isinstance(kind, pa.DataType) and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return "datetime"
    return "s" if column.endswith(("_s", "_sec", "_seconds", "seconds")) else "ms"
