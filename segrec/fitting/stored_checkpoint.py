"""A checkpoint opened for reading, without a model, a process group or torchrun, one tensor at a time."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from segrec.fitting.checkpoint_folder import (
    OPTIMIZER,
    PARTIAL,
    checkpoint_path,
    checkpoint_steps,
    damage,
    read_progress,
)
from segrec.fitting.progress import Progress
from segrec.records import DataError

MODULE, TABLES, DENSE_OPTIMIZER = "module/", "tables/", "optimizer/"
"What a tensor's name begins with: weights and buffers, optimizer states of tables, of dense weights."
RANKER = "ranker."
"Then a ranker's names begin with it, because it is trained as one module with its loss."
_TABLE = re.compile(r"(?:^|\.)(?:embedding_bags|embeddings)\.([A-Za-z0-9_]+)\.weight$")
_PLACE = re.compile(r"^\d+_")


@dataclass(frozen=True)
class StoredCheckpoint:
    """One intact checkpoint. Its `.metadata` is a pickle: open only your own."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> Self:
        """The checkpoint at `path`, or of the run at `path` its best one, or else its newest intact one.

        :raises DataError: none there, or the named one is damaged.
        """
        if (path / "manifest.json").is_file() or path.name.startswith("step_"):
            problem = damage(path) if path.is_dir() else "no such folder"
            if problem is not None:
                raise DataError(path, f"is damaged ({problem})", fix="use another checkpoint of the run")
            return cls(path)
        folder = checkpoints_of(path)
        steps = checkpoint_steps(folder)
        intact = next((step for step in reversed(steps) if damage(checkpoint_path(folder, step)) is None), None)
        if intact is None:
            found = f"{len(steps)} damaged" if steps else "none"
            raise DataError(
                path, "holds no intact checkpoint", found=found, fix="pass a run folder or a checkpoint of it"
            )
        best = read_progress(checkpoint_path(folder, intact)).best_step
        if best is not None and best in steps and damage(checkpoint_path(folder, best)) is None:
            return cls(checkpoint_path(folder, best))
        return cls(checkpoint_path(folder, intact))

    @cached_property
    def progress(self) -> Progress:
        """Where the run stood."""
        return read_progress(self.path)

    @cached_property
    def tensors(self) -> dict[str, TensorStorageMetadata]:
        """Shape and type of each stored tensor by name (`module/`, `tables/` or `optimizer/` first)."""
        metadata = FileSystemReader(self.path).read_metadata().state_dict_metadata
        return {key: meta for key, meta in metadata.items() if isinstance(meta, TensorStorageMetadata)}

    @cached_property
    def optimizer_groups(self) -> list[dict[str, Any]]:
        """Settings of the dense optimizer."""
        groups: list[dict[str, Any]] = json.loads((self.path / OPTIMIZER).read_text(encoding="utf-8"))
        return groups

    def read(self, name: str) -> Tensor:
        """One whole tensor, on the CPU, however many processes wrote it."""
        meta = self.tensors[name]
        whole = torch.empty(meta.size, dtype=meta.properties.dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
            load({name: whole}, storage_reader=FileSystemReader(self.path), no_dist=True)
        return whole

    def weights(self) -> list[str]:
        """Names of weights and buffers, in order."""
        return sorted(name for name in self.tensors if name.startswith(MODULE))

    def tables(self) -> dict[str, str]:
        """The tables: name -> name of the tensor."""
        found = ((table_of(name), name) for name in self.weights())
        return {table: name for table, name in found if table is not None}

    def table(self, name: str) -> str:
        """The tensor of table `name`; the number before the feature's name may be left out.

        :raises DataError: no such table.
        """
        tables = self.tables()
        for table, tensor in tables.items():
            if name in (table, feature_of(table)):
                return tensor
        raise DataError(self.path, f"has no table {name!r}", found=", ".join(tables) or "no table")

    def states_of(self, weight: str) -> list[str]:
        """Names of the states that a table's own optimizer keeps for `weight`."""
        start = TABLES + weight.removeprefix(MODULE) + "/"
        return sorted(name for name in self.tensors if name.startswith(start))


def checkpoints_of(run: Path) -> Path:
    """The folder of a run's checkpoints, of a stopped run too.

    :raises DataError: not there.
    """
    for folder in (run / "checkpoints", run, run.with_name(run.name + PARTIAL) / "checkpoints"):
        if folder.is_dir() and (folder.name == "checkpoints" or checkpoint_steps(folder)):
            return folder
    raise DataError(
        run, "holds no checkpoints", fix="pass a run folder of `segrec fit` or `rank`, or a checkpoint of it"
    )


def table_of(tensor: str) -> str | None:
    """The table whose rows a tensor is."""
    found = _TABLE.search(tensor)
    return found[1] if found else None


def feature_of(table: str) -> str:
    """A ranker's table without the number before its feature: `00_user_id` -> `user_id`."""
    return _PLACE.sub("", table)
