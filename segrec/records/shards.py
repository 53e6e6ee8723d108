"""Shards of a log: row groups of Parquet files, and which of them are damaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from segrec.records.errors import DataError

DAMAGE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, pa.ArrowException)
"What readers raise on a file that is truncated, overwritten or gone."


class Damage(BaseModel):
    """A shard that cannot be read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    "Inside the dataset folder."
    row_group: int | None
    "0-based; None = the whole file."
    rows: int | None
    "None where the file does not tell any more."
    reason: str


@dataclass(frozen=True)
class RowGroup:
    """Rows `start` .. `start` + `rows` of a Parquet file: what is compressed together, and damaged together."""

    file: Path
    number: int
    start: int
    rows: int

    def scan(self) -> pl.LazyFrame:
        """The group's rows, lazily."""
        return self._slice(self.start, self.rows)

    def read(
        self, query: Callable[[pl.LazyFrame], pl.LazyFrame], start: int | None = None, rows: int | None = None
    ) -> pl.DataFrame:
        """`query` of the group's rows, or of `rows` rows from the file's row `start` on.

        :raises DataError: they cannot be read: file and row group are named.
        """
        first, count = (self.start, self.rows) if start is None or rows is None else (start, rows)
        try:
            return query(self._slice(first, count)).collect()
        except DAMAGE as error:
            raise DataError(
                self.file, f"row group {self.number} cannot be read", found=_reason(error),
                fix="write the file again, or leave damaged shards out (data.on_corrupt=skip)",
            ) from None  # fmt: skip

    def _slice(self, start: int, rows: int) -> pl.LazyFrame:
        return pl.scan_parquet(str(self.file), hive_partitioning=False).slice(start, rows)


def row_groups(file: Path) -> list[RowGroup]:
    """The file's row groups, in order.

    :raises DataError: it is missing, truncated or not Parquet.
    """
    try:
        metadata = pq.read_metadata(file)
    except DAMAGE as error:
        raise DataError(
            file, "cannot be read as Parquet", found=_reason(error),
            fix="write it again, or leave damaged shards out (data.on_corrupt=skip)",
        ) from None  # fmt: skip
    groups, start = [], 0
    for number in range(metadata.num_row_groups):
        rows = metadata.row_group(number).num_rows
        groups.append(RowGroup(file, number, start, rows))
        start += rows
    return groups


def find_damage(files: Sequence[Path], folder: Path) -> list[Damage]:
    """What of `files` (inside `folder`) cannot be read: every column of every row group is decoded once."""
    found = []
    for file in files:
        name = file.relative_to(folder).as_posix()
        try:
            groups = row_groups(file)
        except DataError as error:
            found.append(Damage(file=name, row_group=None, rows=None, reason=str(error.found)))
            continue
        for group in groups:
            try:
                group.read(lambda rows: rows)
            except DataError as error:
                found.append(Damage(file=name, row_group=group.number, rows=group.rows, reason=str(error.found)))
    return found


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0][:200]
