"""GAUC against hand-worked cases and a scikit-learn loop over the groups."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segrec.metrics.auc import auc
from segrec.metrics.grouped_auc import GAUC_NAMES, group_aucs, grouped_auc

sklearn_metrics = pytest.importorskip("sklearn.metrics")

# user 7: AUC 1 (3 rows, 1 positive); user 2: AUC 1/8 (4 rows, 2 positives: .2 and .5 against .5 and .6);
# user 5: only positives, left out.
LABELS = np.array([1, 1, 0, 1, 0, 0, 1, 0, 1])
SCORES = np.array([0.9, 0.2, 0.3, 0.5, 0.5, 0.1, 0.4, 0.6, 0.8])
USERS = np.array([7, 2, 7, 2, 2, 7, 5, 2, 5])


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        ("impression", (3 * 1 + 4 * 0.125) / 7),
        ("mean", (1 + 0.125) / 2),
        ("positive", (1 * 1 + 2 * 0.125) / 3),
    ],
)
def test_by_hand(weight, expected):
    # user 2's pairs: (.2, .5) 0, (.2, .6) 0, (.5, .5) 1/2, (.5, .6) 0 -> 1/8
    value, groups = grouped_auc(LABELS, SCORES, USERS, weight)
    assert value == pytest.approx(expected)
    assert groups == 2


def test_default_weighs_by_impressions_and_names_say_so():
    assert grouped_auc(LABELS, SCORES, USERS) == grouped_auc(LABELS, SCORES, USERS, GAUC_NAMES["gauc_impression"])


def test_parts_of_each_group():
    found = group_aucs(LABELS, SCORES, USERS)
    assert found.group.tolist() == [2, 7]
    assert found.auc.tolist() == [0.125, 1.0]
    assert found.impressions.tolist() == [4, 3]
    assert found.positives.tolist() == [2, 1]


def test_text_groups_equal_integer_groups():
    assert grouped_auc(LABELS, SCORES, USERS.astype(str)) == grouped_auc(LABELS, SCORES, USERS)


@pytest.mark.parametrize("rows", [slice(0, 0), slice(0, 1), slice(6, 7)])
def test_no_group_with_both_classes_is_nan(rows):
    value, groups = grouped_auc(LABELS[rows], SCORES[rows], USERS[rows])
    assert math.isnan(value)
    assert groups == 0


def test_one_group_is_plain_auc():
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 2, 400), random.integers(0, 30, 400) / 7
    assert grouped_auc(labels, scores, np.zeros(400, dtype=np.int64))[0] == pytest.approx(auc(labels, scores))


def loop_over_groups(labels, scores, groups, weight):
    """The slow way: scikit-learn in each group."""
    values, weights = [], []
    for group in np.unique(groups):
        rows = groups == group
        if labels[rows].min() == labels[rows].max():
            continue
        values.append(sklearn_metrics.roc_auc_score(labels[rows], scores[rows]))
        weights.append({"impression": rows.sum(), "mean": 1, "positive": labels[rows].sum()}[weight])
    return (np.average(values, weights=weights) if values else math.nan), len(values)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(-2, 2), st.integers(-3, 3)), max_size=40),
    st.sampled_from(["impression", "mean", "positive"]),
)
def test_equals_scikit_learn_in_each_group(drawn, weight):
    labels, scores, groups = (np.array([row[i] for row in drawn], dtype=np.int64) for i in range(3))
    expected, used = loop_over_groups(labels, scores, groups, weight) if drawn else (math.nan, 0)
    value, groups_used = grouped_auc(labels, scores.astype(np.float32), groups, weight)
    assert groups_used == used
    assert value == pytest.approx(expected, nan_ok=True)


def test_equals_scikit_learn_on_many_users_with_64_bit_ids():
    random = np.random.default_rng(1)
    users = random.integers(-(2**60), 2**60, 300)[random.integers(0, 300, 4000)]
    labels, scores = random.integers(0, 2, 4000), random.normal(size=4000).round(1)
    value, used = grouped_auc(labels, scores, users)
    expected, groups = loop_over_groups(labels, scores, users, "impression")
    assert (value, used) == (pytest.approx(expected, abs=1e-12), groups)


def test_scores_of_other_users_do_not_matter():
    shifted = SCORES + 100 * (USERS == 7)
    assert grouped_auc(LABELS, shifted, USERS) == grouped_auc(LABELS, SCORES, USERS)


@pytest.mark.parametrize(
    ("labels", "scores", "groups", "weight", "message"),
    [
        ([1, 0], [0.1, math.nan], [1, 1], "mean", "a prediction is NaN or infinite"),
        ([1, 0], [0.1, 0.2], [1], "mean", r"groups have shape \(1,\) \(expected: \(2,\)\)"),
        ([1, 3], [0.1, 0.2], [1, 1], "mean", "a label is neither 0 nor 1"),
        ([1, 0], [0.1, 0.2], [1, 1], "size", "unknown GAUC weight 'size' .known: impression, mean, positive"),
    ],
)
def test_bad_input(labels, scores, groups, weight, message):
    with pytest.raises(ValueError, match=message):
        grouped_auc(np.array(labels), np.array(scores), np.array(groups), weight)


def test_one_million_rows_take_no_loop_over_groups():
    random = np.random.default_rng(2)
    rows, users = 1_000_000, random.integers(0, 300_000, 1_000_000)
    labels, scores = random.integers(0, 2, rows), random.random(rows, dtype=np.float32)
    start = time.perf_counter()
    value, used = grouped_auc(labels, scores, users)
    assert time.perf_counter() - start < 5  # a loop takes minutes
    assert used > 190_000
    assert value == pytest.approx(0.5, abs=0.01)


@pytest.mark.gpu
def test_on_a_cuda_device():
    random = np.random.default_rng(4)
    labels, scores, users = (random.integers(0, high, 20_000) for high in (2, 50, 3000))
    on_device = grouped_auc(*(torch.from_numpy(part).cuda() for part in (labels, scores, users)))
    assert on_device == pytest.approx(grouped_auc(labels, scores, users), abs=1e-12)
