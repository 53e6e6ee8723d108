"""A small click model that is fitted in this process, in a killed one, or in two; run as a program by some tests.

python click_program.py FOLDER [--tables] [--kill-at STEP] [--kill-in-checkpoint STEP]
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchrec import KeyedJaggedTensor

from segrec.fitting import ArrayStream, FitConfig, FitResult, Fittable, checkpoints, fit, global_mean
from segrec.tables import TableSpec, bags, distribute, rank, sequences, whole_state, world_size

ROWS, USERS, ITEMS = 300, 12, 20
USER = TableSpec(name="user", rows=USERS, dim=4, features=("user",), learning_rate=0.3)
ITEM = TableSpec(name="item", rows=ITEMS, dim=4, features=("item", "last"), optimizer="adagrad", learning_rate=0.3)
PAST = TableSpec(name="past", rows=ITEMS, dim=4, features=("past",), pooling="none", optimizer="sgd")
SPECS = (USER, ITEM, PAST)
CONFIG = FitConfig(
    epochs=3, batch_size=32, learning_rate=0.05, seed=5, device="cpu", patience=None, checkpoint_every=4, log_every=3
)


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

    def __init__(self, kill_at: int | None = None) -> None:
        self.inner = ArrayStream(
            ROWS, torch.from_numpy, batch_size=CONFIG.batch_size, seed=CONFIG.seed, rank=rank(), world_size=world_size()
        )
        self.given: list[list[int]] = []
        self.kill_at = kill_at

    def batches(self, epoch: int) -> int:
        return self.inner.batches(epoch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        for place, rows in enumerate(self.inner.epoch(epoch, start), start=start):
            if self.kill_at == epoch * self.batches(epoch) + place:
                os.kill(os.getpid(), signal.SIGKILL)
            self.given.append(rows.tolist())
            yield rows


def build(*, tables: bool, dropout: float = 0.2) -> tuple[Fittable[Tensor], nn.Module]:
    torch.manual_seed(3)
    module: nn.Module = TableClicks() if tables else PlainClicks()
    module.get_submodule("dropout").p = dropout
    module = distribute(module, SPECS, seed=7) if tables else module
    rng = np.random.default_rng(0)
    users, items = torch.from_numpy(rng.integers(0, USERS, ROWS)), torch.from_numpy(rng.integers(0, ITEMS, ROWS))
    clicks = ((users + items) % 3 == 0).float()

    def loss(rows: Tensor) -> Tensor:
        logits = module(users[rows], items[rows])
        return global_mean(binary_cross_entropy_with_logits(logits, clicks[rows], reduction="sum"), len(rows))

    def validate() -> dict[str, float]:
        return {"NLL": float(binary_cross_entropy_with_logits(module(users, items), clicks))}

    dense = [parameter for name, parameter in module.named_parameters() if "embedding" not in name]
    optimizer = torch.optim.Adam(dense, lr=CONFIG.learning_rate)
    return Fittable(module, loss, optimizer, validate, monitor="NLL", minimize=True), module


def run(folder: Path, *, tables: bool, stream: RecordingStream | None = None) -> tuple[FitResult, dict[str, Tensor]]:
    fittable, module = build(tables=tables)
    result = fit(fittable, stream or RecordingStream(), CONFIG, folder)
    return result, whole_state(module)


def _killed_when_finishing(step: int) -> Callable[..., None]:
    finish = checkpoints.Checkpoints._finish

    def killed(self: checkpoints.Checkpoints, building: Path, final: Path, progress: checkpoints.Progress) -> None:
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        finish(self, building, final, progress)

    return killed


def _two_processes(folder: Path) -> None:
    fittable, module = build(tables=True, dropout=0.0)
    start = whole_state(module)
    result = fit(fittable, RecordingStream(), CONFIG, folder)
    end = whole_state(module)
    if rank() == 0:
        torch.save({"start": start, "end": end, "losses": [entry.loss for entry in result.history]}, folder / "seen.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--two", action="store_true")
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--kill-in-checkpoint", type=int)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    if wanted.kill_in_checkpoint is not None:
        checkpoints.Checkpoints._finish = _killed_when_finishing(wanted.kill_in_checkpoint)
    if wanted.two:
        _two_processes(wanted.folder)
    else:
        run(wanted.folder, tables=wanted.tables, stream=RecordingStream(wanted.kill_at))
