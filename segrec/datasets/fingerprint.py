"""A hash of what frames hold: the same whatever the chunks, the files or the version of the Parquet library."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import polars as pl


class ContentHash:
    """One running SHA-256 a column; frames of one schema are added in row order, however they are cut."""

    def __init__(self) -> None:
        self._parts: dict[str, Any] = {}
        self._rows = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Adds the rows of `frame` after those added before."""
        for series in frame:
            self._add(f"{series.name}:{series.dtype}", series, self._rows)
        self._rows += frame.height

    def hexdigest(self) -> str:
        """The hash of all rows so far."""
        whole = hashlib.sha256(str(self._rows).encode())
        for name in sorted(self._parts):
            whole.update(name.encode() + b"\0" + self._parts[name].digest())
        return whole.hexdigest()

    def _add(self, name: str, series: pl.Series, first_row: int) -> None:
        if series.null_count():
            nulls = series.is_null().arg_true().to_numpy().astype("<i8") + first_row
            self._update(name + ":null", nulls)
        if isinstance(series.dtype, pl.List | pl.Array):
            listed = series.arr.to_list() if isinstance(series.dtype, pl.Array) else series
            self._update(name + ":lengths", listed.list.len().fill_null(0).to_numpy().astype("<u4"))
            self._add(name + ":inner", listed.drop_nulls().explode(empty_as_null=False), 0)
        elif series.dtype.is_numeric() or series.dtype.is_temporal() or series.dtype == pl.Boolean:
            numbers = series.to_physical().fill_null(0 if series.dtype != pl.Boolean else False).to_numpy()
            self._update(name, numbers.astype(numbers.dtype.newbyteorder("<"), copy=False))
        else:
            texts = series.cast(pl.String).fill_null("")
            self._update(name + ":lengths", texts.str.len_bytes().to_numpy().astype("<u4"))
            self._update(name, _text_bytes(texts))

    def _update(self, name: str, values: np.ndarray[Any, Any]) -> None:
        if name not in self._parts:
            self._parts[name] = hashlib.sha256()
        self._parts[name].update(np.ascontiguousarray(values).view(np.uint8).data)


def _text_bytes(texts: pl.Series) -> np.ndarray[Any, Any]:
    """All texts one after the other as UTF-8 bytes."""
    arrow = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = arrow.buffers()
    if data is None or not len(arrow):
        return np.zeros(0, np.uint8)
    ends = np.frombuffer(offsets, np.int64)[arrow.offset : arrow.offset + len(arrow) + 1]
    return np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
