"""Activations of perceptrons, by name: the width of the layer before makes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from segrec.tables import world_size

Activation = Callable[[int], nn.Module]
ActivationName = Literal["relu", "prelu", "dice"]


class PRelu(nn.Module):
    """x where x > 0, else alpha x, with a trained alpha a column (Zhou et al., DIN, KDD 2018, sec. 5.2).

    Input and output: (..., D).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)"""
        return torch.where(x > 0, x, self.alpha * x)


class Dice(nn.Module):
    """p x + (1 - p) alpha x, p = sigmoid((x - E[x]) / sqrt(Var[x] + eps)), alpha a column's (DIN, sec. 5.2).

    E and Var are a batch's in training, over all processes together, and running means of these in evaluation.
    `valid` leaves places out of them: padding would make a row's output depend on the longest row beside it.
    The paper's eps of 1e-8 lets a column of nearly equal values blow up its gradient. Under bf16 both stay fp32.

    Input (..., D) and `valid` (...); output (..., D).
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.alpha = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """(..., D) -> (..., D)"""
        mean, variance = self.mean, self.variance
        if self.training:
            with torch.autocast(x.device.type, enabled=False):
                mean, variance = self._moments(x.float(), valid)
        p = torch.sigmoid((x - mean) * torch.rsqrt(variance + self.eps))
        return x * (self.alpha + (1 - self.alpha) * p)

    def _moments(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        rows = x.flatten(0, -2)
        counted = rows.new_ones(len(rows)) if valid is None else valid.flatten().to(rows.dtype)
        sums = _over_processes(torch.cat([counted @ rows, counted.sum()[None]]))
        count = sums[-1].detach()
        mean = sums[:-1] / count.clamp(min=1)
        variance = _over_processes(counted @ (rows - mean).square()) / count.clamp(min=1)
        with torch.no_grad():
            step = self.momentum * (count > 1)
            self.mean += step * (mean - self.mean)
            self.variance += step * (variance * count / (count - 1).clamp(min=1) - self.variance)
        return mean, variance


ACTIVATIONS: dict[ActivationName, Activation] = {"relu": lambda _width: nn.ReLU(), "prelu": PRelu, "dice": Dice}


class _Summed(torch.autograd.Function):
    """The sum over all processes; what reaches one summand's gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.contiguous().clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Summed.forward(ctx, gradient)


def _over_processes(sums: Tensor) -> Tensor:
    if world_size() == 1:
        return sums
    summed: Tensor = _Summed.apply(sums)  # type: ignore[no-untyped-call]
    return summed
