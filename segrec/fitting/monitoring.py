"""What one sees of a run: TensorBoard events and a bar on a terminal, by process 0 only."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from segrec.fitting.loss_parts import LossParts
from segrec.fitting.progress import Progress
from segrec.records import ConfigError
from segrec.tables.processes import rank, world_size

_log = logging.getLogger(__name__)


class Monitor:
    """Collects losses on the device and looks at them each `log_every` steps: no step waits for the device."""

    def __init__(self, folder: Path, progress: Progress, *, batch_size: int, log_every: int, total: int) -> None:
        self._progress, self._batch_size = progress, batch_size
        self._losses: Tensor | None = None
        self._names: tuple[str, ...] = ()
        self._filled, self._log_every, self._since = 0, log_every, time.perf_counter()
        self._writer = SummaryWriter(str(folder), purge_step=progress.step + 1) if rank() == 0 else None
        hidden = rank() != 0 or not sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=progress.step, disable=hidden, unit="step", dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._writer is not None:
            self._writer.close()

    def step(self, loss: LossParts) -> None:
        """Remembers the loss of one step and its parts (scalars, on the device)."""
        if self._losses is None:
            self._names = tuple(loss.parts)
            shape = (1 + len(self._names), self._log_every)
            self._losses = torch.empty(shape, dtype=torch.float32, device=loss.total.device)
        self._losses[0, self._filled] = loss.total.detach()
        for place, name in enumerate(self._names, 1):
            self._losses[place, self._filled] = loss.parts[name].detach()
        self._filled += 1
        self._bar.update()
        if self._filled == self._log_every:
            self.flush()

    def flush(self) -> None:
        """Looks at the losses since the last time.

        :raises ConfigError: one of them is NaN or infinite: the step is named.
        """
        if self._losses is None or self._filled == 0:
            return
        seen = self._losses[:, : self._filled].clone()
        if world_size() > 1:  # each process holds its part of the loss, times their number
            dist.all_reduce(seen)
            seen /= world_size()
        losses, *parts = seen.tolist()
        seconds, first = time.perf_counter() - self._since, self._progress.step - self._filled
        self._filled, self._since = 0, time.perf_counter()
        for place, loss in enumerate(losses):
            if not isfinite(loss):
                raise ConfigError(
                    f"training loss is {loss} at step {first + place + 1} (epoch {self._progress.epoch}); lower "
                    "learning_rate, set clip_norm, or check the dense inputs for huge values"
                )
        self._progress.add_losses(losses, dict(zip(self._names, parts, strict=True)))
        mean, speed = sum(losses) / len(losses), len(losses) * self._batch_size / max(seconds, 1e-9)
        means = {f"train/loss_{name}": sum(part) / len(part) for name, part in zip(self._names, parts, strict=True)}
        self._write({"train/loss": mean, **means, "train/samples_per_second": speed})
        self._bar.set_postfix(loss=f"{mean:.4f}", refresh=False)

    def validated(self, metrics: Mapping[str, float], learning_rate: float | None) -> None:
        """Writes one validation."""
        self._write({f"valid/{name}": value for name, value in metrics.items()})
        if learning_rate is not None:
            self._write({"train/learning_rate": learning_rate})
        if rank() == 0:
            shown = " ".join(f"{name}={value:.5f}" for name, value in metrics.items())
            _log.info("step %d (epoch %d): %s", self._progress.step, self._progress.epoch, shown)
        self._since = time.perf_counter()

    def _write(self, values: Mapping[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, self._progress.step)
