"""Rankers that join a cross network and an MLP: the settings and the body that they share."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from ranking.layers import Mlp
from ranking.rankers.config import RankerConfig
from ranking.rankers.ranker import Ranker


class CrossAndMlpConfig(RankerConfig):
    """The cross network's own settings follow."""

    structure: Literal["parallel", "stacked"] = "parallel"
    cross_layers: NonNegativeInt = 2
    mlp: tuple[PositiveInt, ...] = (64,)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2


class CrossAndMlp(Ranker):
    """parallel: hidden = [cross(x_0), mlp(x_0)]; stacked: hidden = mlp(cross(x_0)); logit = w^T hidden + b."""

    def _join(self, config: CrossAndMlpConfig, width: int, cross: nn.Module) -> None:
        """Sets the parts: `cross` maps (..., width) to (..., width)."""
        self.structure, self.cross = config.structure, cross
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
