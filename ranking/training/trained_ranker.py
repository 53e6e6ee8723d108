"""A ranker and its loss as one module: what is distributed, pipelined and trained."""

from __future__ import annotations

from torch import Tensor, nn

from ranking.batching import RankingBatch
from ranking.rankers.ranker import Ranker
from ranking.training.label_loss import LabelLoss
from segrec.tables import world_size

RANKER = "ranker."
"Where the ranker's own names begin in this module's state."


class TrainedRanker(nn.Module):
    """batch -> (loss, logits); TorchRec's pipelines go backward from the first.

    In training, loss is this process's part of the global mean, times the number of processes (see
    `LabelLoss`), plus what the ranker adds (`Ranker.auxiliary`). In evaluation it is 0: labels may be
    unknown.
    """

    def __init__(self, ranker: nn.Module, label_loss: LabelLoss) -> None:
        super().__init__()
        self.ranker, self.label_loss = ranker, label_loss
        self._inner = [part for part in ranker.modules() if isinstance(part, Ranker)]

    def forward(self, batch: RankingBatch) -> tuple[Tensor, Tensor]:
        """Loss (scalar) and logits, (B,) or (B, K)."""
        logits: Tensor = self.ranker(batch)
        if not self.training:
            return logits.new_zeros(()), logits
        loss: Tensor = self.label_loss(logits, batch.labels, batch.global_rows, batch.weights)
        for part in self._inner:
            if part.auxiliary is not None:  # a mean over this process's rows
                loss = loss + part.auxiliary * (batch.rows * world_size() / batch.global_rows)
        return loss, logits
