"""Two views of the same thing joined by a bilinear form (FinalMLP; SegMM Eq. 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BilinearFusion(nn.Module):
    """o = b + w_x . x + w_y . y + sum_h x_h^T W_h y_h, with x and y cut into h heads (SegMM Eq. 6).

    Eq. 6's outer sigmoid would squash every difference of scores below 1: off unless `squash`.
    """

    def __init__(self, width: int, heads: int, squash: bool = False) -> None:
        super().__init__()
        self.heads, self.squash = heads, squash
        self.first = nn.Linear(width, 1)
        self.second = nn.Linear(width, 1, bias=False)
        self.form = nn.Parameter(torch.empty(heads, width // heads, width // heads))
        nn.init.xavier_normal_(self.form)

    def forward(self, x_TD: Tensor, y_TD: Tensor) -> Tensor:
        """(T, D), (T, D) -> (T,)."""
        x, y = (side.view(len(side), self.heads, -1) for side in (x_TD, y_TD))
        product = (torch.einsum("thi,hij->thj", x, self.form) * y).sum(dim=(1, 2))
        joined = self.first(x_TD).squeeze(1) + self.second(y_TD).squeeze(1) + product
        return torch.sigmoid(joined) if self.squash else joined


class PositionBias(nn.Module):
    """Attention decays with position whatever the content: p = o + w * (s + 1) + b (SegMM Eq. 7), 0 at the start.

    `per_slot` has its own w and b for each of `slots` positions, as the authors' code.
    """

    def __init__(self, slots: int, per_slot: bool = False) -> None:
        super().__init__()
        size = slots if per_slot else 1
        self.per_slot = per_slot
        self.weight = nn.Parameter(torch.zeros(size))
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, position_T: Tensor) -> Tensor:
        """(T,) 0-based positions -> (T,)."""
        slot_T = position_T if self.per_slot else torch.zeros_like(position_T)
        return self.weight[slot_T] * (position_T + 1) + self.bias[slot_T]
