"""DCN-V2: a cross network and an MLP, side by side or one after the other."""

from __future__ import annotations

import torch
from pydantic import PositiveInt

from ranking.layers import CrossNetwork, RankerInputs
from ranking.rankers.cross_and_mlp import CrossAndMlp, CrossAndMlpConfig


class DcnV2Config(CrossAndMlpConfig):
    """The papers' DCN-M is this model too."""

    cross_rank: PositiveInt | None = None
    "Rank of the cross weights; null = full."


class DcnV2(CrossAndMlp):
    """Wang et al., "DCN V2", WWW 2021, eq. 1 and 2."""

    def __init__(self, config: DcnV2Config, inputs: RankerInputs, device: torch.device | str = "meta") -> None:
        super().__init__(inputs, device)
        self._join(config, inputs.width, CrossNetwork(inputs.width, config.cross_layers, config.cross_rank))
