"""Jagged rows as one flat array and the rows' lengths: what segments of many videos are held in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def starts_of(lengths: Ints) -> Ints:
    """(rows,) flat index of each row's first element."""
    starts: Ints = np.cumsum(lengths) - lengths
    return starts


def rows_of(lengths: Ints) -> Ints:
    """(flat,) the row of each element: lengths [2, 1] give [0, 0, 1]."""
    return np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)


def positions_of(lengths: Ints) -> Ints:
    """(flat,) each element's position in its row: lengths [2, 1] give [0, 1, 0]."""
    return np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(starts_of(lengths), lengths)


def row_sums(values: Floats, lengths: Ints) -> Floats:
    """(rows,) sum of each row's values; every length must be positive."""
    sums: Floats = np.add.reduceat(values, starts_of(lengths)) if len(values) else np.zeros(0)
    return sums


def running_sums(values: Floats, lengths: Ints) -> Floats:
    """(flat,) sum of the row's values up to and including each element."""
    total: Floats = np.cumsum(values)
    before = total[starts_of(lengths)] - values[starts_of(lengths)]
    return total - np.repeat(before, lengths)


def list_column(name: str, values: Floats, lengths: Ints) -> pl.Series:
    """A polars column of list[f32], one list a row."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values.astype(np.float32)))
    return pl.Series(name, pl.from_arrow(lists), dtype=pl.List(pl.Float32))
