"""Our body: ids, context and history to one hidden vector a view, joined to each segment's place and priors.

Legend: B views, T their segments, D width, K columns known of a segment, E width of vectors.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segrec.encoders.segment_interest_attention import normed
from segrec.encoders.segment_interest_config import SegmentInterestConfig
from segrec.segments.batching import SegmentBatch
from segrec.segments.content import ContentTokens


class MlpBody(nn.Module):
    """score_s = w . GELU(W h + P_s + L_left + K known_s + content_s), h = the view's trunk; starts at 0 everywhere.

    Position counts from both ends: P by segments before, L by segments left, so the last segment of a short and of a
    long video differ. Content enters as the segment's vector times the user's taste (mean of what was seen before).
    """

    def __init__(
        self, config: SegmentInterestConfig, slots: int, vector_width: int, view_width: int, known_width: int
    ) -> None:
        super().__init__()
        width = config.width
        self.trunk = nn.Sequential(
            nn.Linear(view_width, 2 * width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * width, width),
        )
        self.place = nn.Embedding(slots, width)
        self.left = nn.Embedding(slots + 1, width)
        self.known = nn.Linear(known_width, width, bias=False)
        with_content = vector_width > 0 and config.modalities != "id"
        self.taste = TasteMatch(config, vector_width) if with_content else None
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(width, width)
        self.score = nn.Linear(width, 1)
        for table in (self.place, self.left):
            nn.init.normal_(table.weight, std=0.1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, batch: SegmentBatch, view_BX: Tensor) -> Tensor:
        """(T,) scores: the higher, the more likely the view goes on."""
        left_T = (batch.lengths_B[batch.view_T] - 1 - batch.position_T).clamp(min=0)
        joined_TD = self.trunk(view_BX)[batch.view_T] + self.place(batch.position_T) + self.left(left_T)
        joined_TD = joined_TD + self.known(batch.known_TK)
        if self.taste is not None and batch.content is not None:
            joined_TD = joined_TD + self.taste(batch, batch.content)
        hidden_TD = F.gelu(self.hidden(self.dropout(F.gelu(joined_TD))))
        scores: Tensor = self.score(hidden_TD).squeeze(1)
        return scores


class TasteMatch(nn.Module):
    """A segment's content, and how well it fits what the user has watched: W_1 v + W_2 (A v * B mean(seen))."""

    def __init__(self, config: SegmentInterestConfig, vector_width: int) -> None:
        super().__init__()
        self.norm = config.vector_norm
        self.segment = nn.Linear(vector_width, 2 * config.width)
        self.taste = nn.Linear(vector_width, config.width)
        self.match = nn.Linear(config.width, config.width)

    def forward(self, batch: SegmentBatch, content: ContentTokens) -> Tensor:
        """(T, D); 0 for a segment without a vector, and no match for a user who has seen nothing."""
        vectors_QE = normed(content.vectors_QE, self.norm)
        own_QD, asked_QD = self.segment(vectors_QE).chunk(2, dim=1)
        known_T = content.video_T >= 0
        row_T = content.video_T.clamp(min=0)
        if vectors_QE.shape[0] == 0:
            return own_QD.new_zeros(len(known_T), own_QD.shape[1])
        taste_BD = self._taste(vectors_QE, content)
        match_TD = self.match(asked_QD[row_T] * taste_BD[batch.view_T])
        return torch.where(known_T.unsqueeze(1), own_QD[row_T] + match_TD, 0.0)

    def _taste(self, vectors_QE: Tensor, content: ContentTokens) -> Tensor:
        seen_R = content.history_R0[content.user_rows_R]
        offsets_B = content.counts_B.cumsum(0) - content.counts_B
        mean_BD: Tensor = F.embedding_bag(seen_R, self.taste(vectors_QE), offsets_B, mode="mean")
        return mean_BD
