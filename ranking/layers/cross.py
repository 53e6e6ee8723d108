"""The cross network of DCN-V2."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CrossNetwork(nn.Module):
    """x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, for l = 0 .. layers - 1 (Wang et al., DCN V2, WWW 2021, eq. 1).

    With `rank` r, W_l = U_l V_l^T with U_l, V_l of shape (D, r) (eq. 2): 2 D r instead of D^2 weights.

    Input and output: (..., D).
    """

    def __init__(self, width: int, layers: int, rank: int | None = None) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        "V_l^T; empty at full rank."
        self.up = nn.ModuleList()
        "U_l and b_l; at full rank W_l and b_l."
        for _ in range(layers):
            if rank is not None:
                self.down.append(nn.Linear(width, rank, bias=False))
            self.up.append(nn.Linear(width if rank is None else rank, width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)"""
        x0 = x
        for layer, up in enumerate(self.up):
            inner = self.down[layer](x) if len(self.down) else x
            x = torch.addcmul(x, x0, up(inner))
        return x
