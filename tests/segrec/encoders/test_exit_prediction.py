"""Exit and rank predictions: distributions from hazards, logits and weights, and what is read off them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec.encoders.prediction import ExitPrediction, RankPrediction, concatenate

HAZARDS = np.array([[0.5, 0.5, 0.9], [0.25, 0.7, 0.7]])
LENGTHS = np.array([2, 1])


def total(prediction: ExitPrediction) -> np.ndarray:
    return np.exp(prediction.log_exit).sum(axis=1) + np.exp(prediction.log_end)


def test_hazards_by_hand() -> None:
    found = ExitPrediction.from_hazards(HAZARDS, LENGTHS)
    assert np.exp(found.log_exit).tolist() == [[0.5, 0.25, 0.0], [0.25, 0.0, 0.0]]
    assert np.exp(found.log_end).tolist() == pytest.approx([0.25, 0.75])
    assert found.expected_exit().tolist() == pytest.approx([0.25 + 2 * 0.25, 0.75])
    assert found.stay().tolist() == [[0.5, 0.5, 1.0], [0.75, 1.0, 1.0]]
    two, four = math.log(2), math.log(4)
    assert found.skip_scores() == pytest.approx(np.array([[two, four, math.inf], [four, math.inf, math.inf]]))


def test_log_likelihood_of_what_happened() -> None:
    found = ExitPrediction.from_hazards(HAZARDS, LENGTHS)
    assert np.exp(found.log_likelihood(np.array([1, 1]))).tolist() == pytest.approx([0.25, 0.75])
    assert np.exp(found.log_likelihood(np.array([2, 0]))).tolist() == pytest.approx([0.25, 0.25])


def test_a_sure_exit_leaves_nothing_for_later() -> None:
    found = ExitPrediction.from_hazards(np.array([[1.0, 0.5]]), np.array([2]))
    assert np.exp(found.log_exit).tolist() == [[1.0, 0.0]]
    assert found.log_end.tolist() == [-math.inf]
    assert found.stay().tolist() == [[0.0, 1.0]]


def test_logits_of_any_size_stay_finite_where_they_should() -> None:
    found = ExitPrediction.from_logits(np.array([[-800.0, 800.0], [3.0, math.nan]]), np.array([2, 1]))
    assert found.log_exit[0].tolist() == pytest.approx([-800.0, 0.0])
    assert found.log_end[0] == pytest.approx(-800.0)
    assert np.exp(found.log_exit[1, 0]) == pytest.approx(1 / (1 + math.exp(-3.0)))


def test_weights_of_outcomes_are_normalised_over_the_rows_own() -> None:
    weights = np.log([[1.0, 2.0, 50.0], [3.0, 50.0, 50.0]])
    found = ExitPrediction.from_outcomes(weights, np.log([1.0, 1.0]), LENGTHS)
    assert np.exp(found.log_exit).ravel().tolist() == pytest.approx([0.25, 0.5, 0.0, 0.75, 0.0, 0.0])
    assert np.exp(found.log_end).tolist() == pytest.approx([0.25, 0.25])


@given(rows=st.integers(1, 12), width=st.integers(1, 40), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_rows_sum_to_one_and_hazards_come_back(rows: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths, hazards = random.integers(1, width + 1, rows), random.uniform(0.01, 0.9, (rows, width))
    found = ExitPrediction.from_hazards(hazards, lengths)
    assert total(found) == pytest.approx(1.0, abs=1e-5)
    assert found.log_exit.dtype == np.float32
    inside = np.arange(width) < lengths[:, None]
    assert found.stay()[inside] == pytest.approx(1 - hazards[inside], abs=1e-4)
    again = ExitPrediction.from_logits(np.log(hazards / (1 - hazards)), lengths)
    assert again.log_exit[inside] == pytest.approx(found.log_exit[inside], abs=1e-4)


def test_rows_and_concatenation_keep_order_and_pad() -> None:
    found = ExitPrediction.from_hazards(HAZARDS, LENGTHS)
    wide = ExitPrediction.from_hazards(np.full((1, 5), 0.5), np.array([5]))
    both = concatenate([found, wide])
    assert both.log_exit.shape == (3, 5)
    assert both.lengths.tolist() == [2, 1, 5]
    assert total(both) == pytest.approx([1.0, 1.0, 1.0])
    assert both.rows(np.array([2, 0])).lengths.tolist() == [5, 2]
    assert len(both.rows(np.array([True, False, False]))) == 1


def test_rank_predictions_hide_their_padding() -> None:
    found = RankPrediction(np.array([[3.0, 1.0], [2.0, -9.0]]), np.array([2, 1]))
    assert found.skip_scores().tolist() == [[3.0, 1.0], [2.0, math.inf]]
    assert found.rows(np.array([1])).scores.tolist() == [[2.0, -9.0]]


BAD = {
    "length 0": (np.zeros((1, 2)), np.zeros(1), np.array([0]), "lengths lie in 0..0 \\(expected 1..2\\)"),
    "length 3": (np.zeros((1, 2)), np.zeros(1), np.array([3]), "lengths lie in 3..3"),
    "flat": (np.zeros(2), np.zeros(2), np.array([1, 1]), "expected \\(B, S\\) and \\(B,\\)"),
    "one end short": (np.zeros((2, 2)), np.zeros(1), np.array([1, 1]), "log_end has shape \\(1,\\)"),
    "NaN": (np.array([[0.0], [math.nan]]), np.zeros(2), np.array([1, 1]), "log_exit holds NaN \\(first in row 1\\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_prediction_is_refused(case: str) -> None:
    log_exit, log_end, lengths, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        ExitPrediction(log_exit, log_end, lengths)


def test_hazards_outside_zero_and_one_are_refused_inside_the_video_only() -> None:
    ExitPrediction.from_hazards(np.array([[0.5, 7.0]]), np.array([1]))
    with pytest.raises(ValueError, match="hazards lie outside"):
        ExitPrediction.from_hazards(np.array([[0.5, 7.0]]), np.array([2]))
    with pytest.raises(ValueError, match="no outcome of finite log weight"):
        ExitPrediction.from_outcomes(np.array([[-math.inf]]), np.array([-math.inf]), np.array([1]))
