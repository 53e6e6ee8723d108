"""A small click model that is fitted in this process, in a killed one, or in two; run as a program by some tests.

python click_program.py FOLDER [--tables] [--kill-at STEP] [--kill-in-checkpoint STEP] [--kills SEED] [--two]
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchrec import KeyedJaggedTensor

from segrec.fitting import ArrayStream, FitConfig, FitResult, Fittable, checkpoints, fit, global_mean
from segrec.fitting.warm_rows import NEW, fill_rows
from segrec.records import DataError
from segrec.tables import (
    TableSpec,
    bags,
    distribute,
    fused_state,
    live_state,
    rank,
    sequences,
    whole_state,
    world_size,
)
from segrec.tables.starting import table_weights
from segrec.torchrun import end_process

ROWS, USERS, ITEMS = 300, 12, 20
USER = TableSpec(name="user", rows=USERS, dim=4, features=("user",), learning_rate=0.3)
ITEM = TableSpec(name="item", rows=ITEMS, dim=4, features=("item", "last"), optimizer="adagrad", learning_rate=0.3)
PAST = TableSpec(name="past", rows=ITEMS, dim=4, features=("past",), pooling="none", optimizer="sgd")
SPECS = (USER, ITEM, PAST)
CONFIG = FitConfig(
    epochs=3, batch_size=32, learning_rate=0.05, seed=5, device="cpu", patience=None, checkpoint_every=4, log_every=3,
    async_checkpoints=False,
)  # fmt: skip
BACKGROUND = CONFIG.model_copy(update={"async_checkpoints": True})
KILLS = 5


class TableClicks(nn.Module):
    """Ids through TorchRec tables, pooled and as sequences, then dropout and a linear layer."""

    def __init__(self, device: str = "meta") -> None:
        super().__init__()
        self.bags = bags([USER, ITEM], device)
        self.past = sequences([PAST], device)
        self.dropout = nn.Dropout(0.2)
        self.out = nn.Linear(16, 1)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        ones = torch.ones(2 * len(users) + len(items), dtype=torch.long)
        pooled = self.bags(
            KeyedJaggedTensor(["user", "item", "last"], torch.cat([users, items, items // 2]), lengths=ones)
        )
        past = self.past(KeyedJaggedTensor(["past"], items, lengths=torch.ones_like(items)))["past"].values()
        parts = [pooled["user"], pooled["item"], pooled["last"], past]
        return self.out(self.dropout(torch.cat(parts, dim=1))).squeeze(1)


class PlainClicks(nn.Module):
    """The same without TorchRec: one torch embedding each, and a buffer that changes while fitting."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(USERS, 4), nn.Embedding(ITEMS, 4)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.2)
        self.out = nn.Linear(8, 1)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        parts = torch.cat([self.users(users), self.items(items)], dim=1)
        return self.out(self.dropout(self.norm(parts))).squeeze(1)


