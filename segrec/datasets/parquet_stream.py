"""Parquet files as a stream of frames; a damaged file is an error that names it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from segrec.datasets.csv_stream import check_finite
from segrec.records import DataError

_ROWS_AT_A_TIME = 100_000


def parquet_columns(file: Path) -> dict[str, pa.DataType]:
    """{column: type} of a Parquet file.

    :raises DataError: it does not exist, is truncated or is not Parquet.
    """
    try:
        schema = pq.read_schema(file)
    except FileNotFoundError:
        raise DataError(file, "does not exist", fix="check the path") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise unreadable(file, error) from None
    return dict(zip(schema.names, schema.types, strict=True))


def parquet_frames(file: Path, columns: Sequence[str], rows_at_a_time: int = _ROWS_AT_A_TIME) -> Iterator[pl.DataFrame]:
    """Frames of `columns` in row order.

    :raises DataError: a damaged file; NaN or infinity in a column of numbers (the first row is row 1).
    """
    row = 1
    try:
        for batch in pq.ParquetFile(file).iter_batches(rows_at_a_time, columns=list(columns)):
            frame = pl.DataFrame(pa.Table.from_batches([batch]))
            check_finite(frame, file, row)
            row += frame.height
            yield frame.select(columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise unreadable(file, error) from None


def unreadable(file: Path, error: Exception) -> DataError:
    """The error for a damaged Parquet file."""
    return DataError(
        file, "cannot be read as Parquet (truncated or damaged)", found=str(error).splitlines()[0], fix="write it again"
    )
