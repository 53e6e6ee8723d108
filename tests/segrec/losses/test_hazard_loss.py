"""Hazard likelihood and pointwise loss by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segrec.encoders.prediction import ExitPrediction
from segrec.losses.hazard import hazard_loss
from segrec.losses.pointwise import watched_loss


def logit(share: float) -> float:
    return math.log(share / (1 - share))


HAZARDS = [0.5, 0.2, 0.1]
VIEW, PLACE = torch.zeros(3, dtype=torch.int64), torch.arange(3)


@pytest.mark.parametrize(
    ("exit_segment", "likelihood"),
    [(0, 0.5), (1, 0.5 * 0.2), (2, 0.5 * 0.8 * 0.1), (3, 0.5 * 0.8 * 0.9)],
)
def test_each_outcome_by_hand(exit_segment: int, likelihood: float) -> None:
    logits = torch.tensor([logit(hazard) for hazard in HAZARDS])
    loss = hazard_loss(logits, VIEW, PLACE, torch.tensor([3]), torch.tensor([exit_segment]))
    assert loss.item() == pytest.approx(-math.log(likelihood), rel=1e-5)


def test_segments_after_the_exit_and_padding_have_no_gradient() -> None:
    logits = torch.zeros(5, requires_grad=True)
    place = torch.arange(5)
    hazard_loss(logits, torch.zeros(5, dtype=torch.int64), place, torch.tensor([4]), torch.tensor([1])).backward()
    assert logits.grad is not None
    assert logits.grad[2:].abs().sum() == 0
    full = torch.zeros(5, requires_grad=True)
    hazard_loss(full, torch.zeros(5, dtype=torch.int64), place, torch.tensor([4]), torch.tensor([4])).backward()
    assert full.grad is not None
    assert (full.grad[:4] > 0).all()
    assert full.grad[4] == 0


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.data())
def test_agrees_with_the_exit_distribution(logits: list[float], data: st.DataObject) -> None:
    length = len(logits)
    exit_segment = data.draw(st.integers(0, length))
    loss = hazard_loss(
        torch.tensor(logits), torch.zeros(length, dtype=torch.int64), torch.arange(length),
        torch.tensor([length]), torch.tensor([exit_segment]),
    )  # fmt: skip
    predicted = ExitPrediction.from_logits(np.array([logits]), np.array([length], np.int32))
    assert loss.item() == pytest.approx(-predicted.log_likelihood(np.array([exit_segment]))[0], abs=1e-4)


def test_watched_loss_by_hand() -> None:
    """Skip in segment 1: -ln sigmoid(2) - ln sigmoid(-.5), mean of two; segment 2 has no label."""
    scores = torch.tensor([2.0, 0.5, 1.0])
    loss = watched_loss(scores, VIEW, PLACE, torch.tensor([3]), torch.tensor([1]))
    assert loss.item() == pytest.approx((math.log1p(math.exp(-2)) + math.log1p(math.exp(0.5))) / 2)


def test_watched_loss_of_full_views_is_zero() -> None:
    scores = torch.tensor([2.0, 0.5, 1.0])
    assert watched_loss(scores, VIEW, PLACE, torch.tensor([3]), torch.tensor([3])).item() == 0.0
