"""Checkpoints by step: complete or not there, checked before use, the newest ones and the best kept.

A checkpoint is a folder `step_00000123`: torch.distributed.checkpoint files (module, tables with their
optimizers' state, dense optimizer's tensors), progress.json, optimizer.json, random_RANK.json and manifest.json
(size and SHA-256 of each file). DCP's `.metadata` is a pickle: open only checkpoints of your own.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Never, Self

import torch
import torch.distributed as dist
from pydantic import ValidationError
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from segrec.fitting.checkpoint_folder import (
    OPTIMIZER,
    PARTIAL,
    PROGRESS,
    best_step_of,
    checkpoint_path,
    checkpoint_steps,
    complete,
    damage,
    read_progress,
    remove,
    write_json,
)
from segrec.fitting.checkpoint_writer import BackgroundWriter, CheckpointWriter, failure_text, state_bytes, write_now
from segrec.fitting.column_shards import fill_sums
from segrec.fitting.config import FitConfig
from segrec.fitting.free_memory import free_memory
from segrec.fitting.progress import Progress
from segrec.fitting.random_state import restore_random_state
from segrec.fitting.same_model import check_same_model, size_of
from segrec.fitting.stored_checkpoint import DENSE_OPTIMIZER, MODULE, TABLES
from segrec.records import ConfigError, DataError
from segrec.tables.processes import all_agree, barrier, everywhere, rank, world_size
from segrec.tables.state import fused_state, live_state

_log = logging.getLogger(__name__)
_MAY_CHANGE = {
    "epochs", "patience", "device", "keep_last", "checkpoint_every", "log_every", "async_checkpoints", "profile_steps",
}  # fmt: skip
_SPARE_BYTES = 2**30
"A copy of the state must leave this much memory free."


class Checkpoints:
    """Checkpoints of one run in `folder`. With several processes all must call each method.

    :param background: write from a copy of the state while the training goes on, one checkpoint at a time. A write
        that failed is raised by the next `check`, `save`, `flush` or load. As a context manager it waits for the last.
    """

    def __init__(
        self,
        folder: Path,
        module: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        keep_last: int = 2,
        *,
        background: bool = False,
    ) -> None:
        self.folder, self._module, self._optimizer, self._keep_last = folder, module, optimizer, keep_last
        self._background = BackgroundWriter() if background else None
        self._writing: tuple[int, Future[Any]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for the last write; after an error it is not raised but logged."""
        if error is None:
            self.flush()
        elif self._writing is not None:
            step, writing = self._writing
            self._writing = None
            problem = writing.exception()
            if problem is not None:
                _log.warning(
                    "%s was not written (%s)", checkpoint_path(self.folder, step), failure_text(problem) or problem
                )

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, oldest first."""
        return checkpoint_steps(self.folder)

    def check_same_config(self, config: FitConfig) -> None:
        """Keeps the settings beside the checkpoints; a run that goes on must have the same ones.

        :raises ConfigError: naming the first different setting (how long and where to fit may change).
        """
        file, now = self.folder / "config.json", config.model_dump(mode="json")
        started = json.loads(file.read_text(encoding="utf-8")) if rank() == 0 and file.is_file() else None
        before = everywhere(_completed(started, type(config)) if started and self.steps() else None) or now
        for name in dict.fromkeys([*now, *before]):
            if name not in _MAY_CHANGE and now.get(name) != before.get(name):
                raise ConfigError(
                    f"{self.folder.parent}: was started with {name}={before.get(name)} (now: {now.get(name)}); "
                    "use the same settings to go on, another --out, or remove that folder to start anew"
                )
        if rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(file, now)

    def save(self, progress: Progress, files: Mapping[str, Any] | None = None) -> None:
        """Writes a checkpoint of `progress.step` with `files` (name: JSON) beside it, then forgets old ones.

        :raises DataError: the disk is full or the folder cannot be written; older checkpoints stay.
        """
        self.flush()
        final = checkpoint_path(self.folder, progress.step)
        if everywhere(final.is_dir()):
            return
        building = final.with_name(final.name + PARTIAL)
        if rank() == 0:
            shutil.rmtree(building, ignore_errors=True)
        barrier()
        groups = [] if self._optimizer is None else self._optimizer.state_dict()["param_groups"]
        kept = {PROGRESS: progress.model_dump(mode="json"), OPTIMIZER: json.loads(json.dumps(groups)), **(files or {})}
        writer = CheckpointWriter(building, partial(self._complete, building, final, kept))
        tensors = self._tensors()
        if self._background is not None and self._room_for_a_copy(tensors):
            self._writing = progress.step, self._background.start(tensors, writer)
            return
        try:
            write_now(tensors, writer)
        except CheckpointException as error:
            self._refuse(progress.step, error)

    def check(self, step: int, every: int = 1) -> None:
        """Notices a write in the background that failed: at once, or with several processes each `every` steps.

        :raises DataError: it failed.
        """
        if self._writing is None or (world_size() > 1 and step % every):
            return
        if all_agree(self._writing[1].done()):
            self.flush()

    def flush(self) -> None:
        """Waits until the checkpoint that is being written is there.

        :raises DataError: it could not be written.
        """
        if self._writing is None:
            return
        step, writing = self._writing
        self._writing = None
        error = writing.exception()
        if error is not None:
            self._refuse(step, error)

    def restore_newest(self) -> Progress | None:
        """Loads the newest intact checkpoint, random states included; says so when a newer one is damaged.

        :raises DataError: a checkpoint of another model.
        """
        self.flush()
        steps = everywhere(self.steps())
        for step in reversed(steps):
            problem = self._problem(step)
            if problem is None:
                path = checkpoint_path(self.folder, step)
                progress = read_progress(path)
                self._load(path, optimizer=True)
                restore_random_state(path / f"random_{rank()}.json")
                self._forget_newer(step)
                return progress
            then = "going back to the checkpoint before it" if step != steps[0] else "none is left: starting anew"
            if rank() == 0:
                _log.warning("%s is damaged (%s): %s", checkpoint_path(self.folder, step), problem, then)
        return None

    def load_weights(self, step: int) -> None:
        """Loads the module's weights of one checkpoint; optimizers and random states stay.

        :raises DataError: it is damaged or not there.
        """
        self.flush()
        path, problem = checkpoint_path(self.folder, step), self._problem(step)
        if problem is not None:
            raise DataError(path, f"is damaged ({problem})", fix="remove this run and fit again")
        self._load(path, optimizer=False)

    def _complete(self, building: Path, final: Path, files: dict[str, Any]) -> None:
        complete(building, final, files)
        self._forget_old()

    def _refuse(self, step: int, error: BaseException) -> Never:
        """Raises what kept the checkpoint of `step` from being written."""
        path = checkpoint_path(self.folder, step)
        if rank() == 0:
            shutil.rmtree(path.with_name(path.name + PARTIAL), ignore_errors=True)
        text = failure_text(error)
        if text is None:
            raise error
        raise DataError(path, "cannot be written", found=text, fix="free space and run again") from None

    def _room_for_a_copy(self, tensors: Mapping[str, Any]) -> bool:
        """Whether all processes have the memory for a copy of their part."""
        needed, free = state_bytes(tensors), free_memory()
        fits = free is None or needed + _SPARE_BYTES <= free or needed < _SPARE_BYTES
        if all_agree(fits):
            return True
        if rank() == 0:
            _log.warning(
                "no memory for a copy of the state (%.2f GiB): training waits while checkpoints are written",
                needed / 2**30,
            )
        return False

    def _problem(self, step: int) -> str | None:
        """What is wrong with a checkpoint, the same on all processes; None when it is intact."""
        return everywhere(damage(checkpoint_path(self.folder, step)) if rank() == 0 else None)

    def _tensors(self, *, tables: bool = True) -> dict[str, Any]:
        state = {MODULE + key: value for key, value in live_state(self._module).items()}
        if tables:
            state |= {TABLES + key: value for key, value in fused_state(self._module).items()}
            state |= dict(self._optimizer_tensors())
        return state

    def _optimizer_tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        if self._optimizer is None:
            return
        for number, values in self._optimizer.state_dict()["state"].items():
            for name, value in values.items():
                if value is not None:
                    yield f"{DENSE_OPTIMIZER}{number}/{name}", torch.as_tensor(value)

    def _load(self, path: Path, *, optimizer: bool) -> None:
        metadata = FileSystemReader(path).read_metadata().state_dict_metadata
        stored = {key: meta for key, meta in metadata.items() if isinstance(meta, TensorStorageMetadata)}
        wanted = self._tensors(tables=optimizer)
        wanted = {key: value for key, value in wanted.items() if not key.startswith(DENSE_OPTIMIZER)}
        kinds = (MODULE, TABLES) if optimizer else MODULE
        check_same_model(path, wanted, {key: meta.size for key, meta in stored.items() if key.startswith(kinds)})
        resized = {key: wanted.pop(key) for key in list(wanted) if size_of(wanted[key]) != stored[key].size}
        whole = {
            key: torch.empty(meta.size, dtype=meta.properties.dtype)
            for key, meta in stored.items()
            if key in resized or (optimizer and key.startswith(DENSE_OPTIMIZER))
        }
        load({**wanted, **whole}, storage_reader=FileSystemReader(path), no_dist=not dist.is_initialized())
        for key, value in resized.items():
            weight = MODULE + key.removeprefix(TABLES).rsplit("/", 1)[0]
            fill_sums(value, whole.pop(key), stored[weight].size[0])
        if optimizer and self._optimizer is not None:
            self._load_optimizer(whole, json.loads((path / OPTIMIZER).read_text(encoding="utf-8")))

    def _load_optimizer(self, states: dict[str, torch.Tensor], groups: list[dict[str, Any]]) -> None:
        assert self._optimizer is not None
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in states.items():
            number, name = key.removeprefix(DENSE_OPTIMIZER).split("/")
            state.setdefault(int(number), {})[name] = value
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _forget_old(self) -> None:
        steps = self.steps()
        kept = set(steps[-self._keep_last :])
        kept |= {best for step in kept if (best := best_step_of(checkpoint_path(self.folder, step))) is not None}
        for step in set(steps) - kept:
            remove(checkpoint_path(self.folder, step))
        for leftover in self.folder.glob("step_*" + PARTIAL):
            shutil.rmtree(leftover, ignore_errors=True)

    def _forget_newer(self, step: int) -> None:
        """Damaged ones above `step` would be in the way when the run gets there again."""
        if rank() == 0:
            for newer in self.steps():
                if newer > step:
                    remove(checkpoint_path(self.folder, newer))
        barrier()


def _completed(settings: dict[str, Any], config: type[FitConfig]) -> dict[str, Any]:
    """Settings as stored, with the defaults of those that did not exist yet."""
    try:
        return config.model_validate(settings).model_dump(mode="json")
    except ValidationError:
        return settings
