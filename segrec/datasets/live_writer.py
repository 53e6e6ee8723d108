"""Writes the live half of a dataset folder: rooms with their split, the segment table, vectors and texts."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from segrec.datasets.fingerprint import ContentHash
from segrec.datasets.live_source import LivePart, LiveSource, RowVectors
from segrec.datasets.log_source import LogSource, ReadOptions, VectorSource
from segrec.datasets.made_world import ALIGNMENT_TRUTH, SEGMENT_TRUTH
from segrec.datasets.side_tables import SideTable, write_side_table
from segrec.records import ConfigError, DataError, write_segment_vectors
from segrec.splitting import GivenSplit, SplitRequest, Splitter, TimeSplit

FORMS = {"item_id": pl.Int64, "segment": pl.Int32, "start_ms": pl.Int64, "end_ms": pl.Int64}
_FIRST = ("item_id", "author_id", "start_ms", "split")
_ROOMS_AT_A_TIME = 200_000
TEXT_COLUMNS = ("item_id", "segment", "time_ms", "source", "text")


@dataclass
class LiveFolder:
    """What was written, for dataset.json."""

    splitter: Splitter
    items: SideTable
    content_hash: str
    segments: Counter[str] = field(default_factory=Counter)
    "Rows of the segment table by split."


def write_live(
    log: LogSource, live: LiveSource, building: Path, options: ReadOptions, rejected: Counter[str]
) -> LiveFolder:
    """Writes items.parquet, segments/, texts.parquet and what is known of the truth into `building`.

    Memory holds the rooms, and a part of their segments at a time.

    :raises DataError: the source does not parse, or no segment is left.
    :raises ConfigError: a split that rooms cannot have.
    """
    scratch = building / ".scratch" / "live"
    scratch.mkdir()
    tables = live.prepare(scratch, rejected)
    with _Parts(building, {kind.name for kind in tables.vectors}) as parts:
        for part in tables.parts:
            parts.add(part)
    if not parts.rows:
        told = ", ".join(f"{reason}: {rows:,}" for reason, rows in rejected.items() if rows) or "0 rows"
        raise DataError(log.source, "no segment is left", found=told, fix="check the columns and their units")
    splitter = _splitter(tables.rooms, parts.rooms(), options.split, log.utc_offset_hours)
    split = splitter.assign(tables.rooms.with_columns(time_ms="start_ms"), 0).drop("time_ms")
    split = split.select(*_FIRST, pl.exclude(*_FIRST))
    described = (tables.describe(slice_) for slice_ in split.iter_slices(_ROOMS_AT_A_TIME))
    items = write_side_table(building / "items.parquet", "item_id", described, rejected)
    for kind in tables.vectors:
        _write_vectors(building / "segments" / kind.name, kind, parts.index(kind.name), options)
    if live.truth is not None:
        _copy_truth(live.truth, building)
    written = LiveFolder(splitter, items, parts.content.hexdigest())
    counted = parts.heights.join(split.select("item_id", "split"), on="item_id")
    written.segments.update(dict(counted.group_by("split").agg(pl.sum("len")).iter_rows()))
    return written


def _copy_truth(file: Path, building: Path) -> None:
    """The rates of each segment and, where that lies beside it, how far its text is from its frames."""
    shutil.copyfile(file, building / SEGMENT_TRUTH)
    offsets = file.with_name(ALIGNMENT_TRUTH)
    if offsets.is_file():
        shutil.copyfile(offsets, building / ALIGNMENT_TRUTH)


class _Parts:
    """Takes parts, writes them as they come."""

    def __init__(self, building: Path, vectors: set[str]) -> None:
        self._folder = building / "segments"
        self._folder.mkdir()
        self._texts = building / "texts.parquet"
        self._index: dict[str, list[pl.DataFrame]] = {name: [] for name in vectors}
        self._heights: list[pl.DataFrame] = []
        self._writer: pq.ParquetWriter | None = None
        self.content = ContentHash()
        self.rows = 0

    def __enter__(self) -> _Parts:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, part: LivePart) -> None:
        """Writes one part."""
        if not part.segments.height:
            return
        frame = part.segments.select(*(pl.col(name).cast(kind) for name, kind in FORMS.items()), pl.exclude(*FORMS))
        frame.write_parquet(self._folder / f"part-{len(self._heights):05}.parquet", compression="zstd")
        self.content.add(frame)
        self.rows += frame.height
        self._heights.append(frame.group_by("item_id", maintain_order=True).agg(pl.len(), pl.min("start_ms")))
        for name, index in part.vectors.items():
            self._index[name].append(index.select("item_id", pl.col("segment").cast(pl.Int32), "source_row"))
        if part.texts is not None and part.texts.height:
            table = part.texts.select(TEXT_COLUMNS).to_arrow(compat_level=pl.CompatLevel.oldest())
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._texts, table.schema, compression="zstd")
            self._writer.write_table(table)

    @property
    def heights(self) -> pl.DataFrame:
        """item_id, len (segments), start_ms (of the first)."""
        return pl.concat(self._heights)

    def rooms(self) -> pl.Series:
        """item_id of the rooms that have segments."""
        return self.heights["item_id"]

    def index(self, name: str) -> pl.DataFrame:
        """item_id, segment, source_row of all vectors `name`, in the source's order; can be asked for once."""
        empty = pl.DataFrame(schema={"item_id": pl.Int64, "segment": pl.Int32, "source_row": pl.Int64})
        return pl.concat([empty, *self._index.pop(name)]).sort("source_row")


