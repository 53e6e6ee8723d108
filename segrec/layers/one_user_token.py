"""Joint attention where the user's side is a single token: no padding of keys, no copies, small products only.

Legend: b views of one group with n segments each; h heads of width e.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class OneUserSide:
    """A side's six projections, (tokens, h, e) each: queries for own and other tokens, keys and values for both."""

    own_query: Tensor
    other_query: Tensor
    own_key: Tensor
    own_value: Tensor
    other_key: Tensor
    other_value: Tensor

    @classmethod
    def of(cls, projected: Tensor, heads: int) -> OneUserSide:
        """From (tokens, 6 D)."""
        return cls(*projected.view(len(projected), 6, heads, -1).unbind(1))

    def split(self, sizes: Sequence[int]) -> list[OneUserSide]:
        """The groups' parts."""
        parts = [getattr(self, name).split_with_sizes(list(sizes)) for name in self.__dataclass_fields__]
        return [OneUserSide(*part) for part in zip(*parts, strict=True)]


def attend_videos(videos: OneUserSide, users: OneUserSide, views: Sequence[int], segments: Sequence[int]) -> Tensor:
    """V' before the output layer, (T, D): softmax over [own segments, the user's token]."""
    video_sizes = [b * n for b, n in zip(views, segments, strict=True)]
    found = [
        _videos_of(video, user, b, n)
        for video, user, b, n in zip(videos.split(video_sizes), users.split(views), views, segments, strict=True)
    ]
    return torch.cat(found)


def attend_users(videos: OneUserSide, users: OneUserSide, views: Sequence[int], segments: Sequence[int]) -> Tensor:
    """U' before the output layer, (B, D): softmax over [the user's token, the segments]."""
    video_sizes = [b * n for b, n in zip(views, segments, strict=True)]
    found = [
        _users_of(video, user, b, n)
        for video, user, b, n in zip(videos.split(video_sizes), users.split(views), views, segments, strict=True)
    ]
    return torch.cat(found)


def _videos_of(video: OneUserSide, user: OneUserSide, b: int, n: int) -> Tensor:
    scale = video.own_query.shape[2] ** -0.5
    query, key, value = (
        _by_view(part, b, n).transpose(1, 2) for part in (video.own_query * scale, video.own_key, video.own_value)
    )
    to_own = query @ key.transpose(2, 3)  # (b, h, n, n)
    asked = _by_view(video.other_query, b, n) * (user.other_key * scale).unsqueeze(1)
    to_user = asked.sum(dim=3).transpose(1, 2).unsqueeze(3)  # (b, h, n, 1)
    shares = torch.cat([to_own, to_user], dim=3).softmax(dim=3)
    told = shares[..., :n] @ value + shares[..., n:] * user.other_value.unsqueeze(2)
    joined: Tensor = told.transpose(1, 2).reshape(b * n, -1)
    return joined


def _users_of(video: OneUserSide, user: OneUserSide, b: int, n: int) -> Tensor:
    scale = user.own_query.shape[2] ** -0.5
    to_own = (user.own_query * user.own_key).sum(dim=2).unsqueeze(1)  # (b, 1, h)
    to_video = (user.other_query.unsqueeze(1) * _by_view(video.other_key, b, n)).sum(dim=3)  # (b, n, h)
    shares = (torch.cat([to_own, to_video], dim=1) * scale).softmax(dim=1).unsqueeze(3)
    told: Tensor = (shares[:, 1:] * _by_view(video.other_value, b, n)).sum(dim=1) + shares[:, 0] * user.own_value
    return told.flatten(1)


def _by_view(tokens: Tensor, b: int, n: int) -> Tensor:
    return tokens.view(b, n, *tokens.shape[1:])
