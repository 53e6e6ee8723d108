"""Segment vectors in a Parquet file: one row a segment with an item id, the segment's number and a list of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from segrec.datasets.columns import check_columns
from segrec.datasets.log_source import VectorSource
from segrec.datasets.parquet_stream import parquet_columns, unreadable
from segrec.records import DataError

_ROWS_AT_A_TIME = 20_000


def vectors_beside(folders: Sequence[Path], item_type: pl.DataType) -> tuple[VectorSource, ...]:
    """Every `segments_NAME.parquet` in `folders`, with columns item_id (or video_id), segment, vector."""
    found = {file.stem.removeprefix("segments_"): file for place in folders for file in _vector_files(place)}
    sources = []
    for name, file in sorted(found.items()):
        columns = parquet_columns(file)
        item = "video_id" if "video_id" in columns and "item_id" not in columns else "item_id"
        sources.append(vector_file(file, name, item_type, item=item))
    return tuple(sources)


def vector_file(
    file: Path,
    name: str,
    item_type: pl.DataType,
    *,
    item: str = "item_id",
    segment: str = "segment",
    vector: str = "vector",
    model: str | None = None,
) -> VectorSource:
    """The vectors of `file`, opened: the index is read, the vectors are not.

    :raises DataError: a missing column, ids of another type than the log's, vectors that are not lists of numbers.
    """
    columns = parquet_columns(file)
    check_columns(file, "segment vectors", list(columns), [item, segment, vector])
    if not (pa.types.is_list(columns[vector]) or pa.types.is_large_list(columns[vector])
            or pa.types.is_fixed_size_list(columns[vector])):  # fmt: skip
        raise DataError(
            file, f"column {vector!r} holds no vectors", found=columns[vector], expected="a list of numbers",
            fix="write one list of numbers a row",
        )  # fmt: skip
    index = pl.read_parquet(file, columns=[item, segment]).rename({item: "item_id", segment: "segment"})
    index = index.with_columns(pl.col(pl.Categorical).cast(pl.String)).with_row_index("row")
    ids = index.schema["item_id"]
    if ids.is_integer() != item_type.is_integer():
        raise DataError(
            file, f"column {item!r} is of another type than the log's items", found=ids, expected=item_type,
            fix="write the ids as in the log",
        )  # fmt: skip
    if not index.schema["segment"].is_integer() or index["segment"].null_count() or (index["segment"] < 0).any():
        raise DataError(file, f"column {segment!r} holds no segment numbers", expected="0, 1, 2 ...", fix="number them")
    return VectorSource(
        name=name,
        index=index.select(pl.col("item_id").cast(item_type), "segment", "row"),
        chunks=partial(vector_chunks, file, vector, vector_width(file, vector)),
        dim=vector_width(file, vector),
        model=model or f"{file.name} (as delivered)",
    )


def _vector_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("segments_*.parquet"))


def vector_width(file: Path, column: str) -> int:
    """Width of the first vector of `file`.

    :raises DataError: there is none.
    """
    for batch in pq.ParquetFile(file).iter_batches(1, columns=[column]):
        first = batch.column(0)[0].as_py()
        return len(first or [])
    raise DataError(file, "holds no vectors", found="0 rows", fix="write it again, or leave it out")


def vector_chunks(file: Path, column: str, dim: int) -> Iterator[npt.NDArray[np.floating[Any]]]:
    """(n, dim) arrays in row order.

    :raises DataError: a damaged file, or a vector of another width (row named).
    """
    done = 0
    try:
        for batch in pq.ParquetFile(file).iter_batches(_ROWS_AT_A_TIME, columns=[column]):
            series = pl.Series(batch.column(0)).cast(pl.List(pl.Float64))
            widths = series.list.len().fill_null(0)
            if not (widths == dim).all():
                at = int((widths != dim).arg_max() or 0)
                raise DataError(
                    file, f"row {done + at}: the vector has another width", found=widths[at], expected=dim,
                    fix="write vectors of one width",
                )  # fmt: skip
            done += len(series)
            yield series.explode(empty_as_null=True).to_numpy().reshape(-1, dim)
    except (OSError, pa.ArrowInvalid, pl.exceptions.PolarsError) as error:
        raise unreadable(file, error) from None
