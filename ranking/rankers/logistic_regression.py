"""Logistic regression over one-hot ids and dense columns."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from ranking.layers import RankerInputs
from ranking.rankers.config import RankerConfig
from ranking.rankers.ranker import Ranker


class LogisticRegressionConfig(RankerConfig):
    """Weights of ids are rows of tables."""

    embedding_dim: Annotated[int, Field(gt=0, multiple_of=4)] = 4
    "TorchRec's kernels want a multiple of 4; the weight of an id is the mean of its row."
    table_learning_rate: PositiveFloat = 0.1
    table_eps: PositiveFloat = 0.03
    "Large, so that weights of rare ids stay near 0 (Adagrad's first step would not depend on their gradient)."
    learning_rate: PositiveFloat = 3e-3
    table_init_std: NonNegativeFloat = 0.0


class LogisticRegression(Ranker):
    """logit = sum_f w_f(x_f) + w^T dense + b; a bag counts with the mean of its ids' weights.

    hidden = [sum_f w_f(x_f), dense], where w_f(x_f) is the mean of the row's columns (all equal: they start at 0 and
    share their gradient); the head's weight of that sum starts at 1.
    """

    def __init__(
        self, config: LogisticRegressionConfig, inputs: RankerInputs, device: torch.device | str = "meta"
    ) -> None:
        super().__init__(inputs, device)
        self.embedded_width, self.dim = sum(inputs.widths), config.embedding_dim
        self.head = nn.Linear(1 + inputs.width - self.embedded_width, 1)
        nn.init.zeros_(self.head.weight)
        self.head.weight.data[0, 0] = 1.0

    def hidden(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., 1 + dense)"""
        ids, dense = x[..., : self.embedded_width], x[..., self.embedded_width :]
        return torch.cat([ids.sum(dim=-1, keepdim=True) / self.dim, dense], dim=-1)
