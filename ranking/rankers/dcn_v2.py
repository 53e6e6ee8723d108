"""DCN-V2: a cross network and an MLP, side by side or one after the other."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from ranking.layers import CrossNetwork, Mlp, RankerInputs
from ranking.rankers.config import RankerConfig
from ranking.rankers.ranker import Ranker


class DcnV2Config(RankerConfig):
    """The papers' DCN-M is this model too."""

    structure: Literal["parallel", "stacked"] = "parallel"
    cross_layers: NonNegativeInt = 2
    cross_rank: PositiveInt | None = None
    "Rank of the cross weights; null = full."
    mlp: tuple[PositiveInt, ...] = (64,)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2


class DcnV2(Ranker):
    """Wang et al., "DCN V2", WWW 2021.

    parallel: hidden = [cross(x_0), mlp(x_0)]; stacked: hidden = mlp(cross(x_0)); logit = w^T hidden + b.
    """

    def __init__(self, config: DcnV2Config, inputs: RankerInputs, device: torch.device | str = "meta") -> None:
        super().__init__(inputs, device)
        width = inputs.width
        self.structure = config.structure
        self.cross = CrossNetwork(width, config.cross_layers, config.cross_rank)
        self.mlp = Mlp(width, config.mlp, config.dropout)
        beside = width if config.structure == "parallel" and config.mlp else 0
        self.head = nn.Linear(self.mlp.width + beside, 1)

    def hidden(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., H)"""
        crossed = self.cross(x)
        if self.structure == "stacked" or not len(self.mlp.layers):
            deep: Tensor = self.mlp(crossed)
            return deep
        return torch.cat([crossed, self.mlp(x)], dim=-1)
