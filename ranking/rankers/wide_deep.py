"""Wide & Deep: first-order weights beside an MLP."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from ranking.layers import IdFields, Mlp, RankerInputs
from ranking.rankers.first_order import FirstOrderConfig, summing_head
from ranking.rankers.ranker import Ranker


class WideDeepConfig(FirstOrderConfig):
    """Without hand-made crosses in the wide part: those of the paper need a person who knows the columns."""

    mlp: tuple[PositiveInt, ...] = (256, 128)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


class WideDeep(Ranker):
    """Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016, eq. 3.

    logit = b + sum_f w_f(x_f) + w^T dense + v^T mlp([e_1, ..., e_F, dense]); hidden = [sum_f w_f(x_f), dense, mlp].
    """

    def __init__(self, config: WideDeepConfig, inputs: RankerInputs, device: torch.device | str = "meta") -> None:
        super().__init__(inputs, device)
        self.fields = IdFields(inputs)
        self.mlp = Mlp(self.fields.count * self.fields.dim + self.fields.rest, config.mlp, config.dropout)
        self.head = summing_head(1 + self.fields.rest + self.mlp.width, terms=1)

    def hidden(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., 1 + dense + mlp)"""
        weights, vectors, rest = self.fields(x)
        deep = self.mlp(torch.cat([vectors.flatten(-2), rest], dim=-1))
        return torch.cat([weights.sum(dim=-1, keepdim=True), rest, deep], dim=-1)
