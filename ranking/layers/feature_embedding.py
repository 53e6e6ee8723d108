"""Embeddings of all ids and bags and the dense columns as one vector a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchrec.sparse.jagged_tensor import KeyedTensor

from ranking.batching import RankingBatch
from segrec.tables import TableSpec, bags


@dataclass(frozen=True)
class RankerInputs:
    """What a ranker's input looks like."""

    tables: tuple[TableSpec, ...]
    features: tuple[str, ...]
    "Ids and bags in the order of their embeddings."
    dense_width: int
    extra_width: int = 0
    "Columns that a wrapper appends to the embedded row (a segment's position)."

    @property
    def width(self) -> int:
        """Columns of an embedded row, extra ones included."""
        return sum(self.widths) + self.dense_width + self.extra_width

    @property
    def widths(self) -> tuple[int, ...]:
        """Embedding width of each feature."""
        dims = {feature: table.dim for table in self.tables for feature in table.features}
        return tuple(dims[feature] for feature in self.features)


class FeatureEmbedding(nn.Module):
    """x_0 = [e_1, ..., e_F, dense]: pooled embeddings by feature name, whatever the sharding plan.

    Input: a batch; output (B, sum of widths + D).
    """

    def __init__(self, inputs: RankerInputs, device: torch.device | str = "meta") -> None:
        super().__init__()
        self.tables = bags(inputs.tables, device=device)
        self.features = list(inputs.features)

    def forward(self, batch: RankingBatch) -> Tensor:
        """(B, sum of widths + D)"""
        embedded = self.tables(batch.sparse)
        return torch.cat([KeyedTensor.regroup([embedded], [self.features])[0], batch.dense], dim=1)


def one_table_each(names: Sequence[str], rows: Sequence[int], template: TableSpec) -> tuple[TableSpec, ...]:
    """A table a feature, all like `template` but for name, rows and feature."""
    return tuple(
        template.model_copy(update={"name": f"{place:02d}_{_plain(name)}", "rows": count, "features": (name,)})
        for place, (name, count) in enumerate(zip(names, rows, strict=True))
    )


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in name)
