"""Several labels at once: a head of K logits in the place of a ranker's one, over the same hidden layer.

Legend: H columns of the ranker's hidden layer, K tasks, E experts, T columns of a task's last layer.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from ranking.layers import Mlp
from segrec.records import Config


class TasksConfig(Config):
    """How a ranker of several labels is built and trained; without effect where there is one label."""

    head: Literal["shared_bottom", "mmoe"] = "shared_bottom"
    "What stands between the ranker's hidden layer and the towers: nothing, or a mixture of experts for each task."
    tower_mlp: tuple[PositiveInt, ...] = (64,)
    "Hidden layers of each task's own tower; empty = one linear layer."
    experts: PositiveInt = 4
    "Of mmoe."
    expert_mlp: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64,)
    "Hidden layers of each expert of mmoe."
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    weights: dict[str, NonNegativeFloat] = {}
    "What a label's loss is multiplied by; 1 where none is given."
    balance: Literal["weights", "uncertainty"] = "weights"
    "uncertainty: besides, the losses are balanced by learned variances (Kendall et al., CVPR 2018)."
    monitor_task: str | None = None
    "The label whose valid metric decides which weights are kept; null = the first."


class TaskHead(nn.Module):
    """logit_k = w_k^T t_k + b_k, t_k = tower_k(u_k): (..., H) -> (..., K).

    shared_bottom (Caruana, Machine Learning 1997): u_k = h for all tasks.
    mmoe (Ma et al., KDD 2018, eq. 6 and 7): u_k = sum_e softmax(G_k h)_e expert_e(h).

    Without towers over the ranker's own hidden layer, every w_k starts at the ranker's w.
    """

    def __init__(self, config: TasksConfig, single: nn.Linear | TaskHead, tasks: int) -> None:
        super().__init__()
        width: int = single.in_features
        self.experts, self.gates = nn.ModuleList(), nn.ModuleList()
        if config.head == "mmoe":
            self.experts.extend(Mlp(width, config.expert_mlp, config.dropout) for _ in range(config.experts))
            self.gates.extend(nn.Linear(width, config.experts, bias=False) for _ in range(tasks))
            width = config.expert_mlp[-1]
        self.towers = nn.ModuleList(Mlp(width, config.tower_mlp, config.dropout) for _ in range(tasks))
        self.in_features: int = config.tower_mlp[-1] if config.tower_mlp else width
        "T"
        self.weight = nn.Parameter(torch.empty(tasks, self.in_features))
        self.bias = nn.Parameter(torch.zeros(tasks))
        with torch.no_grad():
            if config.tower_mlp or self.experts:
                nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as nn.Linear
            else:
                self.weight.copy_(single.weight.expand(tasks, -1))

    def features(self, hidden: Tensor) -> Tensor:
        """t: (..., H) -> (..., K, T)"""
        mixed = self._mixed(hidden)
        return torch.stack([tower(own) for tower, own in zip(self.towers, mixed, strict=True)], dim=-2)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., H) -> (..., K)"""
        return self.logits(self.features(hidden))

    def logits(self, features: Tensor) -> Tensor:
        """(..., K, T) -> (..., K), as sums of products, which autocast leaves in float32."""
        return (features * self.weight).sum(dim=-1) + self.bias

    def _mixed(self, hidden: Tensor) -> list[Tensor]:
        """u_k for each task."""
        if not self.experts:
            return [hidden] * len(self.towers)
        experts = torch.stack([expert(hidden) for expert in self.experts], dim=-2)  # (..., E, W)
        return [(torch.softmax(gate(hidden), dim=-1)[..., None] * experts).sum(dim=-2) for gate in self.gates]
