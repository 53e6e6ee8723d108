"""AdamW whose learning rate falls along half a cosine, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

LAST_SHARE = 0.01
"Of the first learning rate: where the rate would be after the last epoch."


class CosineAdamW(torch.optim.AdamW):
    """Epoch e of E runs at floor + (rate - floor) (1 + cos(pi e / E)) / 2, floor = rate / 100: PyTorch's
    `CosineAnnealingLR(T_max=E, eta_min=rate / 100)`, with its place kept in the parameter groups, as checkpoints need.
    """

    def __init__(
        self, parameters: Iterable[Tensor], learning_rate: float, *, weight_decay: float, epochs: int, steps: int
    ) -> None:
        """:param steps: of one epoch."""
        super().__init__(parameters, lr=learning_rate, weight_decay=weight_decay)
        for group in self.param_groups:
            group |= {"highest": learning_rate, "epochs": epochs, "steps": steps, "done": 0}

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One AdamW step at this epoch's rate."""
        for group in self.param_groups:
            share = min(group["done"] // group["steps"], group["epochs"]) / group["epochs"]
            floor = group["highest"] * LAST_SHARE
            group["lr"] = floor + (group["highest"] - floor) * (1 + math.cos(math.pi * share)) / 2
            group["done"] += 1
        return super().step(closure)
