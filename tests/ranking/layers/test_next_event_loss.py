"""DIEN's auxiliary loss: by hand, negatives of other rows that never are the positive, and torch-rechub's."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.layers.next_event_loss import events_of_others, next_event_loss


def softplus(value):
    return math.log1p(math.exp(value))


def valid_of(lengths, longest=None):
    return torch.arange(longest or max(*lengths, 1))[None] < torch.tensor(lengths)[:, None]


def test_by_hand():
    """Row 1 has three events, row 2 a single one: the only negative there is."""
    past = torch.tensor([[[1.0], [2.0], [-1.0]], [[0.5], [9.0], [9.0]]])
    states = torch.tensor([[[3.0], [0.25], [7.0]], [[7.0], [7.0], [7.0]]])
    first = softplus(-3 * 2) + softplus(3 * 0.5)
    second = softplus(0.25) + softplus(0.25 * 0.5)
    found = next_event_loss(states, past, valid_of([3, 1]))
    assert found.item() == pytest.approx((first + second) / 2 / 2)  # mean over two pairs, then over two rows


def test_the_positive_is_no_negative():
    past = torch.tensor([[[1.0], [2.0]], [[2.0], [0.0]]])  # the other row's event is the next event itself
    states = torch.full((2, 2, 1), 3.0)
    assert next_event_loss(states, past, valid_of([2, 1], 2)).item() == pytest.approx(softplus(-6) / 2)


def test_alone_only_the_positive_is_left():
    states, past = torch.full((1, 2, 1), 3.0), torch.tensor([[[1.0], [2.0]]])
    assert next_event_loss(states, past, valid_of([2])).item() == pytest.approx(softplus(-6))


@pytest.mark.parametrize("lengths", [[], [0], [1], [0, 1, 1]])
def test_nothing_to_predict(lengths):
    valid = torch.arange(1)[None] < torch.tensor(lengths, dtype=torch.long)[:, None]
    states = torch.randn(len(lengths), 1, 2, requires_grad=True)
    loss = next_event_loss(states, torch.randn(len(lengths), 1, 2), valid)
    loss.backward()
    assert loss.item() == 0.0
    assert states.grad.abs().sum() == 0.0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 2), st.integers(0, 999))
def test_drawn_events_are_true_events_of_other_rows(lengths, padding, seed):
    valid = valid_of(lengths, max(*lengths, 1) + padding)
    torch.manual_seed(seed)
    drawn, found = events_of_others(valid)
    assert found.tolist() == [sum(lengths) > length for length in lengths]
    rows = torch.arange(len(lengths))[:, None].expand_as(drawn)
    assert valid.flatten()[drawn[found]].all()
    assert (drawn[found] // valid.shape[1] != rows[found]).all()


def test_all_events_of_others_have_equal_chances():
    valid = valid_of([2, 3, 0, 1])
    torch.manual_seed(0)
    counts = torch.zeros(4, 12)
    for _ in range(3000):
        drawn, _ = events_of_others(valid)
        for row in range(4):
            counts[row] += torch.bincount(drawn[row], minlength=12)
    shares = counts / counts.sum(dim=1, keepdim=True)
    expected = valid.flatten()[None] * (torch.arange(12)[None] // 3 != torch.arange(4)[:, None])
    expected = expected / expected.sum(dim=1, keepdim=True)
    assert (shares - expected).abs().max() < 0.02


def test_draws_repeat_with_the_seed():
    valid, draws = valid_of([3, 4, 2]), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(events_of_others(valid)[0])
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_same_as_torch_rechub():
    """Their mean is over all pairs, ours over a row's and then over rows: one row with pairs, one with the negative."""
    dien = pytest.importorskip(
        "torch_rechub.models.ranking.dien", reason="torch-rechub is not installed (extra: bench)"
    )
    past, states, valid = torch.randn(2, 5, 3), torch.randn(2, 5, 3), valid_of([4, 1], 5)
    theirs = dien.DIEN.__new__(dien.DIEN)
    torch.nn.Module.__init__(theirs)
    theirs.BCELoss = torch.nn.BCELoss()
    negatives = past[1, 0].expand(1, 5, 3)
    expected = theirs.auxiliary(states[:1], past[:1], negatives, valid[:1])
    torch.testing.assert_close(next_event_loss(states, past, valid), expected / 2, atol=1e-5, rtol=1e-5)
