"""Fields of one row as a graph: who listens to whom is drawn anew from the row."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.01
"Of every LeakyReLU."


class FieldGraph(nn.Module):
    """Layers of AdaGIN (repository salmon1802/AdaGIN); all layers share their weights.

    A_ij = softmax_j(leaky(w^T [h_i, h_j]) / cold temperature), A_ii = 1; n_i = W_i sum_j A_ij h_j;
    g = softmax_i(gate(n_i) / warm temperature); h'_i = leaky(g_i n_i) + e_i, with e the graph's input, not the layer's.

    Without noise, so that training and evaluation see one graph and w learns. The published code adds Gumbel noise to
    both softmaxes, in evaluation too, and sets what does not underflow to 1: at temperature .01 a random 0/1 graph,
    through which no gradient reaches w. It also returns the last layer's input. `released` does all that.

    Input and output: (..., F, k).

    :param gate_width: hidden values of the gate, a perceptron shared by the fields
    :raises ValueError: layers that the output cannot depend on.
    """

    def __init__(
        self,
        fields: int,
        dim: int,
        layers: int,
        *,
        gate_width: int = 10,
        cold_temperature: float = 1.0,
        warm_temperature: float = 1.0,
        released: bool = False,
    ) -> None:
        super().__init__()
        self.steps, self.released = layers - released, released
        if self.steps < 1:
            raise ValueError(f"a graph of {layers} layers gives back its input; choose {1 + released} or more")
        self.cold_temperature, self.warm_temperature = cold_temperature, warm_temperature
        self.edge = nn.Linear(2 * dim, 1, bias=False)
        self.weight = nn.Parameter(torch.stack([nn.init.xavier_normal_(torch.empty(dim, dim)) for _ in range(fields)]))
        self.gate = nn.Sequential(nn.Linear(dim, gate_width), nn.ReLU(), nn.Linear(gate_width, 1, bias=False))

    def forward(self, fields: Tensor) -> Tensor:
        """(..., F, k) -> (..., F, k)"""
        state = fields
        for _ in range(self.steps):
            heard = self.adjacency(state) @ state
            turned = torch.einsum("fij,...fj->...fi", self.weight, heard)
            state = functional.leaky_relu(self.gates(turned) * turned, SLOPE) + fields
        return state

    def adjacency(self, state: Tensor) -> Tensor:
        """A: (..., F, k) -> (..., F, F)"""
        listening, heard = self.edge.weight.view(2, -1)
        logits = functional.leaky_relu((state @ listening)[..., :, None] + (state @ heard)[..., None, :], SLOPE)
        weights = self._softmax(logits, self.cold_temperature, dim=-1)
        if self.released:
            weights = weights.masked_fill(weights > 0, 1.0)
        return weights.masked_fill(torch.eye(weights.shape[-1], dtype=torch.bool, device=weights.device), 1.0)

    def gates(self, turned: Tensor) -> Tensor:
        """g: (..., F, k) -> (..., F, 1), summing to 1 over fields"""
        return self._softmax(self.gate(turned), self.warm_temperature, dim=-2)

    def _softmax(self, logits: Tensor, temperature: float, dim: int) -> Tensor:
        if self.released:
            return functional.gumbel_softmax(logits, tau=temperature, dim=dim)
        return torch.softmax(logits / temperature, dim=dim)
