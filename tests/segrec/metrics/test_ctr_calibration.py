"""Calibration ratio and curve: hand-worked, and that bins hold equal mass and keep ties together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segrec.metrics.calibration import calibration_curve, calibration_ratio

outcomes = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.3, 0.31, 0.9, 1.0])), min_size=1, max_size=40)


def test_ratio_by_hand():
    # .9 + .5 + .1 = 1.5 promised, 1 came
    assert calibration_ratio(np.array([1, 0, 0]), np.array([0.9, 0.5, 0.1])) == pytest.approx(1.5)


def test_ratio_without_positives_or_rows_is_nan():
    assert math.isnan(calibration_ratio(np.array([0, 0]), np.array([0.1, 0.2])))
    assert math.isnan(calibration_ratio(np.array([]), np.array([])))


def test_curve_by_hand():
    labels = np.array([0, 1, 0, 0, 1, 1])
    probabilities = np.array([0.1, 0.2, 0.5, 0.6, 0.7, 0.9])
    curve = calibration_curve(labels, probabilities, bins=3)
    np.testing.assert_allclose(curve.predicted, [0.15, 0.55, 0.8])
    np.testing.assert_allclose(curve.observed, [0.5, 0.0, 1.0], rtol=1e-15)
    np.testing.assert_array_equal(curve.count, [2, 2, 2])


def test_ties_share_the_bin_of_their_mean_rank_whatever_the_row_order():
    # four rows at .2 have mean rank 1.5 of 6 -> first of two bins, which then holds 4 rows
    curve = calibration_curve(np.array([1, 0, 0, 1, 0, 1]), np.array([0.2, 0.8, 0.2, 0.2, 0.2, 0.9]), bins=2)
    np.testing.assert_array_equal(curve.count, [4, 2])
    np.testing.assert_allclose(curve.observed, [0.5, 0.5])
    np.testing.assert_allclose(curve.predicted, [0.2, 0.85])


def test_distinct_values_fill_bins_evenly():
    counts = calibration_curve(np.arange(103) % 2, np.arange(103) / 103, bins=10).count
    assert counts.sum() == 103
    assert set(counts.tolist()) <= {10, 11}


@given(outcomes, st.integers(1, 12))
def test_the_curve_adds_up_to_the_rows(drawn, bins):
    labels, probabilities = np.array([row[0] for row in drawn]), np.array([row[1] for row in drawn])
    curve = calibration_curve(labels, probabilities, bins)
    assert curve.count.sum() == len(drawn)
    assert (curve.count > 0).all()
    assert (np.diff(curve.predicted) > 0).all()
    assert (curve.count * curve.observed).sum() == pytest.approx(labels.sum())
    assert (curve.count * curve.predicted).sum() == pytest.approx(probabilities.sum())


def test_no_rows_no_points():
    assert len(calibration_curve(np.array([]), np.array([])).count) == 0


@pytest.mark.parametrize(
    ("labels", "probabilities", "bins", "message"),
    [
        ([1], [0.5], 0, r"bins must be at least 1 \(found: 0\)"),
        ([1], [1.1], 5, r"a probability lies outside \[0, 1\]"),
        ([1], [math.nan], 5, "a prediction is NaN or infinite"),
    ],
)
def test_bad_input(labels, probabilities, bins, message):
    with pytest.raises(ValueError, match=message):
        calibration_curve(np.array(labels), np.array(probabilities), bins)
