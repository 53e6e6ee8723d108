"""DIFM: a factorization machine whose fields are weighed anew in each row."""

from __future__ import annotations

from typing import Annotated, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from ranking.features import FeatureConfig
from ranking.layers import FieldAttention, IdFields, Mlp, RankerInputs, pairwise_interactions
from ranking.rankers.config import Widths, bucketed
from ranking.rankers.first_order import FirstOrderConfig, summing_head
from ranking.rankers.ranker import Ranker


class DifmConfig(FirstOrderConfig):
    """Dense columns enter linearly, and as ids of DENSE_BUCKETS buckets: the paper's numeric fields are ids."""

    heads: PositiveInt = 4
    mlp: Widths = (256, 128)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def feature_config(self) -> FeatureConfig:
        """Bucketed dense columns unless `features.dense_buckets` says otherwise."""
        return bucketed(self.features)

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.embedding_dim % self.heads:
            raise ValueError(f"embedding_dim {self.embedding_dim} cannot be cut into {self.heads} heads")
        return self


class Difm(Ranker):
    """Lu et al., "A Dual Input-aware Factorization Machine for CTR Prediction", IJCAI 2020.

    m = W_v flat(attention(e)) + W_b mlp(flat(e)), one weight a field, unbounded (eq. 9);
    logit = b + sum_f m_f w_f(x_f) + w^T dense + FM(m_1 e_1, ..., m_F e_F). The MLP makes weights only, no logit.
    Columns that a wrapper appends (a segment's position) enter the MLP too, so that they can change the weights.

    hidden = [sum_f m_f w_f(x_f), FM(m e), dense].
    """

    def __init__(self, config: DifmConfig, inputs: RankerInputs, device: torch.device | str = "meta") -> None:
        super().__init__(inputs, device)
        self.fields, self.extra = IdFields(inputs), inputs.extra_width
        flat = self.fields.count * self.fields.dim
        self.attention = FieldAttention(self.fields.dim, config.heads)
        self.mlp = Mlp(flat + self.extra, config.mlp, config.dropout)
        self.by_vector = nn.Linear(flat, self.fields.count, bias=False)
        self.by_bit = nn.Linear(self.mlp.width, self.fields.count, bias=False)
        self.head = summing_head(2 + self.fields.rest, terms=2)

    def hidden(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., 2 + dense)"""
        weights, vectors, rest = self.fields(x)
        factors = self.factors(vectors, rest[..., self.fields.rest - self.extra :])
        first = (factors * weights).sum(dim=-1)
        second = pairwise_interactions(factors[..., None] * vectors)
        return torch.cat([torch.stack([first, second], dim=-1), rest], dim=-1)

    def factors(self, vectors: Tensor, extra: Tensor) -> Tensor:
        """m: (..., F, k), (..., extra) -> (..., F)"""
        by_bit: Tensor = self.by_bit(self.mlp(torch.cat([vectors.flatten(-2), extra], dim=-1)))
        by_vector: Tensor = self.by_vector(self.attention(vectors).flatten(-2))
        return by_vector + by_bit
