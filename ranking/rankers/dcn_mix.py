"""DCN-Mix: DCN-V2 with a mixture of low-rank experts in each cross layer."""

from __future__ import annotations

import torch
from pydantic import PositiveInt

from ranking.layers import CrossMixture, RankerInputs
from ranking.rankers.cross_and_mlp import CrossAndMlp, CrossAndMlpConfig


class DcnMixConfig(CrossAndMlpConfig):
    """The paper's experts share nothing but the bias; each layer has a gate of its own."""

    experts: PositiveInt = 4
    expert_rank: PositiveInt = 32
    share_gate: bool = False
    "One gate for all cross layers, as torch-rechub and deepctr-torch have it."


class DcnMix(CrossAndMlp):
    """Wang et al., "DCN V2", WWW 2021, eq. 3 and 4."""

    def __init__(self, config: DcnMixConfig, inputs: RankerInputs, device: torch.device | str = "meta") -> None:
        super().__init__(inputs, device)
        cross = CrossMixture(
            inputs.width, config.cross_layers, config.expert_rank, config.experts, share_gate=config.share_gate
        )
        self._join(config, inputs.width, cross)
