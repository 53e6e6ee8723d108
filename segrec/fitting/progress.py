"""Where a run stands: the data cursor, the validations so far, the best of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from pydantic import BaseModel, ConfigDict

from segrec.records import ConfigError


class Validation(BaseModel):
    """One validation: after which step, what was measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    epoch: int
    "0-based epoch in which it happened."
    loss: float
    "Mean training loss since the validation before."
    parts: dict[str, float] = {}
    "Means of its parts, where it has some."
    metrics: dict[str, float]


class Progress(BaseModel):
    """Saved in each checkpoint as progress.json."""

    model_config = ConfigDict(extra="forbid")

    epoch: int = 0
    batch: int = 0
    "Batches of this epoch that are done: the next one to train on."
    step: int = 0
    "Batches done in all epochs."
    loss_sum: float = 0.0
    loss_steps: int = 0
    "Training loss since the last validation."
    part_sums: dict[str, float] = {}
    best: float | None = None
    best_step: int | None = None
    best_epoch: int | None = None
    without_better: int = 0
    history: list[Validation] = []

    def advance(self) -> None:
        """One more batch is done."""
        self.batch += 1
        self.step += 1

    def next_epoch(self) -> None:
        """The cursor at the start of the next epoch."""
        self.epoch, self.batch = self.epoch + 1, 0

    def add_losses(self, losses: Sequence[float], parts: Mapping[str, Sequence[float]]) -> None:
        """Losses of some steps, and their parts by name."""
        self.loss_sum += sum(losses)
        self.loss_steps += len(losses)
        for name, values in parts.items():
            self.part_sums[name] = self.part_sums.get(name, 0.0) + sum(values)

    def record(self, metrics: Mapping[str, float], monitor: str, minimize: bool) -> bool:
        """Adds a validation; True when it is the best so far.

        :raises ConfigError: `monitor` is not among the metrics, or is NaN or infinite.
        """
        if monitor not in metrics:
            raise ConfigError(f"monitored metric {monitor!r} was not measured (measured: {', '.join(metrics)})")
        value = float(metrics[monitor])
        if not isfinite(value):
            raise ConfigError(
                f"validation at step {self.step}: monitored metric {monitor!r} is {value}; "
                "check the valid rows (both labels there?) and the learning rate"
            )
        steps = max(self.loss_steps, 1)
        parts = {name: total / steps for name, total in self.part_sums.items()}
        plain = {name: float(number) for name, number in metrics.items()}
        entry = Validation(step=self.step, epoch=self.epoch, loss=self.loss_sum / steps, parts=parts, metrics=plain)
        self.history.append(entry)
        self.loss_sum, self.loss_steps, self.part_sums = 0.0, 0, {}
        better = self.best is None or (value < self.best if minimize else value > self.best)
        if better:
            self.best, self.best_step, self.best_epoch, self.without_better = value, self.step, self.epoch, 0
        else:
            self.without_better += 1
        return better

    def exhausted(self, patience: int | None) -> bool:
        """Whether early stopping says so."""
        return patience is not None and self.without_better >= patience
