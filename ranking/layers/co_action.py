"""CAN's co-action unit: the target owns a small network, which other features are sent through."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn


class CoAction(nn.Module):
    """u -> [h_1, ..., h_L], h_l = tanh(h_{l-1} W_l + b_l), h_0 = [u, u^2, ..., u^orders] (CAN, WSDM 2022).

    All W_l and b_l are one target's own: cut from its row P of the induction table. The released code sends each power
    through the network by itself, without a tanh at its end; here, as in SegMM's repository, they are one input.

    Input P (B, `parameters_width`) and u (B, N, k); output (B, N, `width`).
    """

    def __init__(self, feed_width: int, orders: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.orders, self.sizes = orders, list(pairwise([feed_width * orders, *widths]))
        self.width = sum(widths)
        used = sum((entering + 1) * leaving for entering, leaving in self.sizes)
        self.parameters_width = -(-used // 4) * 4
        "Columns of P; TorchRec wants a multiple of 4, and the last ones may be spare."

    def forward(self, induction: Tensor, feeds: Tensor) -> Tensor:
        """(B, P), (B, N, k) -> (B, N, width)"""
        inner = torch.cat(list(accumulate([feeds] * self.orders, torch.mul)), dim=-1)
        layers, start = [], 0
        for entering, leaving in self.sizes:
            end = start + entering * leaving
            weight = induction[:, start:end].reshape(-1, entering, leaving)
            bias = induction[:, None, end : end + leaving]
            inner = torch.tanh(torch.baddbmm(bias, inner, weight))
            layers.append(inner)
            start = end + leaving
        return torch.cat(layers, dim=-1)
