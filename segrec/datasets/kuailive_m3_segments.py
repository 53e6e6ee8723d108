"""KuaiLive-M3's segments: stored with their END and a vector, of any length; the start is the end of the one before."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.datasets.columns import check_columns
from segrec.datasets.live_groups import RoomGroups, RoomSpill
from segrec.datasets.live_join import UNKNOWN_ROOM, GroupSegments, Seen
from segrec.datasets.live_source import RowVectors
from segrec.datasets.live_times import epoch_ms
from segrec.datasets.parquet_stream import parquet_columns, parquet_frames
from segrec.datasets.vector_file import vector_chunks, vector_width
from segrec.records import DataError

FEATURE = "feature_128"
_ROWS_AT_A_TIME = 500_000
_FORM = {"room": pl.Int64, "end_ms": pl.Int64, "source_row": pl.Int64}
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class VectorRows:
    """Files of live_stream_id, timestamp (a segment's END in ms) and a vector."""

    name: str
    files: tuple[Path, ...]
    column: str
    model: str

    @classmethod
    def checked(cls, name: str, files: Sequence[Path], column: str, model: str) -> VectorRows:
        """:raises DataError: a file is damaged or lacks a column."""
        for file in files:
            check_columns(file, "segment vectors", list(parquet_columns(file)), ["live_stream_id", "timestamp", column])
        return cls(name, tuple(files), column, model)

    def segment_ends(self) -> Iterator[pl.DataFrame]:
        """item_id, end_ms, source_row in order, without the vectors."""
        done = 0
        for file in self.files:
            before = done
            for frame in parquet_frames(file, ["live_stream_id", "timestamp"], _ROWS_AT_A_TIME):
                yield frame.select(
                    item_id=whole_ids(frame["live_stream_id"], file),
                    end_ms=epoch_ms(frame["timestamp"], file, 0.0, 1 + done - before),
                    source_row=pl.int_range(done, done + frame.height, dtype=pl.Int64),
                )
                done += frame.height

    @property
    def vectors(self) -> RowVectors:
        """The vectors, opened."""
        dim = vector_width(self.files[0], self.column)
        return RowVectors(self.name, dim, self.model, partial(self._chunks, dim))

    def _chunks(self, dim: int) -> Iterator[npt.NDArray[np.floating[Any]]]:
        for file in self.files:
            yield from vector_chunks(file, self.column, dim)


@dataclass(frozen=True)
class StoredSegments:
    """Segments as `rows[0]` has them; the others bring further vectors of the same segments."""

    rows: tuple[VectorRows, ...]

    @cached_property
    def vectors(self) -> tuple[RowVectors, ...]:
        """All kinds."""
        return tuple(rows.vectors for rows in self.rows)

    def survey(self, groups: RoomGroups, seen: Seen, spill: RoomSpill | None, rejected: Counter[str]) -> None:
        """Keys of all rows, by room."""
        for rows in self.rows if spill is not None else self.rows[:1]:
            for frame in rows.segment_ends():
                places = groups.places(frame["item_id"])
                if rows is self.rows[0]:
                    seen(places, frame["end_ms"])
                rejected[f"{rows.name}: {UNKNOWN_ROOM}"] += int((places < 0).sum())
                if spill is not None:
                    spill.add(rows.name, frame.select(room=pl.Series(places), end_ms="end_ms", source_row="source_row"))

    def of_group(
        self, groups: RoomGroups, group: int, last_ms: IntArray, spill: RoomSpill, rejected: Counter[str]
    ) -> GroupSegments:
        """Rows without a length are left out, and numbered are those that remain."""
        found = _once(spill.read(self.rows[0].name, group, _FORM), self.rows[0].name, rejected)
        begun = groups.rooms["start_ms"].gather(found["room"])
        cut = found.with_columns(start_ms=pl.col("end_ms").shift(1).over("room").fill_null(begun))
        long = cut.filter(pl.col("end_ms") > pl.col("start_ms"))
        rejected["segments: end <= start"] += cut.height - long.height
        frame = long.with_columns(segment=pl.int_range(pl.len(), dtype=pl.Int32).over("room"))
        vectors = {self.rows[0].name: frame.select("room", "segment", "source_row")}
        for rows in self.rows[1:]:
            more = _once(spill.read(rows.name, group, _FORM), rows.name, rejected)
            index = more.join(frame.select("room", "end_ms", "segment"), on=["room", "end_ms"])
            rejected[f"{rows.name}: no such segment"] += more.height - index.height
            vectors[rows.name] = index.select("room", "segment", "source_row")
        return GroupSegments(frame.select("room", "segment", "start_ms", "end_ms"), vectors)


def parts_in_order(folder: Path, pattern: str) -> list[Path]:
    """Files of `folder`, part 2 before part 10."""
    return sorted(folder.glob(pattern), key=lambda file: [int(n) for n in re.findall(r"\d+", file.name)])


def whole_ids(series: pl.Series, file: Path) -> pl.Series:
    """Ids as Int64, also where they are written as text.

    :raises DataError: an id that is no whole number.
    """
    if series.dtype.is_integer():
        return series.cast(pl.Int64)
    ids = series.cast(pl.String).str.strip_chars().cast(pl.Int64, strict=False)
    bad = ids.is_null() & series.is_not_null()
    if bad.any():
        found = series.filter(bad)[0]
        raise DataError(
            file, f"column {series.name!r}: not an id", found=found, expected="whole numbers", fix="correct it"
        )
    return ids


def _once(held: pl.DataFrame, name: str, rejected: Counter[str]) -> pl.DataFrame:
    ordered = held.drop_nulls("end_ms").sort("room", "end_ms", "source_row")
    once = ordered.unique(["room", "end_ms"], keep="first", maintain_order=True)
    rejected[f"{name}: repeated segment"] += ordered.height - once.height
    rejected[f"{name}: missing timestamp"] += held.height - ordered.height
    return once
