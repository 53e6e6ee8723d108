"""AdamW whose learning rate rises, then falls to nothing over a known number of steps (one cycle)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_FIRST_SHARE, _LAST_SHARE = 1 / 25, 1e-5
"Of the highest learning rate: where the cycle begins and ends."


class OneCycleAdamW(torch.optim.AdamW):
    """The rate of step t goes from 1/25 of `learning_rate` up to it and down to 1e-5 of it, along half cosines.

    Where it stands is kept in the parameter groups, so that a checkpoint holds it. Steps beyond the last keep its rate.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        learning_rate: float,
        *,
        weight_decay: float,
        steps: int,
        rising_share: float = 0.1,
    ) -> None:
        super().__init__(parameters, lr=learning_rate * _FIRST_SHARE, weight_decay=weight_decay)
        for group in self.param_groups:
            group |= {"highest": learning_rate, "steps": steps, "rising": max(rising_share * steps, 1.0), "done": 0}

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One AdamW step at this step's rate."""
        for group in self.param_groups:
            group["lr"] = group["highest"] * _share(group["done"], group["steps"], group["rising"])
            group["done"] += 1
        return super().step(closure)


def _share(done: int, steps: int, rising: float) -> float:
    if done < rising:
        return _between(_FIRST_SHARE, 1.0, done / rising)
    return _between(1.0, _LAST_SHARE, min((done - rising) / max(steps - 1 - rising, 1.0), 1.0))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
