"""Vectors of segments: one folder a kind, memory-mapped, with its hash and the model that made it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from segrec.records.errors import DataError
from segrec.records.hashes import file_hash

VectorType = Literal["float16", "float32"]


class VectorsMeta(BaseModel):
    """vectors.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int
    rows: int
    dtype: VectorType
    model: str
    "Name and revision of the model that made them, or the source's own words."
    sha256: str
    "Of vectors.npy."


@dataclass(frozen=True)
class SegmentVectors:
    """segments/NAME/: `index.parquet` (item_id, segment, row; sorted) and `vectors.npy` (rows, dim)."""

    folder: Path
    meta: VectorsMeta

    @classmethod
    def open(cls, folder: Path) -> SegmentVectors:
        """:raises DataError: vectors.json does not parse, or vectors.npy has another shape."""
        try:
            meta = VectorsMeta.model_validate_json((folder / "vectors.json").read_text(encoding="utf-8"))
            shape = np.load(folder / "vectors.npy", mmap_mode="r").shape
        except (OSError, ValidationError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(folder, "holds no segment vectors", found=reason, fix="write them again") from None
        if shape != (meta.rows, meta.dim):
            raise DataError(folder / "vectors.npy", "has another shape", found=shape, expected=(meta.rows, meta.dim))
        return cls(folder, meta)

    def index(self) -> pl.DataFrame:
        """item_id, segment (0-based Int32), row (Int64 into `matrix`), sorted by item_id, segment."""
        return pl.read_parquet(self.folder / "index.parquet")

    @cached_property
    def matrix(self) -> npt.NDArray[np.floating]:
        """(rows, dim), memory-mapped: only what is touched is read."""
        mapped: npt.NDArray[np.floating] = np.load(self.folder / "vectors.npy", mmap_mode="r")
        return mapped


def write_segment_vectors(
    folder: Path,
    index: pl.DataFrame,
    chunks: Iterable[npt.NDArray[np.floating]],
    *,
    dim: int,
    dtype: VectorType,
    model: str,
) -> VectorsMeta:
    """Writes vectors in streams: `index` has item_id, segment, row; `chunks` (n, dim) in row order.

    :raises DataError: a chunk of another width, NaN or infinite values (row named), too many or too few rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_index(folder, index)
    _write_matrix(folder, chunks, index.height, dim, np.dtype(dtype))
    meta = VectorsMeta(dim=dim, rows=index.height, dtype=dtype, model=model, sha256=file_hash(folder / "vectors.npy"))
    (folder / "vectors.json").write_text(json.dumps(meta.model_dump(), indent=1) + "\n", encoding="utf-8")
    return meta


def _write_index(folder: Path, index: pl.DataFrame) -> None:
    ordered = index.select("item_id", pl.col("segment").cast(pl.Int32), pl.col("row").cast(pl.Int64)).sort(
        "item_id", "segment"
    )
    again = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in ("item_id", "segment"))
    if ordered.select(again.any()).item():
        raise DataError(
            folder, "an (item_id, segment) pair occurs twice in the vectors", fix="keep one vector a segment"
        )
    ordered.write_parquet(folder / "index.parquet", compression="zstd")


def _write_matrix(
    folder: Path, chunks: Iterable[npt.NDArray[np.floating]], rows: int, dim: int, dtype: np.dtype[np.floating]
) -> None:
    """vectors.npy, written as the chunks come: nothing of it stays in memory."""
    done = 0
    with (folder / "vectors.npy").open("wb") as stream:
        head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows, dim)}
        np.lib.format.write_array_header_1_0(stream, head)
        for chunk in chunks:
            if chunk.ndim != 2 or chunk.shape[1] != dim:
                raise DataError(folder, "a vector has another width", found=chunk.shape, expected=f"(n, {dim})")
            finite = np.isfinite(chunk).all(axis=1)
            if not finite.all():
                raise DataError(folder, f"vector of row {done + int(np.argmin(finite))} has a NaN or infinite value")
            if done + len(chunk) > rows:
                raise DataError(folder, "more vectors than index rows", found=f">= {done + len(chunk)}", expected=rows)
            stream.write(np.ascontiguousarray(chunk, dtype=dtype).data)
            done += len(chunk)
    if done != rows:
        raise DataError(folder, "fewer vectors than index rows", found=done, expected=rows)
