"""Whether a checkpoint belongs to a model: the same tensors, the same shapes, over all processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from segrec.fitting.column_shards import whole_rows
from segrec.fitting.stored_checkpoint import MODULE, TABLES
from segrec.records import DataError
from segrec.tables.processes import gathered


def check_same_model(path: Path, wanted: Mapping[str, Any], saved: Mapping[str, torch.Size]) -> None:
    """Compares names and shapes of all processes together: a table's optimizer is only where its shards are.

    :raises DataError: the first that differs, on all processes.
    """
    here: dict[str, torch.Size] = {}
    for sizes in gathered({key: size_of(value) for key, value in wanted.items()}):
        here |= sizes
    different = sorted(here.keys() ^ saved.keys())
    if different:
        side = "this model lacks" if different[0] in saved else "only this model has"
        raise DataError(path, f"is a checkpoint of another model: {side} {different[0]!r}", fix="use another --out")
    here, saved = (whole_rows(sizes, TABLES, MODULE) for sizes in (here, saved))
    for key, size in here.items():
        if saved[key] != size:
            raise DataError(
                path, f"is a checkpoint of another model: {key!r} has another shape", found=tuple(saved[key]),
                expected=tuple(size), fix="use another --out",
            )  # fmt: skip


def size_of(value: Any) -> torch.Size:
    """Of a whole tensor, or of all its shards together."""
    size = value.metadata().size if hasattr(value, "local_shards") else value.shape
    return torch.Size(size)
