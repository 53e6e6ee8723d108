"""Rankers that read histories: the settings and the body that they share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from ranking.features import FeatureConfig
from ranking.layers import ACTIVATIONS, ActivationName, Embedded, Histories, Mlp, RankerInputs
from ranking.rankers.config import RankerConfig, with_history
from ranking.rankers.ranker import Ranker


class InterestConfig(RankerConfig):
    """Histories of 50 events unless `features.history.length` says otherwise."""

    mlp: tuple[PositiveInt, ...] = (256, 128)
    activation: ActivationName = "dice"
    "Of all perceptrons. dice normalises by the batch; under relu and prelu a row's step does not depend on the others."
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def feature_config(self) -> FeatureConfig:
        """Features with histories."""
        return with_history(self.features)


class InterestRanker(Ranker):
    """hidden = mlp([e_1, ..., e_F, dense, interest]) with the interest in the target that the past events show."""

    def __init__(
        self, config: InterestConfig, inputs: RankerInputs, device: torch.device | str = "meta", *, appended: int = 0
    ) -> None:
        """:param appended: columns that `assemble` appends besides the interest."""
        super().__init__(inputs, device)
        width = inputs.width + inputs.history_width + appended
        self.mlp = Mlp(width, config.mlp, config.dropout, ACTIVATIONS[config.activation])
        self.head = nn.Linear(self.mlp.width, 1)

    @abstractmethod
    def interest(self, histories: Histories) -> Tensor:
        """(B, C), 0 for a row without events."""

    def assemble(self, embedded: Embedded) -> Tensor:
        """[e, dense, interest] (B, D)"""
        assert embedded.histories is not None
        return torch.cat([embedded.row, self.interest(embedded.histories)], dim=1)

    def hidden(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., H)"""
        out: Tensor = self.mlp(x)
        return out
