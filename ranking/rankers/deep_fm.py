"""DeepFM: a factorization machine and an MLP over the same embeddings."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from ranking.layers import IdFields, Mlp, RankerInputs, pairwise_interactions
from ranking.rankers.first_order import FirstOrderConfig, summing_head
from ranking.rankers.ranker import Ranker


class DeepFmConfig(FirstOrderConfig):
    """As Wide & Deep's."""

    mlp: tuple[PositiveInt, ...] = (256, 128)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


class DeepFm(Ranker):
    """Guo et al., "DeepFM", IJCAI 2017, eq. 1 to 4.

    logit = b + sum_f w_f(x_f) + w^T dense + FM(e) + v^T mlp([e_1, ..., e_F, dense]), FM = sum_{f<g} <e_f, e_g> over ids
    and (pooled) bags; hidden = [sum_f w_f(x_f), FM(e), dense, mlp].
    """

    def __init__(self, config: DeepFmConfig, inputs: RankerInputs, device: torch.device | str = "meta") -> None:
        super().__init__(inputs, device)
        self.fields = IdFields(inputs)
        self.mlp = Mlp(self.fields.count * self.fields.dim + self.fields.rest, config.mlp, config.dropout)
        self.head = summing_head(2 + self.fields.rest + self.mlp.width, terms=2)

    def hidden(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., 2 + dense + mlp)"""
        weights, vectors, rest = self.fields(x)
        terms = torch.stack([weights.sum(dim=-1), pairwise_interactions(vectors)], dim=-1)
        deep = self.mlp(torch.cat([vectors.flatten(-2), rest], dim=-1))
        return torch.cat([terms, rest, deep], dim=-1)
