"""What every ranker is: embed -> hidden -> head; knows nothing of files, devices, optimizers, sharding or loss."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ranking.batching import RankingBatch
from ranking.layers import FeatureEmbedding, RankerInputs


class Ranker(nn.Module, ABC):
    """logit = w^T hidden(x) + b with x = embed(batch).

    A ranker sets `embedding` and `head` and defines `hidden`. The three parts let a wrapper (segment weighting)
    share the backbone's work among the segments of a row.
    """

    embedding: FeatureEmbedding
    head: nn.Linear

    def __init__(self, inputs: RankerInputs, device: torch.device | str = "meta") -> None:
        super().__init__()
        self.embedding = FeatureEmbedding(inputs, device)

    def embed(self, batch: RankingBatch) -> Tensor:
        """x_0 (B, D)"""
        embedded: Tensor = self.embedding(batch)
        return embedded

    @abstractmethod
    def hidden(self, x: Tensor) -> Tensor:
        """(..., D + extra) -> (..., H)"""

    def logits(self, x: Tensor) -> Tensor:
        """(..., D + extra) -> (...)"""
        out: Tensor = self.head(self.hidden(x)).squeeze(-1)
        return out

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B,)."""
        return self.logits(self.embed(batch))
