"""The paper's body: hybrid representation, one user-video encoder a modality, bilinear fusion (SegMM, section 4).

Legend: B views, T their segments, H distinct users, R0 distinct seen segments, D width, E width of vectors.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segrec.encoders.segment_interest_config import SegmentInterestConfig
from segrec.layers.bilinear_fusion import BilinearFusion
from segrec.layers.byte_dropout import ByteDropout
from segrec.layers.hybrid_attention import Groups
from segrec.layers.interest_encoder import InterestEncoder
from segrec.segments.batching import SegmentBatch
from segrec.segments.content import ContentTokens

_NORM_EPSILON = 1e-12


class Tokens(nn.Module):
    """LayerNorm(x + learned embedding of the place), then dropout: how both sides enter the encoder."""

    def __init__(self, places: int, width: int, dropout: float) -> None:
        super().__init__()
        self.place = nn.Embedding(places, width)
        self.norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.dropout = ByteDropout(dropout)

    def forward(self, tokens_TD: Tensor, place_T: Tensor) -> Tensor:
        """(T, D), (T,) -> (T, D)."""
        tokens: Tensor = self.dropout(self.norm(tokens_TD + self.place(place_T)))
        return tokens


class IdTokens(nn.Module):
    """V_id = concat(item D/2, segment position D/2), U_id = the user's row: one token a user (SegMM, 4.2)."""

    def __init__(self, config: SegmentInterestConfig, slots: int) -> None:
        super().__init__()
        half = config.width // 2
        self.mode = config.item_position
        self.position = nn.Linear(1, half) if self.mode == "linear" else nn.Embedding(slots, half)
        self.video = Tokens(slots, config.width, config.dropout)
        self.user = Tokens(1, config.width, config.dropout)

    def forward(self, batch: SegmentBatch, item_BD: Tensor, user_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Items (B, D/2) and users (B, D) -> V (T, D), U (H, D): each distinct user once."""
        item_TD = item_BD[batch.view_T]
        if self.mode == "linear":
            position_TD = self.position(batch.position_T.unsqueeze(1).to(item_TD.dtype))
        elif self.mode == "embedding":
            position_TD = self.position(batch.position_T)
        else:
            position_TD = torch.zeros_like(item_TD)
        video_TD = self.video(torch.cat([item_TD, position_TD], dim=1), batch.position_T)
        user_HD = user_BD[batch.user_first_H]
        return video_TD, self.user(user_HD, torch.zeros_like(batch.user_first_H))

    def groups(self, batch: SegmentBatch) -> Groups:
        """One user token a view."""
        lengths = batch.lengths_B if batch.padded else None
        return Groups(batch.views, batch.segments, (1,) * len(batch.views), batch.user_B, lengths)


class ContentSide(nn.Module):
    """V_vis and U_vis: content vectors of the video's segments and of those that the user saw, E -> D each."""

    def __init__(self, config: SegmentInterestConfig, slots: int, vector_width: int) -> None:
        super().__init__()
        self.norm = config.vector_norm
        self.video_in = nn.Linear(vector_width, config.width)
        self.user_in = nn.Linear(vector_width, config.width)
        self.unknown = nn.Parameter(torch.zeros(config.width))
        "Stands for a segment without a vector."
        self.video = Tokens(slots, config.width, config.dropout)
        self.user = Tokens(config.history_segments, config.width, config.dropout)

    def forward(self, batch: SegmentBatch, content: ContentTokens) -> tuple[Tensor, Tensor]:
        """V (T, D), U (R0, D): each distinct history once."""
        vectors_QE = normed(content.vectors_QE, self.norm)
        known_QD = torch.cat([self.video_in(vectors_QE), self.unknown.unsqueeze(0)])
        video_TD = self.video(known_QD[content.video_T], batch.position_T)
        user_RD = self.user_in(vectors_QE)[content.history_R0]
        return video_TD, self.user(user_RD, content.age_R0)

    def groups(self, batch: SegmentBatch, content: ContentTokens) -> Groups:
        """As many user tokens as the view's history has segments."""
        lengths = batch.lengths_B if batch.padded else None
        return Groups(batch.views, batch.segments, batch.seen, content.user_rows_R, lengths)


class AttentionBody(nn.Module):
    """Scores of segments as the paper prints them, without the position bias."""

    def __init__(self, config: SegmentInterestConfig, slots: int, vector_width: int, context_width: int) -> None:
        super().__init__()
        with_ids = config.modalities != "visual" or vector_width == 0
        with_content = config.modalities != "id" and vector_width > 0
        self.ids = IdTokens(config, slots) if with_ids else None
        self.content = ContentSide(config, slots, vector_width) if with_content else None
        self.id_encoder = _encoder(config) if with_ids else None
        self.content_encoder = _encoder(config) if with_content else None
        self.context = nn.Linear(context_width, config.width) if context_width else None
        both = with_ids and with_content
        self.fusion = BilinearFusion(config.width, config.fusion_heads, config.squash_fusion) if both else None
        self.single = None if both else nn.Linear(config.width, 1)

    def forward(self, batch: SegmentBatch, features: dict[str, Tensor], context_BC: Tensor | None) -> Tensor:
        """(T,) scores: the higher, the more interest."""
        context_TD = None
        if self.context is not None and context_BC is not None:
            context_TD = self.context(context_BC)[batch.view_T]
        sides = []
        if self.ids is not None:
            video, user = self.ids(batch, features["item_id"], features["user_id"])
            sides.append(_encoded(self.id_encoder, _plus(video, context_TD), user, self.ids.groups(batch)))
        if self.content is not None:
            assert batch.content is not None
            video, user = self.content(batch, batch.content)
            groups = self.content.groups(batch, batch.content)
            sides.append(_encoded(self.content_encoder, _plus(video, context_TD), user, groups))
        if self.fusion is not None:
            fused: Tensor = self.fusion(*sides)
            return fused
        assert self.single is not None
        single: Tensor = self.single(sides[0]).squeeze(1)
        return single


def _plus(video_TD: Tensor, context_TD: Tensor | None) -> Tensor:
    return video_TD if context_TD is None else video_TD + context_TD


def _encoded(encoder: nn.Module | None, video_TD: Tensor, user_RD: Tensor, groups: Groups) -> Tensor:
    if encoder is None:
        return video_TD
    encoded: Tensor = encoder(video_TD, user_RD, groups)
    return encoded


def normed(vectors_QE: Tensor, norm: str) -> Tensor:
    """Vectors divided by their norm: l2 (then times sqrt(E): values near 1), l1 as the authors do, or as they are."""
    if norm == "none":
        return vectors_QE
    if norm == "l1":
        return vectors_QE / (vectors_QE.abs().sum(dim=1, keepdim=True) + 1e-6)
    unit_QE: Tensor = F.normalize(vectors_QE, dim=1) * math.sqrt(vectors_QE.shape[1])
    return unit_QE


def _encoder(config: SegmentInterestConfig) -> InterestEncoder | None:
    if config.attention == "none":
        return None
    return InterestEncoder(
        config.width,
        config.heads,
        config.layers,
        mode=config.attention,
        inner=config.inner_width or config.width,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        drop_last=config.discard_last_layer,
    )
