"""DIN: past events weighted by what they have to do with the target."""

from __future__ import annotations

import torch
from torch import Tensor

from ranking.layers import ACTIVATIONS, Histories, RankerInputs, TargetAttention
from ranking.rankers.config import Widths
from ranking.rankers.interest_ranker import InterestConfig, InterestRanker


class DinConfig(InterestConfig):
    """The paper's attention unit has one hidden layer, of 36."""

    attention_mlp: Widths = (36,)
    softmax: bool = False
    "Attention weights that sum to 1; the paper's do not."


class Din(InterestRanker):
    """Zhou et al., "Deep Interest Network", KDD 2018: logit = mlp([profile, context, a, sum_t alpha_t h_t])."""

    def __init__(
        self, config: DinConfig, inputs: RankerInputs, device: torch.device | str = "meta", *, appended: int = 0
    ) -> None:
        super().__init__(config, inputs, device, appended=appended)
        self.attention = TargetAttention(
            inputs.history_width, config.attention_mlp, ACTIVATIONS[config.activation], softmax=config.softmax
        )

    def interest(self, histories: Histories) -> Tensor:
        """sum_t alpha_t h_t (B, C)"""
        out: Tensor = self.attention(histories)
        return out
