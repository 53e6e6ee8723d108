"""A ranker and its loss as one module: what is distributed, pipelined and trained."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from ranking.batching import RankingBatch
from ranking.rankers.ranker import Ranker
from ranking.training.label_loss import LabelLoss
from segrec.tables import world_size

WEIGHTS = "model.safetensors"
"Of a run folder: the ranker's part of this module's state, by the ranker's own names, tables whole."


class TrainedRanker(nn.Module):
    """batch -> (loss, logits); TorchRec's pipelines go backward from the first.

    In training, loss is this process's part of the global mean, times the number of processes (see
    `LabelLoss`), plus what the ranker adds (`Ranker.auxiliary`), in fp32. In evaluation it is 0: labels may be
    unknown; and the ranker computes in fp32, as it will when it predicts.
    """

    def __init__(self, ranker: nn.Module, label_loss: LabelLoss, *, bf16_on: str | None = None) -> None:
        """:param bf16_on: type of the device on which matrix products of the training are bf16; None: fp32."""
        super().__init__()
        self.ranker, self.label_loss = ranker, label_loss
        self._autocast = None if bf16_on is None else torch.autocast(bf16_on, torch.bfloat16)
        self._inner = [part for part in ranker.modules() if isinstance(part, Ranker)]

    def forward(self, batch: RankingBatch) -> tuple[Tensor, Tensor]:
        """Loss (scalar) and logits, (B,) or (B, K)."""
        if isinstance(batch, Proxy):  # TorchRec looks for the look-ups, to start them ahead of their turn
            found: tuple[Tensor, Tensor] = self._look_ups(batch)
            return found
        if not self.training:
            answers: Tensor = self.ranker(batch)
            return answers.new_zeros(()), answers
        with self._autocast or nullcontext():
            logits: Tensor = self.ranker(batch)
        logits = logits.float()
        loss: Tensor = self.label_loss(logits, batch.labels, batch.global_rows, batch.weights)
        for part in self._inner:
            if part.auxiliary is not None:  # a mean over this process's rows
                loss = loss + part.auxiliary * (batch.rows * world_size() / batch.global_rows)
        return loss, logits

    def _look_ups(self, batch: RankingBatch) -> Any:
        return [part.embedding.look_ups(batch) for part in self._inner]
