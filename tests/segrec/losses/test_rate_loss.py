"""The loss of segments' rates by hand and against the binomial likelihood."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import binom

from segrec.losses.pointwise import rate_loss

LOGITS = torch.tensor([0.0, 2.0, -1.0])
RATES = torch.tensor([0.25, 1.0, 0.0])
EACH = [math.log(2), math.log1p(math.exp(-2)), math.log1p(math.exp(-1))]


def test_soft_cross_entropy_by_hand() -> None:
    """y = .25 at s = .5: ln 2; y = 1 at logit 2: ln(1 + e^-2); y = 0 at logit -1: ln(1 + e^-1)."""
    assert rate_loss(LOGITS, RATES).item() == pytest.approx(sum(EACH) / 3)


def test_unknown_and_invalid_segments_do_not_count() -> None:
    rates = torch.tensor([0.25, math.nan, 0.0])
    assert rate_loss(LOGITS, rates).item() == pytest.approx((EACH[0] + EACH[2]) / 2)
    valid = torch.tensor([True, True, False])
    assert rate_loss(LOGITS, rates, valid).item() == pytest.approx(EACH[0])
    logits = torch.tensor([0.0, math.nan, 3.0], requires_grad=True)
    rate_loss(logits, rates, valid).backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx([0.25, 0.0, 0.0])  # s - y


def test_binomial_weights_by_hand() -> None:
    """Weights 4, 1, 0 over 5."""
    loss = rate_loss(LOGITS, RATES, trials=torch.tensor([4, 1, 0]), weighting="binomial")
    assert loss.item() == pytest.approx((4 * EACH[0] + EACH[1]) / 5)


def test_binomial_is_the_likelihood_of_the_counts() -> None:
    """Differences of the loss between two predictions are those of scipy's log likelihood per draw."""
    trials, hits = np.array([10, 3, 60]), np.array([4, 0, 33])
    losses, likelihoods = [], []
    for share in (0.3, 0.6):
        logit = torch.full((3,), math.log(share / (1 - share)), dtype=torch.float64)
        rates = torch.tensor(hits / trials)
        losses.append(rate_loss(logit, rates, trials=torch.tensor(trials), weighting="binomial").item())
        likelihoods.append(-binom.logpmf(hits, trials, share).sum() / trials.sum())
    assert losses[0] - losses[1] == pytest.approx(likelihoods[0] - likelihoods[1], rel=1e-12)


def test_overdispersion_goes_from_binomial_to_equal_weights() -> None:
    """rho = .5: n / (1 + (n - 1) / 2) = 1.6 for 4 draws, 1 for 1, 0 for none; rho = 1: 1, 1, 0."""
    trials = torch.tensor([4.0, 1.0, 0.0])
    half = rate_loss(LOGITS, RATES, trials=trials, weighting="binomial", overdispersion=0.5)
    assert half.item() == pytest.approx((1.6 * EACH[0] + EACH[1]) / 2.6)
    whole = rate_loss(LOGITS, RATES, trials=trials, weighting="binomial", overdispersion=1.0)
    assert whole.item() == pytest.approx((EACH[0] + EACH[1]) / 2)


@pytest.mark.parametrize("trials", [None, torch.zeros(3)])
def test_with_nothing_left_the_loss_is_zero_with_a_gradient(trials: torch.Tensor | None) -> None:
    logits = LOGITS.clone().requires_grad_()
    rates = RATES if trials is not None else torch.full((3,), math.nan)
    loss = rate_loss(logits, rates, trials=trials, weighting="none" if trials is None else "binomial")
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert logits.grad.tolist() == [0.0, 0.0, 0.0]


@settings(deadline=None, max_examples=60)
@given(arrays(np.float64, array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=5), elements=st.floats(-60, 60)))
def test_any_shape_agrees_with_the_formula(logits: np.ndarray) -> None:
    rates = np.linspace(0, 1, logits.size).reshape(logits.shape)
    wanted = np.logaddexp(0, logits) - rates * logits
    loss = rate_loss(torch.tensor(logits), torch.tensor(rates))
    assert loss.item() == pytest.approx(wanted.mean() if logits.size else 0.0, abs=1e-9)


def test_gradient() -> None:
    logits = LOGITS.double().requires_grad_()
    trials = torch.tensor([4.0, 1.0, 3.0])
    assert torch.autograd.gradcheck(
        lambda x: rate_loss(x, RATES.double(), trials=trials, weighting="binomial", overdispersion=0.1), logits
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": torch.zeros(2)}, r"logits' shape \(found \(2,\), \(3,\)\)"),
        ({"weighting": "binomial"}, "needs trials of the logits' shape .found None"),
        ({"weighting": "binomial", "trials": torch.zeros(1)}, r"\(found \(1,\)\)"),
        ({"weighting": "views"}, "weighting must be one of .* 'views'"),
        ({"overdispersion": 1.5}, r"overdispersion must be in \[0, 1\] \(found 1.5\)"),
    ],
)
def test_bad_input(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rate_loss(LOGITS, **{"rates": RATES, **options})
