"""A gate over the columns of an embedded row, drawn from some of its fields."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ranking.layers.feature_embedding import RankerInputs
from ranking.layers.mlp import Mlp


class FeatureGate(nn.Module):
    """x -> 2 sigmoid(W relu-mlp(context) + b) * x (Mao et al., FinalMLP, AAAI 2023: feature selection).

    The 2 lets the gate lie around 1. context = embeddings of the ids and bags `fields`, or, when there are none, a
    learned vector of `bias_width`, the same for all rows. Dense and appended columns are gated as all others.

    Input and output: (..., D).

    :raises ValueError: a field that `inputs` does not have.
    """

    def __init__(self, inputs: RankerInputs, fields: Sequence[str], widths: Sequence[int], bias_width: int) -> None:
        super().__init__()
        ends = torch.tensor((0, *inputs.widths)).cumsum(dim=0).tolist()
        places = [inputs.features.index(field) for field in fields]
        self.spans = [(ends[place], ends[place + 1]) for place in places]
        self.bias = None if fields else nn.Parameter(torch.zeros(bias_width))
        self.mlp = Mlp(sum(inputs.widths[place] for place in places) or bias_width, widths)
        self.out = nn.Linear(self.mlp.width, inputs.width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)"""
        if self.bias is None:
            context = torch.cat([x[..., start:end] for start, end in self.spans], dim=-1)
        else:
            context = self.bias
        return 2 * torch.sigmoid(self.out(self.mlp(context))) * x
