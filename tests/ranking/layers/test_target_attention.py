"""DIN's activation unit: by hand, blind to padding, 0 without a past, and equal to three packages' units."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ranking.layers import Histories
from ranking.layers.activations import ACTIVATIONS, Dice
from ranking.layers.target_attention import TargetAttention, masked_softmax

WIDTH, UNITS = 3, (6, 4)


def random_histories(lengths, longest, seed=0, width=WIDTH):
    generator = torch.Generator().manual_seed(seed)
    valid = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    past = torch.randn(len(lengths), longest, width, generator=generator) * valid[:, :, None]
    return Histories(torch.randn(len(lengths), width, generator=generator), past, valid)


def unit_of(widths=UNITS, activation="relu", *, softmax=False):
    torch.manual_seed(3)
    return TargetAttention(WIDTH, widths, ACTIVATIONS[activation], softmax=softmax).eval()


def by_hand_unit(*, softmax):
    """alpha = relu(a + 10 h + 100 (a - h) + 1000 a h) * 2 + 1"""
    unit = TargetAttention(1, (1,), ACTIVATIONS["relu"], softmax=softmax)
    with torch.no_grad():
        unit.layers[0].weight.copy_(torch.tensor([[1.0, 10.0, 100.0, 1000.0]]))
        unit.layers[0].bias.zero_()
        unit.out.weight.fill_(2.0)
        unit.out.bias.fill_(1.0)
    return unit


def test_by_hand_without_a_softmax():
    valid = torch.tensor([[True, True, False]])
    histories = Histories(torch.tensor([[2.0]]), torch.tensor([[[3.0], [-1.0], [9.0]]]), valid)
    # h = 3: 2 + 30 - 100 + 6000 = 5932, alpha 11865; h = -1: 2 - 10 + 300 - 2000 < 0, alpha 1
    assert by_hand_unit(softmax=False)(histories).item() == pytest.approx(11865 * 3 - 1)


def test_by_hand_with_a_softmax():
    valid = torch.tensor([[True, True, False]])
    histories = Histories(torch.tensor([[0.0]]), torch.tensor([[[-0.01], [0.0], [5.0]]]), valid)
    # scores 2 * .9 + 1 and 1
    weight = math.exp(2.8) / (math.exp(2.8) + math.exp(1))
    assert by_hand_unit(softmax=True)(histories).item() == pytest.approx(-0.01 * weight)


def test_masked_softmax_by_hand():
    valid = torch.tensor([[True, True, False], [False, False, False]])
    weights = masked_softmax(torch.tensor([[0.0, math.log(3), 50.0], [1.0, 2.0, 3.0]]), valid)
    assert weights.tolist() == [pytest.approx([0.25, 0.75, 0.0]), [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("softmax", [False, True])
@settings(deadline=None, max_examples=20)
@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=5), padding=st.integers(0, 3), seed=st.integers(0, 999))
def test_equals_the_sum_over_true_events(softmax, lengths, padding, seed):
    """Row by row, event by event, from the concatenated input; what stands in padding changes nothing."""
    unit, longest = unit_of(softmax=softmax), max(*lengths, 1) + padding
    histories = random_histories(lengths, longest, seed)
    stuffed = histories._replace(past=torch.where(histories.valid[:, :, None], histories.past, 7.0))
    plain = nn.Sequential(unit.layers[0], nn.ReLU(), unit.layers[1], nn.ReLU(), unit.out)
    for row, length in enumerate(lengths):
        target, events = histories.target[row], histories.past[row, :length]
        scores = [plain(torch.cat([target, event, target - event, target * event])) for event in events]
        if softmax and scores:
            scores = torch.softmax(torch.cat(scores), dim=0)
        expected = sum((score * event for score, event in zip(scores, events, strict=True)), torch.zeros(WIDTH))
        for given_histories in (histories, stuffed):
            torch.testing.assert_close(unit(given_histories)[row], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("softmax", [False, True])
def test_nobody_has_a_past(activation, softmax):
    unit, histories = unit_of(activation=activation, softmax=softmax).train(), random_histories([0, 0], 1)
    past = histories.past.requires_grad_()
    found = unit(histories._replace(past=past))
    found.sum().backward()
    assert found.tolist() == [[0.0] * WIDTH] * 2
    assert torch.isfinite(past.grad).all()
    assert all(torch.isfinite(weight.grad).all() for weight in unit.parameters())


def test_dice_sees_true_events_only():
    """Statistics of the unit's Dice do not depend on how far a batch is padded."""
    short, long = unit_of(activation="dice").train(), unit_of(activation="dice").train()
    torch.testing.assert_close(short(random_histories([2, 1], 2)), long(_padded(random_histories([2, 1], 2), 5)))
    torch.testing.assert_close(short.state_dict(), long.state_dict())
    assert short.activations[0].mean.abs().min() > 0


