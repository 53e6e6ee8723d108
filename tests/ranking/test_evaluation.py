"""Metric rows of a CTR evaluation: each value is the metric's own, intervals are those of the clustered bootstrap."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from ranking.evaluation import GROUPS, Draws, Prediction, measure, metric_rows
from ranking.measures.chance_metrics import METRICS
from ranking.measures.outcomes import Outcomes
from segrec.metrics.auc import auc, auc_replicates
from segrec.metrics.calibration import calibration_ratio
from segrec.metrics.f1 import f1
from segrec.metrics.grouped_auc import GAUC_NAMES, grouped_auc
from segrec.metrics.intervals import clustered_bootstrap, paired_bootstrap, reweighted_bootstrap
from segrec.metrics.log_loss import log_loss, log_losses, normalized_entropy

SEED = 20_240_613


def outcomes_of(labels, users, warm_user=None, warm_item=None):
    count = len(labels)
    rows = pl.DataFrame({"user_id": users, "item_id": [0] * count, "time_ms": range(count), "duration_ms": [1] * count})
    warm = np.ones(count, dtype=bool)
    return Outcomes(
        rows, np.asarray(labels, dtype=float), True, True, np.unique(users, return_inverse=True)[1],
        warm if warm_user is None else np.asarray(warm_user), warm if warm_item is None else np.asarray(warm_item),
        warm, ~warm, "test", "is_click",
    )  # fmt: skip


@pytest.fixture(scope="module")
def drawn():
    """600 rows of 80 users, probabilities that know something, and worse ones."""
    random = np.random.default_rng(5)
    users = random.integers(0, 80, 600)
    good = np.round(random.random(600), 2)
    labels = random.random(600) < good
    return outcomes_of(labels, users), good, np.clip(0.5 * good + 0.5 * random.random(600), 0, 1)


def by_metric(rows, model, versus=None, seed=None, cohort="all"):
    wanted = (model, versus, seed, cohort)
    return {row.metric: row for row in rows if (row.model, row.versus, row.seed, row.cohort) == wanted}


def test_each_value_is_the_metrics_own(drawn):
    outcomes, good, _ = drawn
    found = by_metric(metric_rows(outcomes, [Prediction("good", good)], cohorts=["all"], replicates=100), "good")
    expected = {
        "AUC": auc(outcomes.labels, good),
        "LogLoss": log_loss(outcomes.labels, good),
        "NE": normalized_entropy(outcomes.labels, good),
        "F1": f1(outcomes.labels, good),
        "calibration_ratio": calibration_ratio(outcomes.labels, good),
        **{name: grouped_auc(outcomes.labels, good, outcomes.users, by)[0] for name, by in GAUC_NAMES.items()},
        GROUPS: grouped_auc(outcomes.labels, good, outcomes.users)[1],
    }  # fmt: skip
    assert {name: row.value for name, row in found.items()} == pytest.approx(expected)
    assert set(METRICS) | {GROUPS} == set(found)
    assert all(row.n == 600 and row.protocol == "is_click" and row.task == "ctr" for row in found.values())


def test_intervals_are_those_of_the_clustered_bootstrap(drawn):
    outcomes, good, _ = drawn
    found = by_metric(metric_rows(outcomes, [Prediction("good", good)], cohorts=["all"], replicates=200), "good")
    loss = clustered_bootstrap(log_losses(outcomes.labels, good).numpy(), outcomes.users, seed=SEED, replicates=200)
    assert (found["LogLoss"].low, found["LogLoss"].high) == pytest.approx((loss.low, loss.high))
    area = reweighted_bootstrap(
        lambda weights: auc_replicates(outcomes.labels, good, outcomes.users, weights), 80, seed=SEED, replicates=200
    )
    assert (found["AUC"].low, found["AUC"].high) == pytest.approx((area.low, area.high))


def test_pairs_are_paired(drawn):
    outcomes, good, worse = drawn
    predictions = [Prediction("good", good), Prediction("worse", worse)]
    rows = metric_rows(outcomes, predictions, [("good", "worse")], cohorts=["all"], replicates=200)
    difference = by_metric(rows, "good", versus="worse")
    paired = paired_bootstrap(
        log_losses(outcomes.labels, good).numpy(), log_losses(outcomes.labels, worse).numpy(), outcomes.users,
        seed=SEED, replicates=200,
    )  # fmt: skip
    row = difference["LogLoss"]
    assert (row.value, row.low, row.high) == pytest.approx((paired.value, paired.low, paired.high))
    alone = {model: by_metric(rows, model) for model in ("good", "worse")}
    for metric in METRICS:
        assert difference[metric].value == pytest.approx(alone["good"][metric].value - alone["worse"][metric].value)
    widths = [alone[model]["AUC"].high - alone[model]["AUC"].low for model in alone]
    assert difference["AUC"].low > 0  # good beats its noisy self
    assert difference["AUC"].high - difference["AUC"].low < sum(widths)


def test_a_model_against_itself_differs_by_nothing(drawn):
    outcomes, good, _ = drawn
    rows = metric_rows(
        outcomes, [Prediction("a", good), Prediction("b", good)], [("a", "b")], cohorts=["all"], replicates=100
    )
    assert all((row.value, row.low, row.high) == (0, 0, 0) for row in by_metric(rows, "a", versus="b").values())


def test_seeds_are_averaged_and_their_interval_draws_them_too(drawn):
    outcomes, good, worse = drawn
    seeds = [Prediction("model", good, 0), Prediction("model", worse, 1), Prediction("model", good, 2)]
    rows = metric_rows(outcomes, seeds, cohorts=["all"], replicates=300)
    alone = [by_metric(rows, "model", seed=seed)["AUC"] for seed in range(3)]
    over = by_metric(rows, "model")["AUC"]
    assert over.value == pytest.approx(np.mean([row.value for row in alone]))
    assert alone[0].value == alone[2].value > alone[1].value
    fixed = metric_rows(outcomes, [Prediction("model", good, 0)], cohorts=["all"], replicates=300)
    one = by_metric(fixed, "model")["AUC"]
    assert over.high - over.low > one.high - one.low  # two kinds of draws


def test_one_seed_has_its_own_rows_and_those_over_seeds(drawn):
    outcomes, good, _ = drawn
    rows = metric_rows(outcomes, [Prediction("model", good, 7)], cohorts=["all"], replicates=100)
    assert by_metric(rows, "model", seed=7)["AUC"].value == by_metric(rows, "model")["AUC"].value


def test_cohorts_measure_their_rows_only(drawn):
    outcomes, good, _ = drawn
    warm = np.arange(600) % 3 > 0
    split = outcomes_of(outcomes.labels, outcomes.users, warm_user=warm)
    rows = metric_rows(split, [Prediction("good", good)], replicates=100)
    found = by_metric(rows, "good", cohort="warm_users")["LogLoss"]
    assert (found.value, found.n) == (pytest.approx(log_loss(outcomes.labels[warm], good[warm])), 400)
    assert by_metric(rows, "good", cohort="cold_users")["LogLoss"].n == 200
    assert not by_metric(rows, "good", cohort="cold_items")  # no such row


def test_one_class_gives_nan_without_interval_where_auc_is_undefined():
    outcomes = outcomes_of([1, 1, 1], [1, 2, 3])
    found = by_metric(metric_rows(outcomes, [Prediction("m", np.array([0.2, 0.5, 0.9]))], replicates=100), "m")
    for metric in ("AUC", "gauc_impression", "NE"):
        assert math.isnan(found[metric].value)
        assert found[metric].low is None
    assert found["LogLoss"].value == pytest.approx(log_loss(np.ones(3), np.array([0.2, 0.5, 0.9])))
    assert found[GROUPS].value == 0


def test_one_user_has_no_interval():
    found = by_metric(
        metric_rows(outcomes_of([1, 0], [4, 4]), [Prediction("m", np.array([0.9, 0.2]))], replicates=100), "m"
    )
    assert (found["AUC"].value, found["AUC"].low, found["AUC"].high) == (1.0, None, None)


def test_share_of_the_oracles_lift():
    outcomes = outcomes_of([1, 0, 1, 0], [1, 1, 2, 2])
    prior = Prediction("length", np.full(4, 0.5))
    oracle = Prediction("oracle", np.array([0.9, 0.1, 0.8, 0.2]))
    model = Prediction("model", np.array([0.6, 0.4, 0.3, 0.35]))  # orders user 1 rightly and user 2 wrongly
    rows = metric_rows(outcomes, [model, prior, oracle], lift=("length", "oracle"), cohorts=["all"], replicates=100)
    shares = by_metric(rows, "model")
    assert shares["oracle_share_gauc_impression"].value == pytest.approx(0.0)  # (1/2 - 1/2) / (1 - 1/2)
    assert shares["oracle_share_AUC"].value == pytest.approx((0.5 - 0.5) / (1 - 0.5))
    losses = [log_loss(outcomes.labels, p.probabilities) for p in (model, prior, oracle)]
    assert shares["oracle_share_LogLoss"].value == pytest.approx((losses[0] - losses[1]) / (losses[2] - losses[1]))
    assert not any(row.metric.startswith("oracle_share") for row in rows if row.model != "model")


def test_ratio_of_draws_without_lift_is_nan():
    found = Draws(1.0, np.array([1.0, 2.0])).over(Draws(0.0, np.array([0.0, 4.0])))
    assert math.isnan(found.value)
    np.testing.assert_allclose(found.replicates, [math.nan, 0.5])


def test_replicates_in_blocks_equal_replicates_at_once(drawn, monkeypatch):
    outcomes, good, _ = drawn
    everything = np.ones(600, dtype=bool)
    at_once = measure(outcomes, everything, [Prediction("good", good)], 50).over_seeds["good"]
    monkeypatch.setattr("segrec.metrics.auc._CELLS_AT_ONCE", 5000)
    in_blocks = measure(outcomes, everything, [Prediction("good", good)], 50).over_seeds["good"]
    for metric in METRICS:
        np.testing.assert_allclose(in_blocks[metric].replicates, at_once[metric].replicates)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [([0.5, 1.5], r"a probability lies outside \[0, 1\]"), ([0.5, math.nan], "a prediction is NaN or infinite")],
)
def test_bad_probabilities(probabilities, message):
    with pytest.raises(ValueError, match=message):
        metric_rows(outcomes_of([1, 0], [1, 2]), [Prediction("m", np.array(probabilities))], replicates=100)
