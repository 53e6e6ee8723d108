"""Checkpoints by step: complete or not there, checked before use, the newest ones and the best kept.

A checkpoint is a folder `step_00000123`: torch.distributed.checkpoint files (module, tables with their
optimizers' state, dense optimizer's tensors), progress.json, optimizer.json, random_RANK.json and manifest.json
(size and SHA-256 of each file). DCP's `.metadata` is a pickle: open only checkpoints of your own.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import ValidationError
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.planner import WriteItem
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from segrec.fitting.config import FitConfig
from segrec.fitting.progress import Progress
from segrec.fitting.random_state import random_state, restore_random_state
from segrec.records import ConfigError, DataError
from segrec.tables.processes import barrier, everywhere, rank
from segrec.tables.state import fused_state, live_state

_log = logging.getLogger(__name__)
_MAY_CHANGE = {"epochs", "patience", "device", "keep_last", "checkpoint_every", "log_every"}
_MODULE, _TABLES, _OPTIMIZER = "module/", "tables/", "optimizer/"


class _LeanPlanner(DefaultSavePlanner):
    """Hands tables to the writer without a copy.

    Tables are slices of one buffer; the writer copies slices and keeps the copies until the file is written.
    """

    def resolve_data(self, write_item: WriteItem) -> torch.Tensor | io.BytesIO:
        """The same memory as a tensor of its own."""
        data = super().resolve_data(write_item)
        if isinstance(data, torch.Tensor) and data.device.type == "cpu" and data.is_contiguous():
            return torch.from_numpy(data.detach().view(torch.uint8).numpy()).view(data.dtype) if data.dim() else data
        return data


class Checkpoints:
    """Checkpoints of one run in `folder`. With several processes all must call each method."""

    def __init__(
        self, folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None, keep_last: int = 2
    ) -> None:
        self.folder, self._module, self._optimizer, self._keep_last = folder, module, optimizer, keep_last

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, oldest first."""
        return sorted(int(path.name.removeprefix("step_")) for path in self.folder.glob("step_" + "[0-9]" * 8))

    def check_same_config(self, config: FitConfig) -> None:
        """Keeps the settings beside the checkpoints; a run that goes on must have the same ones.

        :raises ConfigError: naming the first different setting (how long and where to fit may change).
        """
        file, now = self.folder / "config.json", config.model_dump(mode="json")
        started = json.loads(file.read_text(encoding="utf-8")) if rank() == 0 and file.is_file() else None
        before = everywhere(started if self.steps() else None) or now
        for name in dict.fromkeys([*now, *before]):
            if name not in _MAY_CHANGE and now.get(name) != before.get(name):
                raise ConfigError(
                    f"{self.folder.parent}: was started with {name}={before.get(name)} (now: {now.get(name)}); "
                    "use the same settings to go on, another --out, or remove that folder to start anew"
                )
        if rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_json(file, now)

    def save(self, progress: Progress) -> None:
        """Writes a checkpoint of `progress.step`, then forgets old ones.

        :raises DataError: the disk is full or the folder cannot be written; older checkpoints stay.
        """
        final = self._path(progress.step)
        if everywhere(final.is_dir()):
            return
        building = final.with_name(final.name + ".partial")
        try:
            if rank() == 0:
                shutil.rmtree(building, ignore_errors=True)
                building.mkdir(parents=True)
            barrier()
            _write_json(building / f"random_{rank()}.json", random_state())
            writer, alone = FileSystemWriter(building), not dist.is_initialized()
            save(self._tensors(), storage_writer=writer, planner=_LeanPlanner(), no_dist=alone)
            if rank() == 0:
                self._finish(building, final, progress)
        except (OSError, CheckpointException) as error:
            shutil.rmtree(building, ignore_errors=True)
            raise DataError(final, "cannot be written", found=_reason(error), fix="free space and run again") from None
        barrier()

    def restore_newest(self) -> Progress | None:
        """Loads the newest intact checkpoint, random states included; says so when a newer one is damaged.

        :raises DataError: a checkpoint of another model.
        """
        for step in reversed(self.steps()):
            problem = self._problem(step)
            if problem is None:
                progress = self._progress(step)
                self._load(step, optimizer=True)
                restore_random_state(self._path(step) / f"random_{rank()}.json")
                self._forget_newer(step)
                return progress
            _log.warning("%s is damaged (%s): going back to the checkpoint before it", self._path(step), problem)
        return None

    def load_weights(self, step: int) -> None:
        """Loads the module's weights of one checkpoint; optimizers and random states stay.

        :raises DataError: it is damaged or not there.
        """
        problem = self._problem(step)
        if problem is not None:
            raise DataError(self._path(step), f"is damaged ({problem})", fix="remove this run and fit again")
        self._load(step, optimizer=False)

    def _finish(self, building: Path, final: Path, progress: Progress) -> None:
        (building / "progress.json").write_text(progress.model_dump_json(), encoding="utf-8")
        groups = [] if self._optimizer is None else self._optimizer.state_dict()["param_groups"]
        _write_json(building / "optimizer.json", groups)
        manifest = {path.name: [path.stat().st_size, _sha256(path)] for path in sorted(building.iterdir())}
        _write_json(building / "manifest.json", manifest)
        building.rename(final)
        self._forget_old()

    def _problem(self, step: int) -> str | None:
        """What is wrong with a checkpoint, the same on all processes; None when it is intact."""
        return everywhere(_damage(self._path(step)) if rank() == 0 else None)

    def _progress(self, step: int) -> Progress:
        return Progress.model_validate_json((self._path(step) / "progress.json").read_text(encoding="utf-8"))

    def _tensors(self, *, tables: bool = True) -> dict[str, Any]:
        state = {_MODULE + key: value for key, value in live_state(self._module).items()}
        if tables:
            state |= {_TABLES + key: value for key, value in fused_state(self._module).items()}
            state |= dict(self._optimizer_tensors())
        return state

    def _optimizer_tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        if self._optimizer is None:
            return
        for number, values in self._optimizer.state_dict()["state"].items():
            for name, value in values.items():
                if value is not None:
                    yield f"{_OPTIMIZER}{number}/{name}", torch.as_tensor(value)

    def _load(self, step: int, *, optimizer: bool) -> None:
        path = self._path(step)
        metadata = FileSystemReader(path).read_metadata().state_dict_metadata
        stored = {key: meta for key, meta in metadata.items() if isinstance(meta, TensorStorageMetadata)}
        wanted = self._tensors(tables=optimizer)
        wanted = {key: value for key, value in wanted.items() if not key.startswith(_OPTIMIZER)}
        saved = {key for key in stored if key.startswith((_MODULE, _TABLES) if optimizer else _MODULE)}
        different = sorted(wanted.keys() ^ saved)
        if different:
            side = "this model lacks" if different[0] in saved else "only this model has"
            raise DataError(path, f"is a checkpoint of another model: {side} {different[0]!r}", fix="use another --out")
        for key, value in wanted.items():
            if stored[key].size != _size(value):
                raise DataError(
                    path, f"is a checkpoint of another model: {key!r} has another shape", found=tuple(stored[key].size),
                    expected=tuple(_size(value)), fix="use another --out",
                )  # fmt: skip
        states = {
            key: torch.empty(meta.size, dtype=meta.properties.dtype)
            for key, meta in stored.items()
            if optimizer and key.startswith(_OPTIMIZER)
        }
        load({**wanted, **states}, storage_reader=FileSystemReader(path), no_dist=not dist.is_initialized())
        if optimizer and self._optimizer is not None:
            self._load_optimizer(states, json.loads((path / "optimizer.json").read_text(encoding="utf-8")))

    def _load_optimizer(self, states: dict[str, torch.Tensor], groups: list[dict[str, Any]]) -> None:
        assert self._optimizer is not None
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in states.items():
            number, name = key.removeprefix(_OPTIMIZER).split("/")
            state.setdefault(int(number), {})[name] = value
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _forget_old(self) -> None:
        steps = self.steps()
        kept = set(steps[-self._keep_last :])
        kept |= {best for step in kept if (best := self._progress(step).best_step) is not None}
        for step in set(steps) - kept:
            _remove(self._path(step))
        for leftover in self.folder.glob("step_*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _forget_newer(self, step: int) -> None:
        """Damaged ones above `step` would be in the way when the run gets there again."""
        if rank() == 0:
            for newer in self.steps():
                if newer > step:
                    _remove(self._path(newer))
        barrier()

    def _path(self, step: int) -> Path:
        return self.folder / f"step_{step:08d}"


def _damage(path: Path) -> str | None:
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        for name, (size, digest) in manifest.items():
            found = (path / name).stat().st_size
            if found != size:
                return f"{name} has {found} of {size} bytes"
            if _sha256(path / name) != digest:
                return f"{name} has other content than was written"
        Progress.model_validate_json((path / "progress.json").read_text(encoding="utf-8"))
    except OSError as error:
        return f"{Path(error.filename or path).name}: {error.strerror}"
    except (ValueError, ValidationError, AttributeError, TypeError):
        return "manifest.json or progress.json does not parse"
    return None


def _size(value: Any) -> torch.Size:
    size = value.metadata().size if hasattr(value, "local_shards") else value.shape
    return torch.Size(size)


def _reason(error: BaseException) -> str:
    inner = next(iter(error.failures.values()))[0] if isinstance(error, CheckpointException) else error
    return str(getattr(inner, "strerror", None) or inner).splitlines()[0][:200]


def _remove(path: Path) -> None:
    """By rename first: a half removed checkpoint is not taken for one."""
    gone = path.with_name(path.name + ".partial")
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
