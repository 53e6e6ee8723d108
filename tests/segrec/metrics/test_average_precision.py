"""Average precision and F1 of the better half in groups: by hand, against scikit-learn, ties by expectation."""

from __future__ import annotations

import math
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from segrec.metrics.average_precision import average_precision, f1_of_better_half

ROWS = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.25, 0.5, 1.0])), max_size=5)
GROUPS = st.lists(ROWS, min_size=1, max_size=4)


def columns(groups: list[list[tuple[int, float]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    flat = np.array([row for group in groups for row in group], dtype=float).reshape(-1, 2)
    return flat[:, 0].astype(int), flat[:, 1], np.append(0, np.cumsum([len(group) for group in groups]))


def test_by_hand() -> None:
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    assert float(average_precision(labels, scores)) == pytest.approx((1 + 2 / 3) / 2)
    assert float(f1_of_better_half(labels, scores)) == pytest.approx(2 * 1 / (2 + 2))


def test_thirty_percent_positives_reach_three_quarters() -> None:
    labels = np.arange(10) >= 7
    assert float(f1_of_better_half(labels, np.arange(10.0))) == pytest.approx(0.75)


@given(GROUPS)
@settings(max_examples=80, deadline=None)
def test_average_precision_is_scikit_learns(groups: list[list[tuple[int, float]]]) -> None:
    labels, scores, offsets = columns(groups)
    for (first, last), found in zip(pairwise(offsets), average_precision(labels, scores, offsets), strict=True):
        own = labels[first:last]
        both = 0 < own.sum() < len(own)
        expected = average_precision_score(own, scores[first:last]) if both else math.nan
        assert float(found) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(GROUPS)
@settings(max_examples=40, deadline=None)
def test_f1_is_the_mean_over_all_orders_of_equal_scores(groups: list[list[tuple[int, float]]]) -> None:
    labels, scores, offsets = columns(groups)
    for (first, last), found in zip(pairwise(offsets), f1_of_better_half(labels, scores, offsets), strict=True):
        if first == last:
            assert math.isnan(found)
            continue
        drawn = []
        for order in map(list, permutations(range(first, last))):
            ranked = sorted(order, key=lambda row: -scores[row])
            called = np.isin(np.arange(first, last), ranked[: max(1, (last - first) // 2)])
            drawn.append(2 * (called & labels[first:last]).sum() / (called.sum() + labels[first:last].sum()))
        assert float(found) == pytest.approx(np.mean(drawn), abs=1e-12)


@pytest.mark.parametrize("metric", [average_precision, f1_of_better_half])
def test_what_is_refused(metric) -> None:
    with pytest.raises(ValueError, match="a label is neither 0 nor 1"):
        metric(np.array([0, 2]), np.zeros(2))
    with pytest.raises(ValueError, match="NaN or infinite"):
        metric(np.array([0, 1]), np.array([0.0, math.nan]))
    with pytest.raises(ValueError, match="offsets must run from 0 to 2"):
        metric(np.array([0, 1]), np.zeros(2), np.array([0, 3]))
