"""The process group: torchrun's when there is one, else a group of this single process without any network."""

from __future__ import annotations

import atexit
import time
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

T = TypeVar("T")


def ensure_process_group(device: torch.device) -> None:
    """Makes sure that a default process group is there.

    Under torchrun it is torchrun's; otherwise a group of one, over a store inside this process.
    """
    if dist.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if dist.is_torchelastic_launched():
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    atexit.register(_leave)


def join_processes(device: torch.device) -> None:
    """Under torchrun: joins the other processes, unless that is done. A process started alone stays alone."""
    if dist.is_torchelastic_launched():
        ensure_process_group(device)


def _leave() -> None:
    """Ends the group in order: left to the interpreter's end, its threads now and then abort the process.

    Whoever still refers to the group (DDP, TorchRec) keeps gloo's threads alive. One that lets go of a finished
    collective's tensors needs the interpreter lock, and asking for it after the interpreter's end aborts the process
    ("terminate called without an active exception"): the pause lets them finish first.
    """
    if dist.is_initialized():
        seconds = 0.5 if dist.get_world_size() > 1 else 0.05
        dist.destroy_process_group()
        time.sleep(seconds)


def rank() -> int:
    """This process's number, 0 without a group."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes, 1 without a group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    """Waits until all processes are here."""
    if world_size() > 1:
        dist.barrier()


def all_agree(value: bool) -> bool:
    """Whether `value` is True on all processes; all must call."""
    if world_size() == 1:
        return value
    agreed = torch.tensor(int(value))
    dist.all_reduce(agreed, dist.ReduceOp.MIN)
    return bool(agreed)


def everywhere(value: T) -> T:
    """Process 0's `value` on all processes."""
    if world_size() == 1:
        return value
    shared = [value]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]


def gathered(value: T) -> list[T]:
    """The `value`s of all processes, in their order; all must call."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values
