"""Calibrating an order: known numbers are found back, scores that say nothing leave the prior, bad ones are refused."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from segrec.encoders.exit_table import HazardTable, Outcomes
from segrec.encoders.prediction import ExitPrediction, RankPrediction
from segrec.encoders.rank_calibration import RankCalibration

WIDTH = 5


def drawn_world(rows: int, seed: int) -> tuple[np.ndarray, Outcomes, ExitPrediction, HazardTable]:
    """Scores, outcomes drawn from a known calibration of them, that truth, and the prior it leans on."""
    random = np.random.default_rng(seed)
    table = HazardTable(np.tile(np.array([0.5, 0.2, 0.2, 0.3, 0.3]), (WIDTH + 1, 1)))
    lengths = random.integers(1, WIDTH + 1, rows)
    scores = random.normal(3.0, 2.0, (rows, WIDTH))
    truth = RankCalibration(table, np.array([0.8, 0.5, 0.2, 0.9, -0.4]))
    distribution = ExitPrediction.from_outcomes(*truth.apply(scores, lengths), lengths)
    shares = np.exp(np.concatenate([distribution.log_exit, distribution.log_end[:, None]], axis=1))
    places = (shares.cumsum(axis=1) > random.random((rows, 1))).argmax(axis=1)
    return scores, Outcomes(lengths, np.where(places == WIDTH, lengths, places)), distribution, table


def test_known_numbers_are_found_back() -> None:
    scores, outcomes, _, table = drawn_world(40_000, 0)
    found = RankCalibration.fit(scores, outcomes, table)
    assert found.weights.tolist() == pytest.approx([0.8, 0.5, 0.2, 0.9, -0.4], abs=0.12)


def test_calibrated_orders_are_nearly_as_good_as_the_truth_and_better_than_the_prior() -> None:
    scores, outcomes, _, table = drawn_world(4000, 1)
    test_scores, test_outcomes, truth, _ = drawn_world(4000, 2)
    valid = RankPrediction(scores, outcomes.lengths)
    views = pl.DataFrame({"n_segments": outcomes.lengths, "exit_segment": outcomes.exits})
    found = RankPrediction(test_scores, test_outcomes.lengths).calibrate(valid, views, table)
    nll, best = (-p.log_likelihood(test_outcomes.exits).mean() for p in (found, truth))
    prior = (
        -ExitPrediction.from_hazards(table.of(test_outcomes.lengths), test_outcomes.lengths)
        .log_likelihood(test_outcomes.exits)
        .mean()
    )
    assert best - 0.01 < nll < best + 0.01
    assert nll < prior - 0.1


def test_scores_that_say_nothing_leave_the_prior() -> None:
    random = np.random.default_rng(3)
    lengths = np.full(20_000, 2)
    table = HazardTable(np.full((3, 2), 0.5))
    exits = np.minimum(random.geometric(0.5, 20_000) - 1, 2)
    found = RankCalibration.fit(np.zeros((20_000, 2)), Outcomes(lengths, exits), table)
    weights, end = found.apply(np.zeros((1, 2)), np.array([2]))
    shares = ExitPrediction.from_outcomes(weights, end, np.array([2]))
    assert np.exp(shares.log_exit[0]).tolist() == pytest.approx([0.5, 0.25], abs=0.01)


def test_without_a_table_the_valid_views_give_the_prior() -> None:
    scores, outcomes, _, _ = drawn_world(2000, 4)
    valid = RankPrediction(scores, outcomes.lengths)
    views = pl.DataFrame({"n_segments": outcomes.lengths, "exit_segment": outcomes.exits})
    found = valid.calibrate(valid, views)
    assert np.exp(found.log_exit).sum(axis=1) + np.exp(found.log_end) == pytest.approx(1.0, abs=1e-5)


def test_huge_and_shifted_scores_are_no_harder() -> None:
    scores, outcomes, _, table = drawn_world(4000, 5)
    plain = RankCalibration.fit(scores, outcomes, table)
    moved = RankCalibration.fit(scores * 1e4, outcomes, table)
    one, two = (c.apply(s, outcomes.lengths)[0] for c, s in ((plain, scores), (moved, scores * 1e4)))
    inside = np.isfinite(one)
    assert two[inside] == pytest.approx(one[inside], abs=0.02)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    table = HazardTable(np.full((3, 2), 0.5))
    with pytest.raises(ValueError, match="must be finite"):
        RankCalibration.fit(np.array([[bad, 0.0]]), Outcomes(np.array([2]), np.array([0])), table)
    RankCalibration.fit(np.array([[0.0, bad]]), Outcomes(np.array([1]), np.array([0])), table)  # padding


def test_no_view_is_refused() -> None:
    with pytest.raises(ValueError, match="needs views"):
        RankCalibration.fit(
            np.zeros((0, 2)), Outcomes(np.zeros(0, int), np.zeros(0, int)), HazardTable(np.ones((3, 2)) / 2)
        )
