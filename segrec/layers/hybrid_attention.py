"""User-video attention of SegMM: each side's queries attend to both sides under one softmax.

Legend: a batch is a run of groups; a group is b views with n segments and m user tokens each, so nothing is padded.
T = sum of b * n segments, R = sum of b * m user tokens, both view after view; D width, h heads, e = D / h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segrec.layers.one_user_token import OneUserSide, attend_users, attend_videos

AttentionMode = Literal["hybrid", "self", "cross", "none"]


@dataclass(frozen=True)
class Groups:
    """How the tokens of a batch fall into views, and where user tokens come from."""

    views: Sequence[int]
    "b of each group; groups follow each other in the order of the tokens."
    segments: Sequence[int]
    "n of each group."
    user_tokens: Sequence[int]
    "m of each group."
    user_rows_R: Tensor | None = None
    "(R,) rows of the distinct user tokens that enter the first layer; None: they lie view by view already."
    lengths_B: Tensor | None = None
    "(B,) true lengths where the n segments of a view hold padding (never a key); None: no padding."

    def by_view(self) -> Groups:
        """The same groups for user tokens that lie view by view (after the first layer)."""
        return Groups(self.views, self.segments, self.user_tokens, None, self.lengths_B)


@dataclass(frozen=True)
class _Side:
    """One side's projections, (tokens, h, e) or (tokens, h, 2e); None where a mode has no use for them."""

    query: Tensor
    own: tuple[Tensor, Tensor] | None
    "Keys and values for this side's own queries."
    other: tuple[Tensor, Tensor] | None
    "Keys and values for the other side's queries."
    counts: Sequence[int]
    "Tokens of a view in each group."
    valid: Sequence[Tensor | None]
    "(b, n) per group: tokens that are no padding; None: all."

    def rows(self, rows: Tensor) -> _Side:
        """The tokens at `rows`."""
        own = None if self.own is None else (self.own[0][rows], self.own[1][rows])
        other = None if self.other is None else (self.other[0][rows], self.other[1][rows])
        return _Side(self.query[rows], own, other, self.counts, self.valid)


