"""The multi-modal encoder's stack for one modality: attention and feed-forward layers, post-norm (SegMM, 4.3)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from segrec.layers.byte_dropout import ByteDropout
from segrec.layers.hybrid_attention import Groups, HybridAttention

_NORM_EPSILON = 1e-12


class FeedForward(nn.Module):
    """LayerNorm(x + W_2 GELU(W_1 x)), D -> inner -> D."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.inside = nn.Sequential(
            nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width), ByteDropout(dropout)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width, eps=_NORM_EPSILON)

    def forward(self, tokens_TD: Tensor) -> Tensor:
        """(T, D) -> (T, D)."""
        normed: Tensor = self.norm(tokens_TD + self.inside(tokens_TD))
        return normed


class InterestLayer(nn.Module):
    """One level: attention of both sides, residual, norm; then feed-forward, residual, norm."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mode: Literal["hybrid", "self", "cross"],
        inner: int,
        dropout: float,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention = HybridAttention(width, heads, mode, attention_dropout)
        self.dropout = ByteDropout(dropout)
        self.video_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.user_norm = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.video_forward = FeedForward(width, inner, dropout)
        self.user_forward = FeedForward(width, inner, dropout)

    def forward(self, video_TD: Tensor, user_RD: Tensor, groups: Groups, *, with_user: bool) -> tuple[Tensor, Tensor]:
        """(V (T, D), U (R, D)) of the next level; U is empty without `with_user`."""
        new_video, new_user = self.attention(video_TD, user_RD, groups, with_user=with_user)
        video = self.video_forward(self.video_norm(video_TD + self.dropout(new_video)))
        if not with_user:
            return video, new_user
        old_user = user_RD if groups.user_rows_R is None else user_RD[groups.user_rows_R]
        return video, self.user_forward(self.user_norm(old_user + self.dropout(new_user)))


class InterestEncoder(nn.Module):
    """`layers` levels; returns the segments' side of the last one.

    `self` leaves the user's side out (it could not reach the segments). `drop_last` is the authors' released
    behaviour: they collect each level's input and return the last collected, so the last level's output is discarded;
    6 layers act as 5, 1 as none.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        *,
        mode: Literal["hybrid", "self", "cross"],
        inner: int,
        dropout: float,
        attention_dropout: float = 0.0,
        drop_last: bool = False,
    ) -> None:
        super().__init__()
        acting = layers - 1 if drop_last else layers
        self.layers = nn.ModuleList(
            InterestLayer(width, heads, mode=mode, inner=inner, dropout=dropout, attention_dropout=attention_dropout)
            for _ in range(acting)
        )
        self.user_matters = mode != "self"

    def forward(self, video_TD: Tensor, user_RD: Tensor, groups: Groups) -> Tensor:
        """(T, D) -> (T, D)."""
        video, user = video_TD, user_RD
        for level, layer in enumerate(self.layers):
            with_user = self.user_matters and level + 1 < len(self.layers)
            video, user = layer(video, user, groups, with_user=with_user)
            groups = groups.by_view()
        return video
