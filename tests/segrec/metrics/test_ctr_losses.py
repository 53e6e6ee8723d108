"""Log loss, normalized entropy and F1: hand-worked and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segrec.metrics.f1 import f1
from segrec.metrics.log_loss import CLIP, log_loss, log_losses, normalized_entropy

sklearn_metrics = pytest.importorskip("sklearn.metrics")


def test_log_loss_by_hand():
    # -(ln .5 + ln .75) / 2 = (0.693147 + 0.287682) / 2
    assert log_loss(np.array([1, 0]), np.array([0.5, 0.25])) == pytest.approx(0.4904146, abs=1e-7)


def test_a_certain_error_costs_the_clip_and_no_more():
    losses = log_losses(np.array([1, 0, 1]), np.array([0.0, 1.0, 1.0], dtype=np.float32))
    assert losses.tolist() == pytest.approx([-math.log(CLIP), -math.log(CLIP), CLIP], rel=1e-6)


def test_float32_probability_one_is_clipped_in_float64():
    assert math.isfinite(log_loss(np.array([0]), np.array([1.0], dtype=np.float32)))


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=20))
def test_log_loss_equals_scikit_learn(drawn):
    labels, probabilities = np.array([row[0] for row in drawn]), np.array([row[1] for row in drawn])
    clipped = np.clip(probabilities, CLIP, 1 - CLIP)
    expected = sklearn_metrics.log_loss(labels, clipped, labels=[False, True])
    assert log_loss(labels, probabilities) == pytest.approx(expected)


def test_normalized_entropy_of_the_base_rate_is_one():
    labels = np.array([1, 0, 0, 0])
    assert normalized_entropy(labels, np.full(4, 0.25)) == pytest.approx(1.0)
    # halves: ln 2 over the entropy of 1/4, 0.562335
    assert normalized_entropy(labels, np.full(4, 0.5)) == pytest.approx(0.693147 / 0.562335, abs=1e-5)


@pytest.mark.parametrize("labels", [[], [1, 1], [0]])
def test_normalized_entropy_without_both_classes_is_nan(labels):
    assert math.isnan(normalized_entropy(np.array(labels), np.full(len(labels), 0.5)))


def test_log_loss_without_rows_is_nan():
    assert math.isnan(log_loss(np.array([]), np.array([])))


def test_f1_by_hand():
    # called: rows 0, 1, 3 (.5 counts as called); true positives 0, 3; missed 4 -> 2*2 / (2*2 + 1 + 1)
    labels = np.array([1, 0, 0, 1, 1])
    assert f1(labels, np.array([0.9, 0.6, 0.1, 0.5, 0.2])) == pytest.approx(4 / 6)
    assert f1(labels, np.array([0.9, 0.6, 0.1, 0.5, 0.2]), threshold=0.15) == pytest.approx(6 / 7)


def test_f1_edges():
    assert f1(np.array([1, 1]), np.array([0.1, 0.2])) == 0.0
    assert math.isnan(f1(np.array([0, 0]), np.array([0.1, 0.2])))
    assert math.isnan(f1(np.array([]), np.array([])))


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=20))
def test_f1_equals_scikit_learn(drawn):
    labels, probabilities = np.array([row[0] for row in drawn]), np.array([row[1] for row in drawn])
    expected = sklearn_metrics.f1_score(labels, probabilities >= 0.5, zero_division=math.nan)
    assert f1(labels, probabilities) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("metric", [log_loss, normalized_entropy, f1])
@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([1, 0], [0.5, 1.5], r"a probability lies outside \[0, 1\] \(row 1: 1.5\)"),
        ([1, 0], [-0.1, 0.5], r"a probability lies outside \[0, 1\] \(row 0: -0.1\)"),
        ([1, 0], [math.nan, 0.5], "a prediction is NaN or infinite"),
        ([1, -1], [0.5, 0.5], "a label is neither 0 nor 1"),
        ([1, 0, 1], [0.5, 0.5], "must be equal in length"),
    ],
)
def test_bad_input(metric, labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        metric(np.array(labels), np.array(probabilities))


def test_tensors_with_gradient_are_read_without_it():
    probability = torch.tensor([0.5, 0.25], requires_grad=True)
    assert log_loss(torch.tensor([1, 0]), probability) == pytest.approx(0.4904146, abs=1e-6)
