"""What a reader of live rooms hands to the folder writer: rooms, their segments in parts, vectors and texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import Rate

LONG_VIEW_MS = 60_000
"A long view lasts longer than this (KuaiHL, section III-A)."


@dataclass(frozen=True)
class LivePart:
    """Whole rooms: those of one part lie, by start, before those of the next."""

    segments: pl.DataFrame
    "item_id, segment (Int32), start_ms, end_ms, counters, rates and their trials; rooms by start, then in time order."
    vectors: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    "By name: item_id, segment, source_row (which of all rows of the source the vector is)."
    texts: pl.DataFrame | None = None
    "item_id, segment, time_ms, source, text."


@dataclass(frozen=True)
class RowVectors:
    """All vectors of one kind in the source's own order; those that no segment claims are left out."""

    name: str
    dim: int
    model: str
    chunks: Callable[[], Iterable[npt.NDArray[np.floating[Any]]]]
    "(n, dim) arrays in order of source_row."


Describe = Callable[[pl.DataFrame], pl.DataFrame]


def same(rooms: pl.DataFrame) -> pl.DataFrame:
    """`rooms` as they are."""
    return rooms


@dataclass(frozen=True)
class LiveTables:
    """What was found in the source."""

    rooms: pl.DataFrame
    "item_id, author_id, start_ms and features that are known when a room begins; `split` where the source has one."
    parts: Iterator[LivePart]
    "Read once."
    vectors: tuple[RowVectors, ...] = ()
    describe: Describe = same
    "Adds further features that are known when a room begins to some of the rooms."


Prepare = Callable[[Path, "Counter[str]"], LiveTables]
"(empty folder for what does not fit into memory, counter of rejected rows by reason) -> the tables."


@dataclass(frozen=True)
class LiveSource:
    """The live half of a source."""

    prepare: Prepare
    rates: Mapping[str, Rate]
    counters: tuple[str, ...] = ()
    truth: Path | None = None
    "truth_segments.parquet of a made world."
