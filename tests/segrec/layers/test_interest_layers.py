"""Fusion, position bias, dropout and the stack of levels, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segrec.layers.bilinear_fusion import BilinearFusion, PositionBias
from segrec.layers.byte_dropout import ByteDropout
from segrec.layers.hybrid_attention import Groups
from segrec.layers.interest_encoder import InterestEncoder


def fusion(squash: bool = False) -> BilinearFusion:
    layer = BilinearFusion(2, 2, squash)
    with torch.no_grad():
        layer.first.weight.copy_(torch.tensor([[1.0, 2.0]]))
        layer.first.bias.fill_(0.5)
        layer.second.weight.copy_(torch.tensor([[3.0, 4.0]]))
        layer.form.copy_(torch.tensor([[[10.0]], [[100.0]]]))
    return layer


def test_fusion_by_hand() -> None:
    """x = (1, 2), y = (3, 4): .5 + (1 + 4) + (9 + 16) + 10 * 3 + 100 * 8."""
    found = fusion()(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
    assert found.tolist() == [0.5 + 5 + 25 + 30 + 800]


def test_squashed_fusion_is_eq_6() -> None:
    zero = torch.zeros(1, 2)
    assert fusion(squash=True)(zero, zero).item() == pytest.approx(1 / (1 + math.exp(-0.5)))


def test_position_bias_is_zero_at_first_then_linear() -> None:
    bias, place = PositionBias(3), torch.tensor([0, 1, 2])
    assert bias(place).tolist() == [0, 0, 0]
    with torch.no_grad():
        bias.weight.fill_(2.0)
        bias.bias.fill_(-1.0)
    assert bias(place).tolist() == [1, 3, 5]


def test_position_bias_per_slot_by_hand() -> None:
    bias = PositionBias(3, per_slot=True)
    with torch.no_grad():
        bias.weight.copy_(torch.tensor([1.0, 10.0, 100.0]))
        bias.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(bias(torch.tensor([2, 0])), torch.tensor([300.3, 1.1]))


def test_byte_dropout_keeps_the_mean_and_repeats_with_the_seed() -> None:
    layer, values = ByteDropout(0.25), torch.ones(100_003)
    torch.manual_seed(1)
    first = layer(values)
    torch.manual_seed(1)
    assert torch.equal(first, layer(values))
    assert first.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert first.mean().item() == pytest.approx(1.0, abs=0.01)
    assert (first == 0).double().mean().item() == pytest.approx(0.25, abs=0.01)


def test_byte_dropout_leaves_values_alone_in_evaluation() -> None:
    values = torch.ones(5)
    assert ByteDropout(0.9).eval()(values) is values


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_a_view_does_not_depend_on_its_neighbours(lengths: list[int]) -> None:
    torch.manual_seed(0)
    encoder = InterestEncoder(8, 2, 2, mode="hybrid", inner=8, dropout=0.0).eval()
    draw = torch.Generator().manual_seed(1)
    videos = [torch.randn(n, 8, generator=draw) for n in lengths]
    users = torch.randn(len(lengths), 8, generator=draw)
    ones = [1] * len(lengths)
    together = encoder(torch.cat(videos), users, Groups(ones, lengths, ones)).split(lengths)
    for place, video in enumerate(videos):
        alone = encoder(video, users[place : place + 1], Groups([1], [len(video)], [1]))
        torch.testing.assert_close(together[place], alone, rtol=1e-4, atol=1e-5)


def test_released_encoder_discards_its_last_layer() -> None:
    """One configured layer acts as none; two act as the first of two."""
    video, user, groups = torch.randn(3, 8), torch.randn(1, 8), Groups([1], [3], [1])
    one = InterestEncoder(8, 2, 1, mode="hybrid", inner=8, dropout=0.0, drop_last=True)
    assert torch.equal(one(video, user, groups), video)
    two = InterestEncoder(8, 2, 2, mode="hybrid", inner=8, dropout=0.0, drop_last=True).eval()
    alone = InterestEncoder(8, 2, 1, mode="hybrid", inner=8, dropout=0.0).eval()
    alone.load_state_dict(two.state_dict())
    assert torch.equal(two(video, user, groups), alone(video, user, groups))


def test_self_attention_ignores_the_user() -> None:
    encoder = InterestEncoder(8, 2, 2, mode="self", inner=8, dropout=0.0).eval()
    video, groups = torch.randn(3, 8), Groups([1], [3], [1])
    assert torch.equal(encoder(video, torch.zeros(1, 8), groups), encoder(video, torch.ones(1, 8), groups))
