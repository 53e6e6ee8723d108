"""SegRec: a ranker's logits for the segments of an item, weighted by frozen segment scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ranking.batching import RankingBatch
from ranking.rankers.config import ScoresConfig
from ranking.rankers.multi_task import TaskHead
from ranking.rankers.ranker import Ranker


class SegmentWeighting(nn.Module):
    """y = sum_i a_i y_i over the N valid segments of an item (SegMM, SIGIR 2025); BCE after the sum.

    a = softmax(p / temperature) over valid segments ("segrec"), all 1 ("segsum"), or one trained weight a position,
    shared by all rows, starting at 1 / S ("segadjust"). p are the row's frozen scores; without any, a is uniform.

    y_i is the backbone's logit for segment i with position embedding e_i, which enters
    - at the head: y_i = (w + A e_i)^T h + c^T e_i + b with h = hidden(x), so that all segments cost one row; A and c
      start at 0;
    - at the input: y_i = logit([x, e_i]), computed for valid segments only; x is embedded once a row.

    A backbone of K tasks (`TaskHead`) gets y_ik for each: the weights a_i and positions e_i are shared, A_k and c_k are
    a task's own, h is its tower's last layer.

    Input: a batch with scores (B, S) and segments (B,); output (B,), or (B, K).
    """

    def __init__(self, config: ScoresConfig, backbone: Ranker) -> None:
        super().__init__()
        self.backbone, self.weighting = backbone, config.weighting
        self.at_input, self.temperature = config.enter == "input", config.temperature
        self.positions = nn.Embedding(config.max_segments, config.position_width)
        if not self.at_input:
            turned = backbone.head.weight.shape[0] * (backbone.head.in_features + 1)
            self.turn = nn.Linear(config.position_width, turned, bias=False)
            nn.init.zeros_(self.turn.weight)
        if self.weighting == "segadjust":
            self.adjust = nn.Parameter(torch.full((config.max_segments,), 1.0 / config.max_segments))

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B,) or (B, K)."""
        assert batch.scores is not None
        assert batch.segments is not None
        slots = torch.arange(batch.scores.shape[1], device=batch.scores.device)
        valid_BS = slots[None] < batch.segments[:, None]
        x = self.backbone.embed(batch)
        logits = self._at_input(x, valid_BS) if self.at_input else self._at_head(x, batch.scores.shape[1])
        weights, valid = self.weights(batch.scores, valid_BS), valid_BS
        if logits.dim() == 3:  # (B, S, K)
            weights, valid = weights[..., None], valid[..., None]
        return (weights * logits).masked_fill(~valid, 0.0).sum(dim=1)

    def weights(self, scores_BS: Tensor, valid_BS: Tensor) -> Tensor:
        """a (B, S), 0 outside valid segments."""
        if self.weighting == "segrec":
            masked = (scores_BS / self.temperature).masked_fill(~valid_BS, float("-inf"))
            return torch.softmax(masked, dim=1)
        if self.weighting == "segadjust":
            return self.adjust[: scores_BS.shape[1]] * valid_BS
        return valid_BS.to(scores_BS.dtype)

    def _at_head(self, x: Tensor, slots: int) -> Tensor:
        head, hidden, turned = self.backbone.head, self.backbone.hidden(x), self.turn(self.positions.weight[:slots])
        if isinstance(head, TaskHead):
            features, turned = head.features(hidden), turned.unflatten(1, (len(head.towers), -1))  # (S, K, T + 1)
            moved: Tensor = torch.einsum("bkt,skt->bsk", features, turned[..., :-1]) + turned[..., -1]
            return head.logits(features)[:, None] + moved
        # turned: (S, H + 1)
        return self.backbone.out(hidden)[:, None] + torch.addmm(turned[:, -1], hidden, turned[:, :-1].T)

    def _at_input(self, x: Tensor, valid_BS: Tensor) -> Tensor:
        rows, slots = valid_BS.nonzero(as_tuple=True)
        logits = self.backbone.logits(torch.cat([x[rows], self.positions(slots)], dim=1))
        return logits.new_zeros((*valid_BS.shape, *logits.shape[1:])).index_put((rows, slots), logits)