class HybridAttention(nn.Module):
    r"""SegMM, section 4.3, with the authors' four separate q/k/v triples (V->V, V->U, U->V, U->U).

    V' = softmax([A_VV, A_VU] / sqrt(e)) [val_VV(V); val_VU(U)] and U' = softmax([A_UU, A_UV] / sqrt(e)) [val_UU(U);
    val_UV(V)], then an output layer a side. (The paper prints A_VU in U': the shapes force A_UV.) Mode `self` keeps
    A_VV and A_UU, `cross` A_VU and A_UV. Where a query has no key at all the result is 0 before the output layer.
    Dropout is on the probabilities.
    """

    def __init__(self, width: int, heads: int, mode: Literal["hybrid", "self", "cross"], dropout: float) -> None:
        super().__init__()
        self.heads, self.mode, self.dropout = heads, mode, dropout
        self.head = width // heads
        self.blocks = 6 if mode == "hybrid" else 3
        self.video = nn.Linear(width, self.blocks * width)
        "hybrid: q_VV, q_VU, k_VV, v_VV, k_UV, v_UV; self: q_VV, k_VV, v_VV; cross: q_VU, k_UV, v_UV."
        self.user = nn.Linear(width, self.blocks * width)
        "The same with the sides exchanged."
        self.video_out = nn.Linear(width, width)
        self.user_out = nn.Linear(width, width)

    def forward(self, video_TD: Tensor, user_RD: Tensor, groups: Groups, *, with_user: bool) -> tuple[Tensor, Tensor]:
        """(V' (T, D), U' (R, D)); without `with_user` U' is empty: after the last layer nobody asks for it.

        `user_RD` are the distinct user tokens when `groups.user_rows_R` is given: projected once, then spread.
        """
        if self._one_user_token(groups):
            return self._joined_with_one(video_TD, user_RD, groups, with_user=with_user)
        video = self._side(self.video(video_TD), groups.segments, _valid(groups))
        if self.mode == "self" and not with_user:
            return self.video_out(self._attend(video, None, groups.views)), user_RD[:0]
        user = self._side(self.user(user_RD), groups.user_tokens, [None] * len(groups.views))
        if groups.user_rows_R is not None:
            user = user.rows(groups.user_rows_R)
        new_video = self.video_out(self._attend(video, user, groups.views))
        if not with_user:
            return new_video, user_RD[:0]
        return new_video, self.user_out(self._attend(user, video, groups.views))

    def _one_user_token(self, groups: Groups) -> bool:
        plain = self.mode == "hybrid" and groups.lengths_B is None and not (self.training and self.dropout > 0)
        return plain and all(m == 1 for m in groups.user_tokens) and all(n > 0 for n in groups.segments)

    def _joined_with_one(
        self, video_TD: Tensor, user_RD: Tensor, groups: Groups, *, with_user: bool
    ) -> tuple[Tensor, Tensor]:
        """The same as the general way, for one user token a view."""
        projected = self.user(user_RD)
        if groups.user_rows_R is not None:
            projected = projected.index_select(0, groups.user_rows_R)
        video, user = OneUserSide.of(self.video(video_TD), self.heads), OneUserSide.of(projected, self.heads)
        new_video = self.video_out(attend_videos(video, user, groups.views, groups.segments))
        if not with_user:
            return new_video, user_RD[:0]
        return new_video, self.user_out(attend_users(video, user, groups.views, groups.segments))

    def _side(self, projected: Tensor, counts: Sequence[int], valid: Sequence[Tensor | None]) -> _Side:
        """Splits heads. In `hybrid` a query is [q_own | q_other], an own key [k | 0], a key for the other side [0 | k]:
        the dot product picks the right pair, so that one fused attention does the joint softmax.
        """
        parts = projected.view(len(projected), self.blocks, self.heads, self.head).unbind(1)
        if self.mode != "hybrid":
            query, key, value = parts
            own, other = ((key, value), None) if self.mode == "self" else (None, (key, value))
            return _Side(query, own, other, counts, valid)
        own_query, other_query, own_key, own_value, other_key, other_value = parts
        after, before = (0, self.head), (self.head, 0)
        return _Side(
            torch.cat([own_query, other_query], dim=2),
            (F.pad(own_key, after), F.pad(own_value, after)),
            (F.pad(other_key, before), F.pad(other_value, after)),
            counts,
            valid,
        )

    def _attend(self, asking: _Side, asked: _Side | None, views: Sequence[int]) -> Tensor:
        """What the queries of `asking` find in its own tokens and in those of `asked`, (tokens of `asking`, D)."""
        queries = asking.query.split_with_sizes([b * n for b, n in zip(views, asking.counts, strict=True)])
        sources = [_grouped(asking.own, asking, views)]
        if asked is not None:
            sources.append(_grouped(asked.other, asked, views))
        found = []
        for group, (b, n) in enumerate(zip(views, asking.counts, strict=True)):
            parts = [part for source in sources if (part := source[group]) is not None]
            if not parts or n == 0:
                found.append(queries[group].new_zeros(b * n, self.heads * self.head))
                continue
            result = F.scaled_dot_product_attention(
                queries[group].view(b, n, *queries[group].shape[1:]).transpose(1, 2),
                torch.cat([part.key for part in parts], dim=1).transpose(1, 2),
                torch.cat([part.value for part in parts], dim=1).transpose(1, 2),
                attn_mask=_mask(parts),
                dropout_p=self.dropout if self.training else 0.0,
                scale=self.head**-0.5,
            )
            found.append(result[..., : self.head].transpose(1, 2).reshape(b * n, -1))
        return torch.cat(found)


@dataclass(frozen=True)
class _Keys:
    """Keys and values of one side in one group: (b, c, h, e), and which are no padding."""

    key: Tensor
    value: Tensor
    valid: Tensor | None


def _grouped(pair: tuple[Tensor, Tensor] | None, side: _Side, views: Sequence[int]) -> list[_Keys | None]:
    if pair is None:
        return [None] * len(views)
    sizes = [b * c for b, c in zip(views, side.counts, strict=True)]
    keys, values = pair[0].split_with_sizes(sizes), pair[1].split_with_sizes(sizes)
    return [
        _Keys(key.view(b, c, *key.shape[1:]), value.view(b, c, *value.shape[1:]), valid) if c else None
        for key, value, b, c, valid in zip(keys, values, views, side.counts, side.valid, strict=True)
    ]


def _valid(groups: Groups) -> list[Tensor | None]:
    if groups.lengths_B is None:
        return [None] * len(groups.views)
    lengths = groups.lengths_B.split_with_sizes(list(groups.views))
    return [
        torch.arange(n, device=own.device) < own.unsqueeze(1) for own, n in zip(lengths, groups.segments, strict=True)
    ]


def _mask(parts: Sequence[_Keys]) -> Tensor | None:
    """(b, 1, 1, keys), True where a query may look."""
    if all(part.valid is None for part in parts):
        return None
    known = [
        part.key.new_ones(part.key.shape[:2], dtype=torch.bool) if part.valid is None else part.valid for part in parts
    ]
    return torch.cat(known, dim=1)[:, None, None, :]
