"""One model under the three protocols: which view is part of which, and what the numbers are."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from segrec.encoders.exit_table import Outcomes
from segrec.encoders.prediction import ExitPrediction, RankPrediction
from segrec.encoders.published_priors import BernoulliPrediction
from segrec.records import ConfigError
from segrec.skip_evaluation.cohorts import skip_cohorts
from segrec.skip_evaluation.protocols import measure, slot_scores

# Videos of 2, 2, 3 segments on a grid of 3: left in 1, watched to the end, watched to the end (no slot left).
VIEWS = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [7, 8, 9], "n_segments": [2, 2, 3], "exit_segment": [1, 2, 3]})
OUTCOMES = Outcomes.of(VIEWS)
TRAIN = pl.DataFrame({"item_id": [7, 9]})
PREDICTION = ExitPrediction.from_hazards(np.array([[0.5, 0.6, 0], [0.1, 0.2, 0], [0.2, 0.5, 0.5]]), OUTCOMES.lengths)
COHORTS = skip_cohorts(VIEWS, TRAIN)


def test_warm_and_cold_are_by_items_of_training() -> None:
    assert {cohort.name: cohort.rows.tolist() for cohort in COHORTS} == {
        "all": [True, True, True],
        "warm": [True, False, True],
        "cold": [False, True, False],
    }
    assert COHORTS[1].codes.tolist() == [0, 1]
    assert COHORTS[2].own_outcomes.exits.tolist() == [2]


def test_an_empty_cohort_is_left_out_and_an_unknown_one_refused() -> None:
    assert [cohort.name for cohort in skip_cohorts(VIEWS, VIEWS)] == ["all", "warm"]
    assert [cohort.name for cohort in skip_cohorts(VIEWS, TRAIN, ["cold"])] == ["cold"]
    with pytest.raises(ConfigError, match="unknown cohort 'hot' \\(known: all, warm, cold\\)"):
        skip_cohorts(VIEWS, TRAIN, ["hot"])


def test_slots_of_a_distribution_put_the_end_on_slot_n() -> None:
    # Row 0: exits .5, .3, end .2; row 2 fills the grid, so its end has no slot.
    shares = np.exp(-slot_scores(PREDICTION, 3))
    assert shares[0].tolist() == pytest.approx([0.5, 0.3, 0.2])
    assert shares[1].tolist() == pytest.approx([0.1, 0.18, 0.72])
    assert shares[2].tolist() == pytest.approx([0.2, 0.4, 0.2])


def test_slots_of_an_order_keep_its_padding() -> None:
    order = RankPrediction(np.array([[1.0, 2.0]]), np.array([1]))
    assert slot_scores(order, 3).tolist() == [[1.0, 2.0, math.inf]]


def test_each_protocol_measures_its_own_views() -> None:
    found = measure(PREDICTION, PREDICTION, OUTCOMES, COHORTS, width=3)
    nan = math.nan
    assert found.columns["masked_skip", "HR@1"].tolist() == pytest.approx([0.0, nan, nan], nan_ok=True)
    assert found.columns["masked_skip", "NDCG@5"][0] == pytest.approx(1 / math.log2(3))
    assert found.columns["slots40", "HR@1"].tolist() == pytest.approx([0.0, 1.0, nan], nan_ok=True)
    expected = [-math.log(0.3), -math.log(0.72), -math.log(0.2)]
    assert found.columns["exit", "NLL"].tolist() == pytest.approx(expected, rel=1e-5)
    assert set(found.ece) == {"all", "warm", "cold"}
    assert found.calibration is not None
    assert found.calibration.observed.tolist() == pytest.approx([0.0, 1 / 3, 0.0, 2 / 3])


def test_pairs_are_counted_inside_the_cohort() -> None:
    found = measure(PREDICTION, PREDICTION, OUTCOMES, COHORTS, width=3)
    pairs = found.pairs(COHORTS[0])
    # Comparable: view 0 (left in 1) against both others, and it was expected to stay shortest.
    assert pairs["exit", "concordance"].value == 1.0
    assert math.isnan(pairs["exit", "AUC"].value), "nobody left at once"
    assert math.isnan(found.pairs(COHORTS[2])["exit", "concordance"].value)


def test_an_order_alone_has_no_exit_protocol() -> None:
    order = RankPrediction(np.zeros((3, 3)), OUTCOMES.lengths)
    found = measure(order, None, OUTCOMES, COHORTS, width=3)
    assert {protocol for protocol, _ in found.columns} == {"masked_skip", "slots40"}
    assert found.columns["masked_skip", "HR@1"][0] == 0.5
    assert found.columns["slots40", "HR@1"][1] == pytest.approx(1 / 3)
    assert found.pairs(COHORTS[0]) == {}


def test_drawn_scores_are_measured_in_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = BernoulliPrediction(np.full((3, 3), 0.5), OUTCOMES.lengths)
    found = measure(drawn, None, OUTCOMES, COHORTS, width=3)
    assert found.columns["masked_skip", "HR@1"].tolist() == pytest.approx([0.5, math.nan, math.nan], nan_ok=True)
    assert found.columns["slots40", "HR@1"].tolist() == pytest.approx([1 / 3, 1 / 3, math.nan], nan_ok=True)
    monkeypatch.setattr("segrec.skip_evaluation.protocols._ROWS_AT_ONCE", 1)
    again = measure(drawn, None, OUTCOMES, COHORTS, width=3)
    for key, column in found.columns.items():
        np.testing.assert_array_equal(again.columns[key], column)
