"""What a ranker minimises: the loss of its label, or of several side by side.

Legend: B rows of this process, K tasks.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from ranking.rankers.multi_task import TasksConfig
from ranking.targets.labels import AnyLabel, JointLabel, tasks_of
from ranking.targets.watch_labels import WatchTimeLabel
from ranking.training.loss import binary_cross_entropy
from segrec.records import ConfigError
from segrec.tables import world_size


class LabelLoss(nn.Module):
    """Logits and labels, (B,) or (B, K), -> this process's part of the loss, times the number of processes.

    A row's loss is the cross-entropy of its label; of a watch time, with u = seconds / mean of train,
    (1 + u) cross-entropy(u / (1 + u)) (see `WatchTimeLabel`).

    One label: the mean over the global batch. Several: L = sum_k w_k L_k, L_k the mean over the global batch's rows
    that have label k (0 where none has); unknown labels are NaN and reach no gradient. With learned variances
    exp(s_k): L = sum_k w_k exp(-s_k) L_k + s_k / 2 over k with w_k > 0 (Kendall, Gal and Cipolla, CVPR 2018, eq. 10),
    s_k starting at 0.
    """

    def __init__(self, label: AnyLabel, config: TasksConfig) -> None:
        super().__init__()
        tasks = tasks_of(label)
        self.names = tuple(task.name for task in tasks)
        self.joint = isinstance(label, JointLabel)
        self.seconds = any(isinstance(task, WatchTimeLabel) for task in tasks)
        self.per_mean: Tensor
        self.importance: Tensor
        per_mean = [1 / task.mean if isinstance(task, WatchTimeLabel) else 0.0 for task in tasks]
        self.register_buffer("per_mean", torch.tensor(per_mean), persistent=False)
        importance = [config.weights.get(name, 1.0) for name in self.names]
        self.register_buffer("importance", torch.tensor(importance), persistent=False)
        self.counted: Tensor
        self.register_buffer("counted", (self.importance > 0).float(), persistent=False)
        learned = self.joint and config.balance == "uncertainty"
        self.log_variance = nn.Parameter(torch.zeros(len(tasks))) if learned else None
        self.parts: dict[str, Tensor] = {}
        "Each task's L_k of the last call, without graph; empty for one label."

    def forward(self, logits: Tensor, labels: Tensor, global_rows: int, weights: Tensor | None = None) -> Tensor:
        """Scalar with a live graph, also where this process has no row.

        :param weights: (B,) importance of a row.
        """
        if not self.joint:
            targets, weights = self._targets(labels, weights) if self.seconds else (labels, weights)
            return binary_cross_entropy(logits, targets, global_rows, weights)
        by_task = self.by_task(logits, labels.reshape(logits.shape))
        self.parts = dict(zip(self.names, by_task.detach().unbind(), strict=True))
        if self.log_variance is None:
            return (self.importance * by_task).sum()
        # Gradients are averaged over processes, each of which has the whole s_k.
        balanced = self.importance * torch.exp(-self.log_variance) * by_task
        return (balanced + self.counted * self.log_variance / 2).sum()

    def by_task(self, logits_BK: Tensor, labels_BK: Tensor) -> Tensor:
        """L_k (K,): this process's part, times the number of processes."""
        known_BK = ~torch.isnan(labels_BK)
        targets, weights = self._targets(torch.where(known_BK, labels_BK, 0.0), None)
        losses = functional.binary_cross_entropy_with_logits(logits_BK, targets, weights, reduction="none")
        rows = known_BK.sum(dim=0).to(losses.dtype)
        if world_size() > 1:
            dist.all_reduce(rows)
        return torch.where(known_BK, losses, 0.0).sum(dim=0) * (world_size() / rows.clamp(min=1))

    def _targets(self, labels: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """(target in [0, 1], weight of its cross-entropy), both like `labels`."""
        over_mean = labels * self.per_mean
        counted = 1 + over_mean
        targets = torch.where(self.per_mean > 0, over_mean / counted, labels)
        return targets, counted if weights is None else counted * weights


def check_tasks(config: TasksConfig, names: tuple[str, ...]) -> None:
    """:raises ConfigError: a setting that names no label of the run, or leaves no label a weight."""
    named = [*config.weights, *([] if config.monitor_task is None else [config.monitor_task])]
    unknown = next((name for name in named if name not in names), None)
    if unknown is not None:
        field = "weights" if unknown in config.weights else "monitor_task"
        raise ConfigError(f"tasks.{field}: {unknown!r} is no label of this run (labels: {', '.join(names)})")
    if len(names) > 1 and not any(config.weights.get(name, 1.0) for name in names):
        raise ConfigError(f"tasks.weights: all labels weigh 0 ({', '.join(names)})")
