"""Writing one checkpoint with torch.distributed.checkpoint: now, or beside the training from a copy of the state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, WriteItem
from torch.distributed.checkpoint.state_dict_saver import async_save, save
from torch.distributed.checkpoint.storage import WriteResult

from segrec.fitting.checkpoint_folder import write_json
from segrec.fitting.random_state import random_state
from segrec.tables.processes import rank, world_size


class CheckpointWriter(FileSystemWriter):
    """Writes the tensors of all processes into `building`, and each one's random state; then process 0 finishes.

    `finish` is DCP's last step, on process 0, when all others have written: what it raises, all processes raise.
    So a checkpoint is there for all of them or for none, and nobody waits for a message that does not come. It stages
    like BlockingAsyncStager without a cache: the one stager that copies sharded tables.
    """

    def __init__(self, building: Path, completed: Callable[[], None]) -> None:
        super().__init__(building)
        self._building, self._completed, self._random = building, completed, random_state()

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Called on each process before it writes."""
        prepared = super().prepare_local_plan(plan)
        write_json(self._building / f"random_{rank()}.json", self._random)
        return prepared

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Called on process 0 when all have written."""
        super().finish(metadata, results)
        self._completed()


class LeanPlanner(DefaultSavePlanner):
    """Hands tables to the writer without a copy.

    Tables are slices of one buffer; the writer copies slices and keeps the copies until the file is written.
    """

    def resolve_data(self, write_item: WriteItem) -> torch.Tensor | io.BytesIO:
        """The same memory as a tensor of its own."""
        data = super().resolve_data(write_item)
        if isinstance(data, torch.Tensor) and data.device.type == "cpu" and data.is_contiguous():
            return torch.from_numpy(data.detach().view(torch.uint8).numpy()).view(data.dtype) if data.dim() else data
        return data


def write_now(tensors: Mapping[str, Any], writer: CheckpointWriter) -> None:
    """Writes `tensors` and returns when the checkpoint is there.

    :raises CheckpointException: on all processes, when one of them failed.
    """
    _hush()
    save(dict(tensors), storage_writer=writer, planner=LeanPlanner(), no_dist=not dist.is_initialized())


class BackgroundWriter:
    """Writes copies of the state in a thread; with several processes its messages have a gloo group of their own."""

    def __init__(self) -> None:
        self._group: dist.ProcessGroup | None = None

    def start(self, tensors: Mapping[str, Any], writer: CheckpointWriter) -> Future[Any]:
        """Copies `tensors` to the CPU's memory, and returns while they are written.

        All processes must call; the future raises CheckpointException on all of them when one failed.
        """
        if self._group is None and world_size() > 1:
            self._group = dist.new_group(backend="gloo")
        _hush()
        started = async_save(
            dict(tensors), storage_writer=writer, planner=LeanPlanner(), process_group=self._group,
            no_dist=world_size() == 1,
        )  # fmt: skip
        assert isinstance(started, Future)
        return started


def state_bytes(tensors: Mapping[str, Any]) -> int:
    """Memory that a copy of this process's part of `tensors` takes."""
    total = 0
    for value in tensors.values():
        local = [shard.tensor for shard in value.local_shards()] if hasattr(value, "local_shards") else [value]
        total += sum(part.numel() * part.element_size() for part in local)
    return total


def failure_text(error: BaseException) -> str | None:
    """What the system said when writing failed, in one line; of several processes the first one's. None: our fault."""
    inner = next(iter(error.failures.values()))[0] if isinstance(error, CheckpointException) else error
    if not isinstance(inner, (OSError, RuntimeError)):
        return None
    return str(getattr(inner, "strerror", None) or inner or type(inner).__name__).splitlines()[0][:200]


def _hush() -> None:
    """Silences torch's note that one process saves for itself: that is meant. The thread that writes says it too."""
    warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
