"""AUC against hand-worked cases, every pair counted by loop, and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segrec.metrics.auc import auc, auc_replicates

sklearn_metrics = pytest.importorskip("sklearn.metrics")


def test_by_hand_one_wrong_pair_and_one_tie():
    # positives .8 and .4, negatives .4 and .1: pairs (.8, .4) 1, (.8, .1) 1, (.4, .4) 1/2, (.4, .1) 1 -> 3.5 / 4
    assert auc(np.array([1, 0, 1, 0]), np.array([0.8, 0.4, 0.4, 0.1])) == 3.5 / 4


def test_weighted_by_hand():
    # positive .5 (weight 2); negatives .1 (weight 3) won, .5 (weight 1) half, .9 (weight 4) lost: 2 (3 + .5) / (2 * 8)
    weighted = auc(np.array([1, 0, 0, 0]), np.array([0.5, 0.1, 0.5, 0.9]), np.array([2.0, 3.0, 1.0, 4.0]))
    assert weighted == pytest.approx(7 / 16)


def test_all_scores_equal_is_one_half():
    assert auc(np.array([0, 1, 1, 0, 0]), np.full(5, 0.3)) == 0.5


@pytest.mark.parametrize("labels", [[], [1, 1], [0, 0, 0]])
def test_one_class_or_none_is_nan(labels):
    assert math.isnan(auc(np.array(labels), np.linspace(0, 1, len(labels))))


def test_zero_weight_on_a_class_is_nan():
    assert math.isnan(auc(np.array([1, 0]), np.array([0.2, 0.1]), np.array([0.0, 1.0])))


rows = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-3, 3), st.integers(0, 4)), min_size=0, max_size=30
)  # label, score (few values: ties), weight


@given(rows)
def test_equals_counting_every_pair(drawn):
    labels, scores, weights = (np.array([row[i] for row in drawn], dtype=float) for i in range(3))
    won = pairs = 0.0
    for i in np.flatnonzero(labels == 1):
        for j in np.flatnonzero(labels == 0):
            pairs += weights[i] * weights[j]
            won += weights[i] * weights[j] * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
    found = auc(labels, scores, weights)
    assert found == pytest.approx(won / pairs) if pairs else math.isnan(found)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_equals_scikit_learn(dtype):
    random = np.random.default_rng(0)
    scores = (random.normal(size=5000) * 50).astype(dtype)
    labels = random.random(5000) < 0.3
    assert auc(labels, scores) == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12)


def test_tensors_and_order_of_rows_do_not_matter():
    random = np.random.default_rng(1)
    labels, scores = random.integers(0, 2, 300), random.integers(0, 20, 300) / 20
    shuffled = random.permutation(300)
    assert auc(torch.from_numpy(labels[shuffled]), torch.from_numpy(scores[shuffled])) == auc(labels, scores)


def test_replicates_are_auc_of_the_repeated_rows():
    labels = np.array([1, 0, 1, 0, 1, 0, 0])
    scores = np.array([0.9, 0.9, 0.3, 0.5, 0.4, 0.1, 0.6])
    clusters = np.array([0, 0, 1, 1, 2, 2, 2])
    weights = np.array([[1, 1, 1], [2, 0, 1], [0, 3, 0], [0, 0, 0]], dtype=np.float32)
    found = auc_replicates(labels, scores, clusters, weights)
    for value, weight in zip(found, weights, strict=True):
        repeated = np.repeat(np.arange(7), weight[clusters].astype(int))
        np.testing.assert_allclose(value, auc(labels[repeated], scores[repeated]))
    assert math.isnan(found[3])


def test_replicates_in_chunks_equal_replicates_at_once(monkeypatch):
    random = np.random.default_rng(2)
    labels, scores, clusters = random.integers(0, 2, 50), random.random(50), random.integers(0, 5, 50)
    weights = random.poisson(1.0, (7, 5))
    at_once = auc_replicates(labels, scores, clusters, weights)
    monkeypatch.setattr("segrec.metrics.auc._CELLS_AT_ONCE", 100)
    np.testing.assert_array_equal(auc_replicates(labels, scores, clusters, weights), at_once)


@pytest.mark.parametrize(
    ("labels", "scores", "weights", "message"),
    [
        ([1, 0], [0.1, math.nan], None, r"a prediction is NaN or infinite \(row 1: nan\)"),
        ([1, 0], [math.inf, 0.1], None, r"a prediction is NaN or infinite \(row 0: inf\)"),
        ([1, 2], [0.1, 0.2], None, r"a label is neither 0 nor 1 \(row 1: 2\)"),
        ([1, math.nan], [0.1, 0.2], None, r"a label is neither 0 nor 1 \(row 1: nan\)"),
        ([1], [0.1, 0.2], None, r"labels \(1,\) and predictions \(2,\) must be equal in length"),
        ([[1, 0]], [[0.1, 0.2]], None, r"must be equal in length \(n,\)"),
        ([1, 0], [0.1, 0.2], [1.0], r"weights have shape \(1,\) \(expected: \(2,\)\)"),
        ([1, 0], [0.1, 0.2], [1.0, -1.0], r"a weight is negative, NaN or infinite \(row 1: -1.0\)"),
    ],
)
def test_bad_input(labels, scores, weights, message):
    with pytest.raises(ValueError, match=message):
        auc(np.array(labels), np.array(scores), None if weights is None else np.array(weights))


def test_replicates_refuse_clusters_without_weight():
    with pytest.raises(ValueError, match=r"cluster numbers must lie in 0 .. 1"):
        auc_replicates(np.array([1, 0]), np.array([0.1, 0.2]), np.array([0, 2]), np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"clusters have shape \(1,\)"):
        auc_replicates(np.array([1, 0]), np.array([0.1, 0.2]), np.array([0]), np.ones((1, 2)))


@pytest.mark.gpu
def test_on_a_cuda_device():
    random = np.random.default_rng(3)
    labels, scores = random.integers(0, 2, 10_000), random.integers(0, 500, 10_000)
    assert auc(torch.from_numpy(labels).cuda(), torch.from_numpy(scores).cuda()) == auc(labels, scores)
