"""Rankers whose ids have a first-order weight beside their embedding: the settings and the head that they share."""

from __future__ import annotations

import torch
from torch import nn

from ranking.layers import WEIGHT_COLUMNS
from ranking.rankers.config import RankerConfig
from segrec.tables import TableSpec


class FirstOrderConfig(RankerConfig):
    """`embedding_dim` is the width of an id's vector; its row in the table holds the weight besides."""

    def table_template(self) -> TableSpec:
        """Rows of vector and weight."""
        return super().table_template().model_copy(update={"dim": self.embedding_dim + WEIGHT_COLUMNS})


def summing_head(width: int, terms: int) -> nn.Linear:
    """A head over `width` hidden values; weights of the first `terms`, parts of the logit already, start at 1."""
    head = nn.Linear(width, 1)
    with torch.no_grad():
        head.weight[0, :terms] = 1.0
    return head
