"""DIEN: interests behind past events, and how they moved towards the target."""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from ranking.layers import Evolved, Histories, InterestEvolution, RankerInputs, next_event_loss
from ranking.rankers.interest_ranker import InterestConfig, InterestRanker


class DienConfig(InterestConfig):
    """The recurrent states are as wide as an event: the auxiliary loss multiplies the two."""

    auxiliary_weight: NonNegativeFloat = 1.0
    "Of the auxiliary loss beside the cross-entropy of the label; 0 = without."


class Dien(InterestRanker):
    """Zhou et al., "Deep Interest Evolution Network", AAAI 2019: logit = mlp([profile, context, a, z_T])."""

    def __init__(
        self, config: DienConfig, inputs: RankerInputs, device: torch.device | str = "meta", *, appended: int = 0
    ) -> None:
        super().__init__(config, inputs, device, appended=appended)
        self.evolution, self.auxiliary_weight = InterestEvolution(inputs.history_width), config.auxiliary_weight

    def interest(self, histories: Histories) -> Tensor:
        """z_T (B, C)"""
        evolved: Evolved = self.evolution(histories)
        if self.training and self.auxiliary_weight:
            loss = next_event_loss(evolved.states, histories.past, histories.valid)
            self.auxiliary = self.auxiliary_weight * loss
        return evolved.final
