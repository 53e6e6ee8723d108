"""Anybody's log: Parquet or CSV, one file or a folder of them, read through a column map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa

from segrec.datasets.column_map import ColumnMap, SideFile, minimal_map
from segrec.datasets.columns import check_columns
from segrec.datasets.csv_stream import csv_frames, csv_header
from segrec.datasets.log_source import LIVE_ONLY, Frames, LogSource, ReadOptions, VectorSource
from segrec.datasets.made_world import TRUTH, truth_file
from segrec.datasets.parquet_stream import parquet_columns, parquet_frames
from segrec.datasets.table_columns import canonical, plain_features
from segrec.datasets.vector_file import vector_file
from segrec.records import ConfigError, DataError

_ENDINGS = (".parquet", ".csv", ".csv.gz")


def read_table(source: Path, options: ReadOptions) -> LogSource:
    """The log in `source` through the map `options.columns`.

    :raises ConfigError: no map (a minimal one is shown), or one with unknown or wrong fields.
    :raises DataError: no log file, a missing column, a column of a type that its role cannot have.
    """
    options.refuse("table", "with_month_averages", *LIVE_ONLY)
    if options.columns is None:
        raise _no_map(source)
    columns = ColumnMap.read(options.columns)
    base = options.columns.parent
    sides = [side.file for side in (columns.users, columns.items, *columns.vectors.values()) if side is not None]
    files = _log_files(source, [base / file for file in sides])
    for file in files:
        check_columns(file, "log", list(_columns(file, columns.separator)), columns.log_columns())
    schema = _schema(files, columns)
    return LogSource(
        format="table",
        licence=columns.licence,
        source=columns.source or source.name,
        batches=partial(_log_frames, files, columns, schema),
        segment_ms=options.segment_ms or columns.segment_ms,
        utc_offset_hours=columns.utc_offset_hours,
        flags=columns.flags,
        context=columns.context,
        users=_side(base, columns.users, "user_id", schema, columns),
        items=_side(base, columns.items, "item_id", schema, columns),
        impossible={"missing split": pl.col("split").is_null()} if columns.split else {},
        given_split=columns.split is not None,
        vectors=_vectors(base, columns, schema),
        truth=truth_file((source,)),
    )


def _vectors(base: Path, columns: ColumnMap, schema: pl.Schema) -> tuple[VectorSource, ...]:
    return tuple(
        vector_file(
            base / of.file,
            name,
            schema["item_id"],
            item=of.item_id,
            segment=of.segment,
            vector=of.vector,
            model=of.model,
        )
        for name, of in columns.vectors.items()
    )


def _no_map(source: Path) -> ConfigError:
    file = _log_files(source, [])[0]
    columns = _columns(file, ",")
    return ConfigError(
        f"{file}: needs a column map: write MAP.yaml and pass --columns MAP.yaml; a minimal one for its columns "
        f"({', '.join(columns)}) is: {minimal_map(columns)}"
    )


def _log_files(source: Path, others: Sequence[Path]) -> list[Path]:
    """The log's files in order; `others` = files of the map that may lie among them."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(source, "does not exist", expected="a Parquet or CSV file or a folder of them", fix="check it")
    apart = {file.resolve() for file in others} | {(source / TRUTH).resolve()}
    found = sorted(file for file in source.rglob("*") if file.name.endswith(_ENDINGS) and file.resolve() not in apart)
    if not found:
        raise DataError(source, "holds no log", expected="files that end in .parquet, .csv or .csv.gz", fix="check it")
    if len({file.suffix == ".parquet" for file in found}) > 1:
        raise DataError(source, "holds Parquet and CSV files together", fix="pass one file, or a folder of one kind")
    return found


def _columns(file: Path, separator: str) -> dict[str, pa.DataType | None]:
    if file.suffix == ".parquet":
        return dict(parquet_columns(file))
    return dict.fromkeys(csv_header(file, separator))


def _raw_frames(file: Path, columns: ColumnMap, wanted: Sequence[str]) -> Iterator[tuple[int, pl.DataFrame]]:
    """(number of its first row, frame): CSV rows count from 2, after the header; Parquet rows from 1."""
    if file.suffix == ".parquet":
        row, frames = 1, parquet_frames(file, wanted)
    else:
        types = {name: kind for name, kind in columns.arrow_types().items() if name in wanted}
        row = 2
        frames = csv_frames(file, types, columns=wanted, separator=columns.separator, multiline=True)
    for frame in frames:
        yield row, frame
        row += frame.height


def _schema(files: Sequence[Path], columns: ColumnMap) -> pl.Schema:
    """Types of our columns, from the first rows."""
    for file in files:
        for row, frame in _raw_frames(file, columns, columns.log_columns()):
            return canonical(frame, columns, file, row).schema
    raise DataError(files[0], "the log is empty", found="0 rows", fix="check the source")


def _log_frames(files: Sequence[Path], columns: ColumnMap, schema: pl.Schema) -> Iterator[pl.DataFrame]:
    for file in files:
        for row, frame in _raw_frames(file, columns, columns.log_columns()):
            ours = canonical(frame, columns, file, row)
            for name, dtype in schema.items():
                if ours.schema[name] != dtype:
                    raise DataError(
                        file, f"column {name!r} is of another type than in the rows before", found=ours.schema[name],
                        expected=dtype, fix="declare its type in the map, e.g. types: {column: string}",
                    )  # fmt: skip
            yield ours


def _side(base: Path, side: SideFile | None, key: str, schema: pl.Schema, columns: ColumnMap) -> Frames | None:
    if side is None:
        return None
    file = base / side.file
    found = list(_columns(file, columns.separator))
    wanted = [side.id, *(side.features or [name for name in found if name != side.id])]
    check_columns(file, f"features by {key}", found, wanted)
    return partial(_side_frames, file, wanted, key, schema[key], columns)


def _side_frames(
    file: Path, wanted: Sequence[str], key: str, key_type: pl.DataType, columns: ColumnMap
) -> Iterator[pl.DataFrame]:
    for _, frame in _raw_frames(file, columns, wanted):
        features = plain_features(frame.rename({wanted[0]: key}), file)
        if features.schema[key] != key_type:
            raise DataError(
                file, f"column {wanted[0]!r} is of another type than the log's {key}", found=features.schema[key],
                expected=key_type, fix="write the ids as in the log",
            )  # fmt: skip
        yield features
