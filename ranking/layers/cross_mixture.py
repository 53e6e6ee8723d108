"""The cross network of DCN-Mix: in each layer a gated mixture of low-rank crosses."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CrossMixture(nn.Module):
    """x_{l+1} = sum_i G_i(x_l) E_i(x_l) + x_l, E_i(x_l) = x_0 * (U_i g(C_i g(V_i^T x_l)) + b), g = tanh.

    Wang et al., DCN V2, WWW 2021, eq. 3 and 4; U_i, V_i: (D, r), C_i: (r, r); b is a layer's, G = softmax(W x_l).
    The gates of a layer sum to 1, so that sum_i G_i E_i = x_0 * (sum_i G_i U_i h_i + b): two products a layer for all
    experts, none as wide as D for each.

    share_gate: one W for all layers, as torch-rechub and deepctr-torch have it; else one a layer, as in the paper.

    Input and output: (..., D).
    """

    def __init__(self, width: int, layers: int, rank: int, experts: int, *, share_gate: bool = False) -> None:
        super().__init__()
        self.experts = experts
        self.down = nn.ModuleList(nn.Linear(width, experts * rank, bias=False) for _ in range(layers))
        "V_i^T, one below the other."
        self.core = nn.ParameterList(torch.empty(experts, rank, rank) for _ in range(layers))
        "C_i"
        self.up = nn.ModuleList(nn.Linear(experts * rank, width) for _ in range(layers))
        "U_i, side by side, and b."
        self.gates = nn.ModuleList(
            nn.Linear(width, experts, bias=False) for _ in range(min(layers, 1) if share_gate else layers)
        )
        for core in self.core:
            nn.init.uniform_(core, -(rank**-0.5), rank**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)"""
        x0 = x
        for layer, (down, core, up) in enumerate(zip(self.down, self.core, self.up, strict=True)):
            inner = torch.tanh(down(x).unflatten(-1, (self.experts, -1)))  # (..., E, r)
            inner = torch.tanh(torch.einsum("eij,...ej->...ei", core, inner))
            gate = torch.softmax(self.gates[layer % len(self.gates)](x), dim=-1)
            x = torch.addcmul(x, x0, up((gate[..., None] * inner).flatten(-2)))
        return x
