"""What every ranker is: embed -> hidden -> head; knows nothing of files, devices, optimizers, sharding or loss."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ranking.batching import RankingBatch
from ranking.layers import Embedded, FeatureEmbedding, RankerInputs
from ranking.rankers.multi_task import TaskHead
from segrec.tables import TableSpec


class Ranker(nn.Module, ABC):
    """logit = w^T hidden(x) + b with x = embed(batch) = assemble(lookup(batch)).

    A ranker sets `embedding` and `head` and defines `hidden`. The three parts let a wrapper (segment weighting)
    share the backbone's work among the segments of a row; what follows `lookup` is dense and can be exported.
    """

    embedding: FeatureEmbedding
    head: nn.Linear | TaskHead
    "Of one label, or of K."

    specs: tuple[TableSpec, ...]
    "Of all tables inside."
    auxiliary: Tensor | None = None
    "What the last forward pass in training mode adds to the loss (DIEN): a mean over this process's rows, scalar."

    def __init__(self, inputs: RankerInputs, device: torch.device | str = "meta") -> None:
        super().__init__()
        self.embedding = FeatureEmbedding(inputs, device)
        self.specs = inputs.all_tables

    def embed(self, batch: RankingBatch) -> Tensor:
        """x_0 (B, D)"""
        return self.assemble(self.lookup(batch))

    def lookup(self, batch: RankingBatch) -> Embedded:
        """All that comes out of tables."""
        embedded: Embedded = self.embedding(batch)
        return embedded

    def assemble(self, embedded: Embedded) -> Tensor:
        """x_0 (B, D) from tensors alone; a ranker of histories appends what it makes of them."""
        return embedded.row

    @abstractmethod
    def hidden(self, x: Tensor) -> Tensor:
        """(..., D + extra) -> (..., H)"""

    def logits(self, x: Tensor) -> Tensor:
        """(..., D + extra) -> (...), or (..., K) of several labels."""
        return self.out(self.hidden(x))

    def out(self, hidden: Tensor) -> Tensor:
        """w^T hidden + b: (..., H) -> (...), as sums of products, which autocast leaves in float32; or each label's."""
        if isinstance(self.head, TaskHead):
            return self.head.forward(hidden)
        return (hidden * self.head.weight[0]).sum(dim=-1) + self.head.bias[0]

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B,), or (B, K)."""
        return self.logits(self.embed(batch))