class RecordingStream:
    """An ArrayStream of row numbers that remembers which rows it gave, and may end the process on the way."""

    def __init__(self, kill_at: int | None = None, delay: float = 0.0) -> None:
        self.inner = ArrayStream(
            ROWS, torch.from_numpy, batch_size=CONFIG.batch_size, seed=CONFIG.seed, rank=rank(), world_size=world_size()
        )
        self.given: list[list[int]] = []
        self.kill_at, self.delay = kill_at, delay

    def batches(self, epoch: int) -> int:
        return self.inner.batches(epoch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        for place, rows in enumerate(self.inner.epoch(epoch, start), start=start):
            if self.kill_at is not None and self.kill_at <= epoch * self.batches(epoch) + place:
                if not self.delay:
                    _kill()
                threading.Timer(self.delay, _kill).start()
                self.kill_at = None
            self.given.append(rows.tolist())
            yield rows


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def columns() -> tuple[Tensor, Tensor]:
    """Users and items of all rows."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, USERS, ROWS)), torch.from_numpy(rng.integers(0, ITEMS, ROWS))


def build(*, tables: bool, dropout: float = 0.2) -> tuple[Fittable[Tensor], nn.Module]:
    torch.manual_seed(3)
    module: nn.Module = TableClicks() if tables else PlainClicks()
    module.get_submodule("dropout").p = dropout
    module = distribute(module, SPECS, seed=7) if tables else module
    users, items = columns()
    clicks = ((users + items) % 3 == 0).float()

    def loss(rows: Tensor) -> Tensor:
        logits = module(users[rows], items[rows])
        return global_mean(binary_cross_entropy_with_logits(logits, clicks[rows], reduction="sum"), len(rows))

    def validate() -> dict[str, float]:
        return {"NLL": float(binary_cross_entropy_with_logits(module(users, items), clicks))}

    dense = [parameter for name, parameter in module.named_parameters() if "embedding" not in name]
    optimizer = torch.optim.Adam(dense, lr=CONFIG.learning_rate)
    return Fittable(module, loss, optimizer, validate, monitor="NLL", minimize=True), module


def run(
    folder: Path, *, tables: bool, stream: RecordingStream | None = None, config: FitConfig = CONFIG
) -> tuple[FitResult, dict[str, Tensor]]:
    """The result, and the weights and all optimizers' states at the end."""
    fittable, module = build(tables=tables)
    result = fit(fittable, stream or RecordingStream(), config, folder)
    states = {name: value.local_shards()[0].tensor for name, value in fused_state(module).items()}
    assert fittable.optimizer is not None
    for number, values in fittable.optimizer.state_dict()["state"].items():
        states |= {f"{number}/{name}": value for name, value in values.items()}
    return result, {**whole_state(module), **states}


def _killed_when_finishing(step: int) -> Callable[..., None]:
    complete = checkpoints.Checkpoints._complete

    def killed(self: checkpoints.Checkpoints, building: Path, final: Path, files: dict[str, Any]) -> None:
        if files["progress.json"]["step"] == step:
            _kill()
        complete(self, building, final, files)

    return killed


def _killed_again_and_again(folder: Path, seed: int) -> None:
    """The same run in child processes, each killed some time after a step of its own, both drawn from `seed`."""
    drawn = random.Random(seed)
    for step in sorted(drawn.sample(range(2, 30), KILLS)):
        delay = drawn.uniform(0, 0.03)
        child = os.fork()
        if child == 0:
            run(folder, tables=True, stream=RecordingStream(step, delay), config=BACKGROUND)
            _kill()  # done before the signal came
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL


def _two_processes(folder: Path) -> None:
    """All that two processes must do together, in one start of them; process 0 keeps what the test looks at."""
    fittable, module = build(tables=True, dropout=0.0)
    seen: dict[str, Any] = {"start": whole_state(module)}
    result = fit(fittable, RecordingStream(), CONFIG, folder)
    seen |= {"end": whole_state(module), "losses": [entry.loss for entry in result.history]}
    fittable, module = build(tables=True, dropout=0.0)
    fit(fittable, RecordingStream(), BACKGROUND.model_copy(update={"epochs": 2}), folder / "resharded")
    seen |= {"filled": _filled(module), "refused": _refused(module, folder / "full")}
    if rank() == 0:
        torch.save(seen, folder / "seen.pt")


def _filled(module: nn.Module) -> dict[str, Tensor]:
    """Tables whose row r is 100 r + column, but for row 3, which is new."""
    origin = np.arange(ITEMS)
    origin[3] = NEW
    for spec in SPECS:
        target = table_weights(live_state(module))[spec.name]
        older = 100.0 * torch.arange(spec.rows)[:, None] + torch.arange(spec.dim)
        fill_rows(target, lambda start, end, older=older: older[start:end], origin[: spec.rows])
    return whole_state(module)


def _refused(module: nn.Module, folder: Path) -> list[str]:
    """What each process says when only the last one's disk is full, of a write now and of one in the background."""
    told = []
    for background in (False, True):
        kept = checkpoints.Checkpoints(folder, module, None, background=background)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if rank() == world_size() - 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            kept.save(checkpoints.Progress(step=1))
            for step in range(1, 1000):
                kept.check(step, 3)  # all notice it at the same step
                time.sleep(0.001)
        except DataError as error:
            told.append(str(error))
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    everyone: list[Any] = [None] * world_size()
    dist.all_gather_object(everyone, told)
    return [line for lines in everyone for line in lines]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--two", action="store_true")
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--kill-in-checkpoint", type=int)
    parser.add_argument("--kills", type=int)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    if wanted.kill_in_checkpoint is not None:
        checkpoints.Checkpoints._complete = _killed_when_finishing(wanted.kill_in_checkpoint)
    if wanted.kills is not None:
        _killed_again_and_again(wanted.folder, wanted.kills)
    elif wanted.two:
        _two_processes(wanted.folder)
        end_process()
    else:
        run(wanted.folder, tables=wanted.tables, stream=RecordingStream(wanted.kill_at))
