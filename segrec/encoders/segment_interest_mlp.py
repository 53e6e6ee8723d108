"""Our body: ids, context and history to one hidden vector a view, joined to each segment's place and priors.

Legend: B views, T their segments, D width, K columns known of a segment, E width of vectors.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segrec.encoders.segment_interest_attention import normed
from segrec.encoders.segment_interest_config import SegmentInterestConfig
from segrec.layers.byte_dropout import ByteDropout
from segrec.segments.batching import SegmentBatch
from segrec.segments.content import ContentTokens


class MlpBody(nn.Module):
    """score_s = w . GELU(A GELU(W x + K known_s + P_s + L_left + content_s)); starts at 0 everywhere.

    Position counts from both ends: P by segments before, L by segments left, so the last segment of a short and of a
    long video differ. Content enters as the segment's vector and its match with what the user has watched.
    """

    def __init__(
        self, config: SegmentInterestConfig, slots: int, vector_width: int, view_width: int, known_width: int
    ) -> None:
        super().__init__()
        width = config.width
        self.view = nn.Linear(view_width, width)
        self.known = nn.Linear(known_width, width, bias=False)
        self.place = nn.Embedding(slots, width)
        self.left = nn.Embedding(slots + 1, width)
        with_content = vector_width > 0 and config.modalities != "id"
        self.taste = TasteMatch(config, vector_width) if with_content else None
        self.dropout = ByteDropout(config.dropout)
        self.hidden = nn.Linear(width, width)
        self.score = nn.Linear(width, 1)
        for table in (self.place, self.left):
            nn.init.normal_(table.weight, std=0.05)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, batch: SegmentBatch, view_BX: Tensor) -> Tensor:
        """(T,) scores: the higher, the more likely the view goes on."""
        left_T = (batch.lengths_B[batch.view_T] - batch.position_T).clamp(min=0)
        joined_TD = self.view(self.dropout(view_BX))[batch.view_T] + self.known(_shrunk(batch.known_TK))
        joined_TD = joined_TD + self.place(batch.position_T) + self.left(left_T)
        if self.taste is not None and batch.content is not None:
            joined_TD = joined_TD + self.taste(batch, batch.content)
        hidden_TD = self.dropout(F.gelu(self.hidden(self.dropout(F.gelu(joined_TD)))))
        scores: Tensor = self.score(hidden_TD).squeeze(1)
        return scores


class TasteMatch(nn.Module):
    """A segment's content and how well it fits the user's taste: W_1 v + W_2 (A v * taste).

    taste = B mean(seen) + C sum(surprise * seen) / (1 + sum |surprise|) over the user's past segments; surprise =
    expected minus observed exit, so the second part is the direction in which one step of learning by this user's own
    past would move a linear taste.
    """

    def __init__(self, config: SegmentInterestConfig, vector_width: int) -> None:
        super().__init__()
        self.norm = config.vector_norm
        self.segment = nn.Linear(vector_width, 2 * config.width)
        self.taste = nn.Linear(vector_width, 2 * config.width)
        self.match = nn.Linear(config.width, config.width)

    def forward(self, batch: SegmentBatch, content: ContentTokens) -> Tensor:
        """(T, D); 0 for a segment without a vector, and no match for a user who has seen nothing."""
        vectors_QE = normed(content.vectors_QE, self.norm)
        own_QD, asked_QD = self.segment(vectors_QE).chunk(2, dim=1)
        known_T = content.video_T >= 0
        row_T = content.video_T.clamp(min=0)
        if vectors_QE.shape[0] == 0:
            return torch.zeros(len(known_T), self.match.in_features, device=vectors_QE.device)
        taste_BD = self._taste(vectors_QE, content)
        match_TD = self.match(asked_QD[row_T] * taste_BD[batch.view_T])
        told_TD: Tensor = own_QD[row_T] + match_TD
        return torch.where(known_T.unsqueeze(1), told_TD, 0.0)

    def _taste(self, vectors_QE: Tensor, content: ContentTokens) -> Tensor:
        seen_R = content.history_R0[content.user_rows_R]
        offsets_B = content.counts_B.cumsum(0) - content.counts_B
        surprise_R = content.surprise_R0[content.user_rows_R]
        plain_QD, learned_QD = self.taste(vectors_QE).chunk(2, dim=1)
        mean_BD = F.embedding_bag(seen_R, plain_QD, offsets_B, mode="mean")
        sum_BD = F.embedding_bag(seen_R, learned_QD, offsets_B, mode="sum", per_sample_weights=surprise_R)
        view_R = torch.repeat_interleave(content.counts_B)
        size_B = torch.zeros_like(sum_BD[:, 0]).index_add(0, view_R, surprise_R.abs())
        taste_BD: Tensor = mean_BD + sum_BD / (1 + size_B).unsqueeze(1)
        return taste_BD


def _shrunk(known_TK: Tensor) -> Tensor:
    """Column 0, log-odds, brought to the size of the others."""
    return torch.cat([known_TK[:, :1].clamp(-6, 3) / 2, known_TK[:, 1:]], dim=1)
