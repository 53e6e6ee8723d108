"""Weights of a checkpoint as files that others read: all as safetensors, or one table by raw ids as Parquet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from typing_extensions import Buffer

from segrec.fitting.stored_checkpoint import MODULE, RANKER, StoredCheckpoint, feature_of, table_of
from segrec.records import DataError, new_file
from segrec.tables.specs import name_in_table
from segrec.tables.vocabulary import FIRST_KNOWN, Vocabulary

_SAFETENSORS_TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_BLOCK_ROWS = 65_536


def export_weights(stored: StoredCheckpoint, out: Path) -> int:
    """Writes all weights and buffers, whole, by plain names, as safetensors; one tensor is in memory at a time.

    Of a ranker's checkpoint those of the ranker, not those of its loss (learned variances).

    :returns: the number of tensors.
    :raises DataError: `out` cannot be written.
    """
    header: dict[str, object] = {}
    place = 0
    names = [name for name in stored.weights() if name.startswith(MODULE + RANKER)] or stored.weights()
    for name in names:
        meta = stored.tensors[name]
        kind, end = meta.properties.dtype, place + meta.size.numel() * meta.properties.dtype.itemsize
        header[name.removeprefix(MODULE).removeprefix(RANKER)] = {
            "dtype": _SAFETENSORS_TYPES[kind], "shape": list(meta.size), "data_offsets": [place, end],
        }  # fmt: skip
        place = end
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % 8)  # data begins at a multiple of 8
    with new_file(out) as building, building.open("wb") as file:
        file.write(len(told).to_bytes(8, "little") + told)
        for name in names:
            file.write(_bytes(stored.read(name)))
    return len(header)


def export_table(stored: StoredCheckpoint, table: str, out: Path) -> int:
    """Writes id, code and vector of each row of one table; id is null in rows 0 (missing) and 1 (unseen).

    :returns: the number of rows.
    :raises DataError: no such table, no vocabulary for it in the run folder, or `out` cannot be written.
    """
    tensor = stored.table(table)
    vocabulary = _vocabulary(stored, tensor)
    rows = stored.read(tensor)
    if len(rows) != vocabulary.size:
        raise DataError(
            stored.path, f"table {table!r} is not of this run's vocabulary", found=f"{len(rows)} rows",
            expected=f"{vocabulary.size} rows",
        )  # fmt: skip
    ids = pl.concat([pl.Series("id", [None] * FIRST_KNOWN, dtype=vocabulary.ids.dtype), vocabulary.ids.rename("id")])
    plain = ids.to_arrow().cast(pa.int64() if vocabulary.ids.dtype == pl.Int64 else pa.string())
    width = rows.shape[1]
    schema = pa.schema([("id", plain.type), ("code", pa.int64()), ("vector", pa.list_(pa.float32(), width))])
    with new_file(out) as building, pq.ParquetWriter(building, schema, compression="zstd") as writer:
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS].float()
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.flatten().numpy()), width)
            codes = pa.array(np.arange(start, start + len(block)))
            writer.write_table(pa.table([plain.slice(start, len(block)), codes, vectors], schema=schema))
    return len(rows)


def _vocabulary(stored: StoredCheckpoint, tensor: str) -> Vocabulary:
    table = table_of(tensor)
    assert table is not None
    folder = stored.path.parent.parent / "features" / "vocabularies"
    for file in sorted(folder.glob("*.parquet")):
        if name_in_table(file.stem) == feature_of(table):
            return Vocabulary.from_frame(pl.read_parquet(file), str(file))
    raise DataError(
        folder, f"has no vocabulary of table {table!r}",
        found=", ".join(sorted(file.stem for file in folder.glob("*.parquet"))) or "none",
        fix="tables of bucketed numbers, hashed and managed ids have none; export all weights (without --table)",
    )  # fmt: skip


def _bytes(tensor: Tensor) -> Buffer:
    flat = tensor.contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else b""