def _padded(histories, places):
    return Histories(
        histories.target,
        nn.functional.pad(histories.past, (0, 0, 0, places)),
        nn.functional.pad(histories.valid, (0, places)),
    )


def copy_linears(unit, theirs):
    """Theirs: the linear layers in order, the last one to a score."""
    for mine, other in zip([*unit.layers, unit.out], theirs, strict=True):
        mine.load_state_dict(other.state_dict())


@pytest.mark.parametrize("softmax", [False, True])
def test_same_as_deepctr(softmax):
    sequence = pytest.importorskip(
        "deepctr_torch.layers.sequence", reason="deepctr-torch is not installed (extra: bench)"
    )
    theirs = sequence.AttentionSequencePoolingLayer(
        UNITS, att_activation="dice", weight_normalization=softmax, embedding_dim=WIDTH
    ).eval()
    unit, local = unit_of(activation="dice", softmax=softmax), theirs.local_att
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in (*local.parameters(), *(layer.bn.running_mean for layer in local.dnn.activation_layers)):
            weight.copy_(0.5 * torch.randn_like(weight))
        for mine, other in zip(unit.activations, local.dnn.activation_layers, strict=True):
            other.bn.weight.fill_(1.0)
            other.bn.bias.zero_()
            other.bn.running_var.copy_(torch.rand_like(other.bn.running_var) + 0.5)
            mine.alpha.copy_(other.alpha[:, 0])
            mine.mean.copy_(other.bn.running_mean)
            mine.variance.copy_(other.bn.running_var)
            mine.eps = other.bn.eps
    copy_linears(unit, [*local.dnn.linears, local.dense])
    histories = random_histories([4, 2, 1, 3], 4)
    lengths = histories.valid.sum(dim=1, keepdim=True)
    expected = theirs(histories.target[:, None], histories.past, lengths)[:, 0]
    torch.testing.assert_close(unit(histories), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("softmax", [False, True])
def test_same_as_torch_rechub_on_full_histories(softmax):
    """Theirs sums over padding too, and its Dice is not the paper's: full histories, relu, its batch-norm at start."""
    din = pytest.importorskip("torch_rechub.models.ranking.din", reason="torch-rechub is not installed (extra: bench)")
    theirs = din.ActivationUnit(WIDTH, list(UNITS), activation="relu", use_softmax=softmax).eval()
    norms = [layer for layer in theirs.attention.modules() if isinstance(layer, nn.BatchNorm1d)]
    for norm in norms:
        norm.eps = 0.0
    unit = unit_of(softmax=softmax)
    copy_linears(unit, [layer for layer in theirs.attention.modules() if isinstance(layer, nn.Linear)])
    histories = random_histories([4] * 5, 4)
    expected = theirs(histories.past, histories.target)
    torch.testing.assert_close(unit(histories), expected, atol=1e-5, rtol=1e-5)


def test_same_as_fuxictr_in_training():
    """Their Dice counts padding: with full histories the batch's statistics agree as well."""
    attentions = pytest.importorskip(
        "fuxictr.pytorch.layers.attentions", reason="fuxictr is not installed (extra: bench)"
    )
    theirs = attentions.DIN_Attention(WIDTH, list(UNITS), hidden_activations="Dice")
    unit = unit_of(activation="dice").train()
    copy_linears(unit, [layer for layer in theirs.modules() if isinstance(layer, nn.Linear)])
    for dice in unit.activations:
        assert isinstance(dice, Dice)
        dice.eps, dice.momentum = 1e-9, 0.01
    histories = random_histories([4] * 6, 4)
    for _ in range(2):
        expected = theirs(histories.target, histories.past, histories.valid)
        torch.testing.assert_close(unit(histories), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        unit.eval()(histories), theirs.eval()(histories.target, histories.past), atol=1e-5, rtol=1e-5
    )
