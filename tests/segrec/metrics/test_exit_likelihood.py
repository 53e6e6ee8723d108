"""The exit distribution's measures: by hand, against scikit-learn and all pairs, and at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from segrec.metrics.auc import auc
from segrec.metrics.exit_likelihood import (
    concordance_pairs,
    exit_ece,
    exit_nll,
    first_exit_pairs,
    position_calibration,
)

NEVER = -math.inf
# Three views of 2, 1 and 2 segments: P(exit 0), P(exit 1), P(end).
LOG_EXIT = np.log([[0.5, 0.25], [0.8, 1.0], [0.1, 0.2]])
LOG_EXIT[1, 1] = NEVER
LOG_END = np.log([0.25, 0.2, 0.7])
LENGTHS = np.array([2, 1, 2])
EXITS = np.array([0, 1, 1])


def all_pairs(expected: np.ndarray, lengths: np.ndarray, exits: np.ndarray) -> float:
    won, compared = 0.0, 0
    for i in range(len(exits)):
        for j in range(len(exits)):
            if exits[i] < lengths[i] and exits[j] > exits[i]:
                compared += 1
                won += 1.0 if expected[i] < expected[j] else 0.5 if expected[i] == expected[j] else 0.0
    return won / compared if compared else math.nan


def test_nll_by_hand() -> None:
    assert exit_nll(LOG_EXIT, LOG_END, LENGTHS, EXITS).tolist() == pytest.approx(
        [math.log(2), math.log(5), math.log(5)]
    )


def test_an_outcome_called_impossible_costs_infinitely_much() -> None:
    impossible = exit_nll(np.array([[0.0]]), np.array([NEVER]), np.array([1]), np.array([1]))
    assert impossible.tolist() == [math.inf]


BAD_NLL = {
    "exit beyond the end": (LOG_EXIT, LOG_END, LENGTHS, np.array([0, 2, 1]), "exits must lie in 0 .. length"),
    "one row short": (LOG_EXIT, LOG_END[:2], LENGTHS, EXITS, "must be \\(B, S\\) and three times \\(B,\\)"),
    "NaN": (np.full((1, 1), math.nan), np.zeros(1), np.ones(1, int), np.zeros(1, int), "is NaN \\(row 0\\)"),
    "length beyond the grid": (LOG_EXIT, LOG_END, LENGTHS + 1, EXITS, "lengths in 1 .. 2"),
}


@pytest.mark.parametrize("case", BAD_NLL)
def test_bad_distributions_are_refused(case: str) -> None:
    *arrays, message = BAD_NLL[case]
    with pytest.raises(ValueError, match=message):
        exit_nll(*arrays)


def test_auc_of_leaving_at_once_is_that_of_scikit_learn_and_ours() -> None:
    random = np.random.default_rng(0)
    log_exit = np.log(random.integers(1, 6, (300, 3)) / 10)
    exits = random.integers(0, 4, 300)
    found = first_exit_pairs(log_exit, exits).value
    assert found == pytest.approx(roc_auc_score(exits == 0, log_exit[:, 0]))
    assert found == pytest.approx(auc((exits == 0).astype(int), log_exit[:, 0]))


def test_concordance_by_hand() -> None:
    # A left in 0, B in 2, C watched its single segment to the end (censored at 1).
    # Comparable: A-B and A-C; B-C is not (C's wish beyond its end is unknown). A is predicted below B, tied with C.
    pairs = concordance_pairs(np.array([1.0, 2.0, 1.0]), np.array([3, 3, 1]), np.array([0, 2, 1]))
    assert pairs.value == pytest.approx((1 + 0.5) / 2)
    assert pairs.pairs.tolist() == [2, 1, 1]
    assert pairs.wins.tolist() == [1.5, 1.0, 0.5]


@given(rows=st.integers(0, 25), seed=st.integers(0, 10_000), levels=st.integers(1, 6))
@settings(max_examples=80, deadline=None)
def test_concordance_is_that_of_all_pairs(rows: int, seed: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 5, rows)
    exits = random.integers(0, lengths + 1)
    expected = random.integers(0, levels, rows).astype(float)
    found = concordance_pairs(expected, lengths, exits).value
    assert found == pytest.approx(all_pairs(expected, lengths, exits), nan_ok=True)


def test_no_comparable_pair_is_nan_and_moves_nothing() -> None:
    full = concordance_pairs(np.array([1.0, 2.0]), np.array([2, 2]), np.array([2, 2]))
    assert math.isnan(full.value)
    assert full.influence.tolist() == [0.0, 0.0]
    assert math.isnan(first_exit_pairs(np.zeros((0, 1)), np.zeros(0, int)).value)


def test_influence_is_the_derivative_of_the_weighted_value() -> None:
    random = np.random.default_rng(1)
    scores, exits = random.random(40), random.integers(0, 3, 40)
    pairs = first_exit_pairs(scores[:, None], exits)
    step = 1e-5
    for row in (0, 7, 20):
        weights = np.ones(40)
        weights[row] += step
        moved = auc((exits == 0).astype(int), scores, weights)
        assert (moved - pairs.value) / step == pytest.approx(pairs.influence[row], abs=1e-4)


def test_nan_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="a score is NaN \\(row 1\\)"):
        concordance_pairs(np.array([0.0, math.nan]), np.array([1, 1]), np.array([0, 1]))


def test_calibration_by_position_by_hand() -> None:
    curve = position_calibration(LOG_EXIT, LOG_END, LENGTHS, EXITS)
    assert curve.observed.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert curve.predicted.tolist() == pytest.approx([1.4 / 3, 0.45 / 3, 1.15 / 3])


def test_ece_with_one_bin_is_the_total_variation_of_the_means() -> None:
    gaps = abs(1.4 - 1) + abs(0.45 - 1) + abs(1.15 - 1)
    assert exit_ece(LOG_EXIT, LOG_END, LENGTHS, EXITS, bins=1) == pytest.approx(gaps / 6)


def test_ece_sees_errors_that_cancel_out_only_with_more_bins() -> None:
    # Half the views are sure to leave and do not, the other half the reverse: right on average, wrong everywhere.
    log_exit = np.log([[0.9], [0.1]])
    log_end, lengths, exits = np.log([0.1, 0.9]), np.array([1, 1]), np.array([1, 0])
    assert exit_ece(log_exit, log_end, lengths, exits, bins=1) == pytest.approx(0.0)
    assert exit_ece(log_exit, log_end, lengths, exits, bins=10) == pytest.approx(0.9)


def test_ece_of_the_truth_is_small_and_of_chance_is_not() -> None:
    random = np.random.default_rng(2)
    shares = np.array([0.6, 0.3, 0.1])
    exits = random.choice(3, 20_000, p=shares)
    lengths = np.full(20_000, 2)
    rows = np.ones((20_000, 1))
    assert exit_ece(rows * np.log(shares[:2]), rows[:, 0] * np.log(0.1), lengths, exits) < 0.01
    third = math.log(1 / 3)
    assert exit_ece(rows * [third, third], rows[:, 0] * third, lengths, exits) == pytest.approx(0.27, abs=0.01)


def test_ece_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = exit_ece(LOG_EXIT, LOG_END, LENGTHS, EXITS)
    monkeypatch.setattr("segrec.metrics.exit_likelihood._ROWS_AT_ONCE", 2)
    assert exit_ece(LOG_EXIT, LOG_END, LENGTHS, EXITS) == pytest.approx(whole)


def test_ece_of_no_view_is_nan() -> None:
    assert math.isnan(exit_ece(np.zeros((0, 2)), np.zeros(0), np.zeros(0, int), np.zeros(0, int)))
