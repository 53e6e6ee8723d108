"""A ranker whose ids come and go: keys become rows before it sees the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from ranking.batching import RankingBatch
from segrec.tables import TableSpec
from segrec.tables.managed_ids import ManagedIds


class ManagedRanker(nn.Module):
    """`ranker` behind `ManagedIds` of those of its tables that are managed."""

    def __init__(self, ranker: nn.Module, tables: Sequence[TableSpec]) -> None:
        super().__init__()
        self.ids = ManagedIds(tables)
        self.ranker = ranker

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits of the ranker."""
        logits: Tensor = self.ranker(replace(batch, sparse=self.ids(batch.sparse)))
        return logits
