"""Dropout that draws one random byte a value: several times faster on CPU than a Bernoulli draw each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_BYTES = 256
_LOWEST = -(2**63)
"The whole range of int64: from 0 on, each eighth byte would lack its upper half."


class ByteDropout(nn.Module):
    """y = x * keep / P(keep), P(drop) rounded to the nearest of 256 steps (0.1 becomes 26 / 256 = 0.1016)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.dropped = round(share * _BYTES)

    def forward(self, values: Tensor) -> Tensor:
        """Any shape."""
        if not self.training or self.dropped == 0:
            return values
        words = torch.empty((values.numel() + 7) // 8, dtype=torch.int64, device=values.device).random_(_LOWEST, None)
        kept = words.view(torch.uint8)[: values.numel()].view(values.shape) >= self.dropped
        return values * kept.to(values.dtype).mul_(_BYTES / (_BYTES - self.dropped))
