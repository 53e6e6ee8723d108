"""User-video attention against a float64 loop written from the equations."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from segrec.layers.hybrid_attention import Groups, HybridAttention

WIDTH, HEADS = 8, 2
HEAD = WIDTH // HEADS
Mode = Literal["hybrid", "self", "cross"]


def blocks(tokens: Tensor, linear: torch.nn.Linear) -> list[list[Tensor]]:
    """[block][head] -> (tokens, e) of one side's projections."""
    projected = tokens.double() @ linear.weight.double().T + linear.bias.double()
    return [
        [part[:, head * HEAD : (head + 1) * HEAD] for head in range(HEADS)] for part in projected.split(WIDTH, dim=1)
    ]


def attend(query: list[Tensor], pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Loop over queries: softmax over all (query block i . key block i) / sqrt(e), sum of the values."""
    out = torch.zeros(query[0].shape[0], HEAD, dtype=torch.float64)
    for row in range(out.shape[0]):
        logits = [float(q[row] @ key) / HEAD**0.5 for q, (keys, _) in zip(query, pairs, strict=True) for key in keys]
        values = [value for _, found in pairs for value in found]
        weights = torch.tensor(logits, dtype=torch.float64).exp()
        for weight, value in zip(weights / weights.sum(), values, strict=True):
            out[row] += weight * value
    return out


@torch.no_grad()
def by_loop(layer: HybridAttention, video: Tensor, user: Tensor) -> tuple[Tensor, Tensor]:
    """(V', U') of one view."""
    v, u = blocks(video, layer.video), blocks(user, layer.user)
    sides = []
    for own, other, out in ((v, u, layer.video_out), (u, v, layer.user_out)):
        heads = []
        for head in range(HEADS):
            if layer.mode == "hybrid":
                queries = [own[0][head], own[1][head]]
                pairs = [(own[2][head], own[3][head]), (other[4][head], other[5][head])]
            elif layer.mode == "self":
                queries, pairs = [own[0][head]], [(own[1][head], own[2][head])]
            else:
                queries, pairs = [own[0][head]], [(other[1][head], other[2][head])]
            heads.append(attend(queries, pairs))
        sides.append(torch.cat(heads, dim=1) @ out.weight.double().T + out.bias.double())
    return sides[0], sides[1]


@pytest.fixture
def layer(request: pytest.FixtureRequest) -> HybridAttention:
    torch.manual_seed(3)
    return HybridAttention(WIDTH, HEADS, request.param, dropout=0.0).eval()


def tokens(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("layer", ["hybrid", "self", "cross"], indirect=True)
@pytest.mark.parametrize("sizes", [[(2, 3, 2), (1, 5, 4)], [(1, 1, 1), (2, 4, 1)], [(3, 2, 3)]])
def test_agrees_with_the_loop(layer: HybridAttention, sizes: list[tuple[int, int, int]]) -> None:
    views, segments, seen = (list(part) for part in zip(*sizes, strict=True))
    video, user = tokens(sum(b * n for b, n, _ in sizes), 1), tokens(sum(b * m for b, _, m in sizes), 2)
    found_video, found_user = layer(video, user, Groups(views, segments, seen), with_user=True)
    at, there = 0, 0
    for b, n, m in sizes:
        for _ in range(b):
            wanted_video, wanted_user = by_loop(layer, video[at : at + n], user[there : there + m])
            torch.testing.assert_close(found_video[at : at + n].double(), wanted_video, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(found_user[there : there + m].double(), wanted_user, rtol=1e-5, atol=1e-5)
            at, there = at + n, there + m


@pytest.mark.parametrize("layer", ["hybrid", "cross"], indirect=True)
def test_distinct_users_are_spread_over_their_views(layer: HybridAttention) -> None:
    """Two views of user 0 around one of user 1: the same as giving each view its own copy of the token."""
    video, users, rows = tokens(9, 1), tokens(2, 2), torch.tensor([0, 1, 0])
    shared = layer(video, users, Groups([3], [3], [1], rows), with_user=True)
    copied = layer(video, users[rows], Groups([3], [3], [1]), with_user=True)
    for part, wanted in zip(shared, copied, strict=True):
        torch.testing.assert_close(part, wanted)


@pytest.mark.parametrize("layer", ["hybrid", "self", "cross"], indirect=True)
def test_padding_is_never_looked_at(layer: HybridAttention) -> None:
    """A view of 3 segments in 5 slots: its 3 results are those without padding, whatever the padding holds."""
    video, user = tokens(3, 1), tokens(2, 2)
    plain, plain_user = layer(video, user, Groups([1], [3], [2]), with_user=True)
    filled = torch.cat([video, 1e3 * tokens(2, 4)])
    groups = Groups([1], [5], [2], None, torch.tensor([3]))
    padded, padded_user = layer(filled, user, groups, with_user=True)
    torch.testing.assert_close(padded[:3], plain)
    torch.testing.assert_close(padded_user, plain_user)


@pytest.mark.parametrize("layer", ["hybrid"], indirect=True)
def test_a_view_without_user_tokens_attends_to_itself(layer: HybridAttention) -> None:
    video = tokens(3, 1)
    found, user = layer(video, video[:0], Groups([1], [3], [0]), with_user=True)
    wanted, _ = by_loop(layer, video, video[:0])
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    assert user.shape == (0, WIDTH)


@pytest.mark.parametrize("layer", ["cross"], indirect=True)
def test_a_query_without_any_key_gets_the_output_layers_bias(layer: HybridAttention) -> None:
    video = tokens(2, 1)
    found, _ = layer(video, video[:0], Groups([1], [2], [0]), with_user=False)
    torch.testing.assert_close(found, layer.video_out.bias.expand(2, -1))


def test_dropout_on_probabilities_acts_in_training_only() -> None:
    torch.manual_seed(3)
    layer = HybridAttention(WIDTH, HEADS, "hybrid", dropout=0.5)
    video, user, groups = tokens(6, 1), tokens(2, 2), Groups([2], [3], [1])
    first, again = (layer(video, user, groups, with_user=False)[0] for _ in range(2))
    assert not torch.equal(first, again)
    layer.eval()
    torch.testing.assert_close(layer(video, user, groups, with_user=False)[0][:3].double(),
                               by_loop(layer, video[:3], user[:1])[0], rtol=1e-5, atol=1e-5)  # fmt: skip


def test_gradients_of_both_ways_agree() -> None:
    """One user token a view has a way of its own: same gradients as the fused one."""
    torch.manual_seed(3)
    layer, groups = HybridAttention(WIDTH, HEADS, "hybrid", dropout=0.0), Groups([2, 1], [3, 2], [1, 1])
    masked = Groups([2, 1], [3, 2], [1, 1], None, torch.tensor([3, 3, 2]))
    found = []
    for way in (groups, masked):
        video, user = tokens(8, 1).requires_grad_(), tokens(3, 2).requires_grad_()
        new_video, new_user = layer(video, user, way, with_user=True)
        (new_video.square().sum() + new_user.square().sum()).backward()
        found.append((video.grad, user.grad))
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
