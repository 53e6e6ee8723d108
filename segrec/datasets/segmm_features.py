"""SegMM's features: a JSON map "{video}-{segment}" -> row, and a raw memory map of rows, whole or in parts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.datasets.log_source import VectorSource
from segrec.records import DataError

MAP = "SegMM_photoidframeid2lineid.json"
WHOLE = "SegMM_feat_memmap.dat"
PART = re.compile(r"SegMM_feat_memmap_part(\d+)(\.dat)?")
DIM = 1024
MODEL = "CLIP ViT-L/14-336, mean of patch tokens, L1-normalised (SegMM's own features)"
_ROWS_AT_A_TIME = 4096


def segmm_vectors(folder: Path, model: str = MODEL) -> tuple[VectorSource, ...]:
    """The features in `folder` as vectors `visual`; none where neither map nor features were downloaded.

    The type is deduced from the size: rows x 1024 x 8 bytes = float64, x 4 = float32.

    :raises DataError: one of map and features is missing, parts are missing, the size fits no type, keys or rows
        of the map that cannot be.
    """
    map_file, parts = folder / MAP, _parts(folder)
    if not map_file.is_file() and not parts:
        return ()
    if not map_file.is_file() or not parts:
        have, lack = (MAP, WHOLE) if map_file.is_file() else (parts[0].name, MAP)
        raise DataError(folder, f"holds {have} without {lack}", fix=f"download {lack}, or move {have} away")
    index = _index(map_file)
    dtype = _type(folder, parts, index.height)
    return (VectorSource("visual", index, partial(_chunks, parts, dtype), DIM, model),)


def _parts(folder: Path) -> list[Path]:
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    numbered = {int(m[1]): file for file in folder.iterdir() if (m := PART.fullmatch(file.name))}
    if numbered and sorted(numbered) != list(range(1, len(numbered) + 1)):
        found = ", ".join(str(number) for number in sorted(numbered))
        raise DataError(folder, "parts of SegMM_feat_memmap are missing", found=found, fix="download all parts")
    return [numbered[number] for number in sorted(numbered)]


def _index(file: Path) -> pl.DataFrame:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(file, "is not JSON (truncated?)", found=str(error), fix="download it again") from None
    if not isinstance(rows, dict) or not rows or not all(type(row) is int for row in rows.values()):
        raise DataError(file, "is not a map of keys to rows", expected='{"316602-0": 0, ...}', fix="download it again")
    keys = pl.Series(list(rows))
    parts = keys.str.extract_groups(r"^(\d+)-(\d+)$").struct.unnest()
    index = parts.select(
        item_id=pl.nth(0).cast(pl.Int64), segment=pl.nth(1).cast(pl.Int32), row=pl.Series(list(rows.values()))
    )
    bad = index["item_id"].is_null()
    if bad.any():
        found = str(keys[int(bad.arg_max() or 0)])
        raise DataError(file, "a key is not '{video id}-{segment}'", found=found, fix="download it again")
    if not index["row"].sort().equals(pl.int_range(len(rows), eager=True)):
        raise DataError(
            file, "its rows are not each number once", found=f"{index.row(0)[2]!r} ...",
            expected=f"0 .. {len(rows) - 1}", fix="download it again",
        )  # fmt: skip
    return index


def _type(folder: Path, parts: Sequence[Path], rows: int) -> np.dtype[Any]:
    size = sum(part.stat().st_size for part in parts)
    for dtype in (np.dtype("<f8"), np.dtype("<f4")):
        if size == rows * DIM * dtype.itemsize:
            return dtype
    raise DataError(
        folder, f"features do not fit the map of {rows:,} rows", found=f"{size:,} bytes",
        expected=f"{rows * DIM * 8:,} (float64) or {rows * DIM * 4:,} (float32)", fix="download all parts and the map",
    )  # fmt: skip


def _chunks(parts: Sequence[Path], dtype: np.dtype[Any]) -> Iterator[npt.NDArray[np.floating[Any]]]:
    """(n, 1024) pieces of the concatenated parts, whose borders need not be those of rows."""
    width = DIM * dtype.itemsize
    rest = b""
    for part in parts:
        with part.open("rb") as stream:
            while read := stream.read(_ROWS_AT_A_TIME * width):
                held = rest + read
                whole = len(held) // width * width
                rest = held[whole:]
                if whole:
                    yield np.frombuffer(held[:whole], dtype).reshape(-1, DIM)
