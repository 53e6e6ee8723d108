"""Self-attention among the fields of one row."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FieldAttention(nn.Module):
    """o = relu([head_1, ..., head_h] + e W_res), head = softmax(q k^T / sqrt(d / h)) v with q, k, v = e W.

    Four k x k maps without bias, no output projection (Lu et al., DIFM, IJCAI 2020, eq. 4 to 7).

    Input and output: (..., F, k).
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} cannot be cut into {heads} heads; choose a multiple")
        self.heads = heads
        self.query, self.key, self.value, self.residual = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, fields: Tensor) -> Tensor:
        """(..., F, k) -> (..., F, k)"""
        query, key, value = (
            part(fields).unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for part in (self.query, self.key, self.value)
        )  # (..., h, F, k / h)
        weights = torch.softmax(query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5, dim=-1)
        joined = (weights @ value).transpose(-3, -2).flatten(-2)
        return torch.relu(joined + self.residual(fields))
