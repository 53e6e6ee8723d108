"""FinalMLP: two MLPs over two gated views of a row, joined by a bilinear form."""

from __future__ import annotations

from typing import Annotated, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from ranking.layers import FeatureGate, Mlp, RankerInputs
from ranking.rankers.config import RankerConfig, Widths
from ranking.rankers.first_order import summing_head
from ranking.rankers.ranker import Ranker


class FinalMlpConfig(RankerConfig):
    """Two streams without different contexts differ by their random start alone."""

    first_mlp: Widths = (64, 64, 64)
    second_mlp: Widths = (64, 64, 64)
    heads: PositiveInt = 1
    gate_mlp: tuple[PositiveInt, ...] | None = (64,)
    "Hidden layers of both gates; null = no gates."
    first_context: tuple[str, ...] = ()
    "Ids and bags that set the first stream's gate (user_id ...); empty = a learned vector, the same for all rows."
    second_context: tuple[str, ...] = ()
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name, width in (("first_mlp", self.first_mlp[-1]), ("second_mlp", self.second_mlp[-1])):
            if width % self.heads:
                raise ValueError(f"{name} ends {width} wide, which cannot be cut into {self.heads} heads")
        if self.gate_mlp is None and (self.first_context or self.second_context):
            raise ValueError("first_context and second_context are for gates, and gate_mlp is null")
        return self

    def named_features(self) -> dict[str, tuple[str, ...]]:
        """What sets the gates."""
        return {"first_context": self.first_context, "second_context": self.second_context}


class FinalMlp(Ranker):
    """Mao et al., "FinalMLP", AAAI 2023, with feature selection and multi-head bilinear fusion.

    o_s = mlp_s(gate_s(x_0)) for s = 1, 2; logit = b + w_1^T o_1 + w_2^T o_2 + sum_h o_1h^T W_h o_2h;
    hidden = [the sum over heads, o_1, o_2], the head's weight of that sum starts at 1.
    """

    def __init__(self, config: FinalMlpConfig, inputs: RankerInputs, device: torch.device | str = "meta") -> None:
        super().__init__(inputs, device)
        config.check_features(inputs.features)
        self.first_gate = _gate(config, inputs, config.first_context)
        self.second_gate = _gate(config, inputs, config.second_context)
        self.first = Mlp(inputs.width, config.first_mlp, config.dropout)
        self.second = Mlp(inputs.width, config.second_mlp, config.dropout)
        self.heads = config.heads
        self.form = nn.Parameter(
            torch.empty(self.heads, self.first.width // self.heads, self.second.width // self.heads)
        )
        "W_h"
        nn.init.xavier_normal_(self.form)
        self.head = summing_head(1 + self.first.width + self.second.width, terms=1)

    def hidden(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., 1 + first + second)"""
        first, second = self.first(self.first_gate(x)), self.second(self.second_gate(x))
        return torch.cat([self.product(first, second), first, second], dim=-1)

    def product(self, first: Tensor, second: Tensor) -> Tensor:
        """sum_h o_1h^T W_h o_2h: (..., first), (..., second) -> (..., 1)"""
        left = first.reshape(*first.shape[:-1], self.heads, -1)
        right = second.reshape(*second.shape[:-1], self.heads, -1)
        turned = torch.einsum("...hi,hij->...hj", left, self.form)
        return (turned * right).sum(dim=(-2, -1))[..., None]


def _gate(config: FinalMlpConfig, inputs: RankerInputs, context: tuple[str, ...]) -> nn.Module:
    if config.gate_mlp is None:
        return nn.Identity()
    return FeatureGate(inputs, context, config.gate_mlp, config.embedding_dim)
