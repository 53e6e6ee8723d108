"""Spearman and the tau of differences in groups: by hand, and against scipy and a loop over pairs."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from segrec.metrics import kendall_pairs
from segrec.metrics.kendall_pairs import kendall_of_differences
from segrec.metrics.rank_correlation import spearman

SIZES = [0, 1, 2, 3, 9, 30, 5]


@pytest.fixture(params=[3, 50])
def drawn(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, targets, offsets; few or many distinct values."""
    draw, offsets = np.random.default_rng(request.param), np.append(0, np.cumsum(SIZES))
    target = draw.integers(0, request.param, offsets[-1]) / request.param
    return target + draw.integers(0, request.param, offsets[-1]) / 40, target, offsets


def test_spearman_by_hand() -> None:
    # Ranks 1, 2, 3 against 1.5, 1.5, 3: covariance 1.5, variances 2 and 1.5.
    assert float(spearman(np.array([1, 5, 9]), np.array([0.0, 0.0, 7.0]))) == pytest.approx(1.5 / math.sqrt(2 * 1.5))


def test_spearman_is_scipys(drawn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    predicted, target, offsets = drawn
    for (first, last), found in zip(pairwise(offsets), spearman(predicted, target, offsets), strict=True):
        own, truth = predicted[first:last], target[first:last]
        varies = len(set(own)) > 1 and len(set(truth)) > 1
        expected = spearmanr(own, truth).statistic if varies else math.nan
        assert float(found) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_tau_of_differences_by_hand() -> None:
    # y: 0, .1, .5, 1. Pairs further apart than .3: (0,2), (0,3), (1,2), (1,3), (2,3) with differences of p and y below.
    predicted, target = np.array([4.0, 1.0, 3.0, 0.0]), np.array([0.0, 0.1, 0.5, 1.0])
    differences = [(1.0, -0.5), (4.0, -1.0), (-2.0, -0.4), (1.0, -0.9), (3.0, -0.5)]
    expected = kendalltau(*zip(*differences, strict=True)).statistic
    assert float(kendall_of_differences(predicted, target, None, 0.3)) == pytest.approx(expected)


@pytest.mark.parametrize("at_once", [1, 1 << 22])
def test_tau_of_differences_is_a_loop_over_pairs(
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted, target, offsets = drawn
    monkeypatch.setattr(kendall_pairs, "_PAIRS_AT_ONCE", at_once)
    found = kendall_of_differences(predicted, target, offsets, 0.2)
    for (first, last), tau in zip(pairwise(offsets), found, strict=True):
        pairs = [
            (predicted[i] - predicted[j], target[i] - target[j])
            for i, j in combinations(range(first, last), 2)
            if abs(target[i] - target[j]) > 0.2
        ]
        expected = kendalltau(*zip(*pairs, strict=True)).statistic if len(pairs) > 1 else math.nan
        assert float(tau) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("metric", [spearman, lambda *given: kendall_of_differences(*given, None, 0.2)])
def test_what_is_refused(metric) -> None:
    with pytest.raises(ValueError, match="must be equal in length"):
        metric(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"is NaN \(row 0\)"):
        metric(np.array([math.nan]), np.zeros(1))
