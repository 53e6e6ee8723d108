"""Pieces of the day files: runs of rows inside a row group, small enough to be shuffled among each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import DatasetFolder
from segrec.records.shards import RowGroup


@dataclass(frozen=True)
class Piece:
    """Rows `start` .. `start` + `rows` of a day file, inside one row group; `kept` of them belong to the wanted splits.

    The first and the last of them are kept.
    """

    group: RowGroup
    start: int
    rows: int
    kept: int

    @property
    def file(self) -> Path:
        """The day file."""
        return self.group.file

    def read(self, wanted: pl.Expr, columns: Sequence[str]) -> pl.DataFrame:
        """`columns` of the piece's `wanted` rows.

        :raises DataError: the row group cannot be read.
        """
        return self.group.read(lambda rows: rows.filter(wanted).select(columns), self.start, self.rows)

    def row(self, wanted: pl.Expr, place: int) -> int:
        """Number, inside the row group, of the kept row at `place`."""
        inside = self.start - self.group.start
        if self.kept == self.rows:
            return inside + place
        places = _kept(self.group, wanted)
        return int(places[np.searchsorted(places, inside) + place])


def cut_pieces(dataset: DatasetFolder, wanted: pl.Expr, piece_rows: int, at_least: int = 1) -> list[Piece]:
    """The dataset's `wanted` rows in pieces of at most `piece_rows`, oldest first; at least so many where rows do.

    :raises DataError: a file or row group cannot be read.
    """
    counts = {group: len(_kept(group, wanted)) for group in dataset.row_groups()}
    size = min(piece_rows, max(1, -(-sum(counts.values()) // at_least)))
    return [piece for group, kept in counts.items() if kept for piece in _cut(group, wanted, kept, size)]


def _cut(group: RowGroup, wanted: pl.Expr, kept: int, size: int) -> Iterator[Piece]:
    """The group's kept rows in equal parts of at most `size`."""
    places = np.arange(group.rows) if kept == group.rows else _kept(group, wanted)
    for part in np.array_split(places, -(-kept // size)):
        yield Piece(group, group.start + int(part[0]), int(part[-1] - part[0]) + 1, len(part))


def _kept(group: RowGroup, wanted: pl.Expr) -> npt.NDArray[np.int64]:
    """Places of the wanted rows inside the group."""
    mask = group.read(lambda rows: rows.select(wanted.alias("kept")))["kept"]
    return np.flatnonzero(mask.fill_null(value=False).to_numpy())
