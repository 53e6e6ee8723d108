"""AdaGIN: fields gather from one another over a graph of their own, then all their pairs are read out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from ranking.features import FeatureConfig
from ranking.layers import FieldGraph, Mlp, RankerInputs, field_width
from ranking.layers.field_graph import SLOPE
from ranking.rankers.config import RankerConfig, Widths, bucketed
from ranking.rankers.first_order import summing_head
from ranking.rankers.ranker import Ranker


class AdaGinConfig(RankerConfig):
    """As in DIFM, dense columns enter as numbers, and as ids of DENSE_BUCKETS buckets, which are nodes of the graph."""

    layers: PositiveInt = 3
    gate_width: PositiveInt = 10
    cold_temperature: PositiveFloat | None = None
    "Of the adjacency; null = 1, released: 0.01."
    warm_temperature: PositiveFloat = 1.0
    "Of the gate over fields."
    released: bool = False
    "The published code's random 0/1 graph, in evaluation too (no prediction repeats), and no last layer."
    mlp: Widths = (64, 64, 64)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def feature_config(self) -> FeatureConfig:
        """Bucketed dense columns unless `features.dense_buckets` says otherwise."""
        return bucketed(self.features)

    @model_validator(mode="after")
    def _layers_count(self) -> Self:
        if self.released and self.layers < 2:
            raise ValueError("layers must be 2 or more where released is true: its last layer is never read (found: 1)")
        return self


class AdaGin(Ranker):
    """AdaGIN (repository salmon1802/AdaGIN, class AutoGIM; AdaGINCTR of SegMM).

    h = FieldGraph(e); pairs = [h_i * h_j], products = [<h_i, h_j>] over i <= j;
    logit = b + r_1(pairs) + r_2(products) + r_3([flat(h), dense]) + w^T dense, r = mlp * leaky(gate mlp).
    Columns that a wrapper appends (a segment's position) go where the dense ones go; the published code has no numbers.

    hidden = [r_1, r_2, r_3, dense].
    """

    def __init__(self, config: AdaGinConfig, inputs: RankerInputs, device: torch.device | str = "meta") -> None:
        super().__init__(inputs, device)
        self.count, self.dim = len(inputs.widths), field_width(inputs)
        rest, pairs = inputs.dense_width + inputs.extra_width, self.count * (self.count + 1) // 2
        self.graph = FieldGraph(
            self.count,
            self.dim,
            config.layers,
            gate_width=config.gate_width,
            cold_temperature=config.cold_temperature or (0.01 if config.released else 1.0),
            warm_temperature=config.warm_temperature,
            released=config.released,
        )
        self.pairs = GatedReadout(pairs * self.dim, config.mlp, config.dropout)
        self.products = GatedReadout(pairs, config.mlp, config.dropout)
        self.flat = GatedReadout(self.count * self.dim + rest, config.mlp, config.dropout)
        self.head = summing_head(3 + rest, terms=3)

    def hidden(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., 3 + dense)"""
        ids, rest = x[..., : self.count * self.dim], x[..., self.count * self.dim :]
        nodes = self.graph(ids.reshape(*ids.shape[:-1], self.count, self.dim))
        first, second = torch.triu_indices(self.count, self.count, device=x.device)
        pairs = nodes[..., first, :] * nodes[..., second, :]
        flat = torch.cat([nodes.flatten(-2), rest], dim=-1)
        read = self.pairs(pairs.flatten(-2)), self.products(pairs.sum(dim=-1)), self.flat(flat)
        return torch.cat([*read, rest], dim=-1)


class GatedReadout(nn.Module):
    """r = mlp(x) * leaky(gate mlp(x)), one number each.

    Input (..., D), output (..., 1).
    """

    def __init__(self, width: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.value, self.gate = (
            nn.Sequential(Mlp(width, widths, dropout, activation=leaky), nn.Linear(widths[-1], 1)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., 1)"""
        value: Tensor = self.value(x)
        return value * functional.leaky_relu(self.gate(x), SLOPE)


def leaky(_width: int) -> nn.Module:
    """The activation of every layer."""
    return nn.LeakyReLU(SLOPE)