class _Starts:
    """Room starts as rows in time order."""

    def __init__(self, starts: pl.Series) -> None:
        self._frame = pl.DataFrame({"time_ms": starts.sort()})
        self.heights = [self._frame.height]

    def read(self, run: int, columns: Sequence[str]) -> pl.DataFrame:
        """Those columns."""
        return self._frame.select(columns)


def _splitter(rooms: pl.DataFrame, measured: pl.Series, request: SplitRequest, offset_hours: float) -> Splitter:
    """Newest 10% of the rooms with segments test, 10% before them valid, as `segrec.splitting` does with rows."""
    if request.valid_from is not None and request.test_from is not None:
        return TimeSplit.by_dates(request.valid_from, request.test_from, offset_hours)
    published = "split" in rooms.columns
    if request.rule == "users" or (request.rule == "published" and not published):
        raise ConfigError(f"--split {request.rule}: live rooms are split by their start; leave it out, or say time")
    if published and request.rule != "time":
        return GivenSplit()
    starts = rooms.filter(pl.col("item_id").is_in(measured.implode()))["start_ms"]
    return TimeSplit.by_shares(_Starts(starts))


def _write_vectors(folder: Path, kind: RowVectors, index: pl.DataFrame, options: ReadOptions) -> None:
    source = VectorSource(
        kind.name, index.with_row_index("row").select("item_id", "segment", "row"),
        _claimed(kind.chunks, index["source_row"].to_numpy()), kind.dim, kind.model,
    )  # fmt: skip
    write_segment_vectors(
        folder, source.index, source.chunks(), dim=source.dim, dtype=options.vectors_type, model=source.model
    )


def _claimed(
    chunks: Callable[[], Any], rows: npt.NDArray[np.int64]
) -> Callable[[], Iterator[npt.NDArray[np.floating[Any]]]]:
    """Only the rows `rows` (ascending) of what `chunks` yield."""

    def kept() -> Iterator[npt.NDArray[np.floating[Any]]]:
        done = 0
        for chunk in chunks():
            first, last = np.searchsorted(rows, [done, done + len(chunk)])
            yield chunk[rows[first:last] - done]
            done += len(chunk)

    return kept


def live_fingerprint(interactions: str, live: LiveFolder, segment_ms: int) -> str:
    """Hash of impressions, rooms and segment table."""
    parts = [interactions, live.items.content_hash, live.content_hash, f"segment_ms={segment_ms}"]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
