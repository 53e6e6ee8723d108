"""Metrics of watch times: by hand, against scipy, and under a bootstrap's weights against rows written out."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ranking.evaluation import GROUPS, Prediction, metric_rows
from ranking.measures.outcomes import Outcomes
from ranking.measures.watch_metrics import WATCH_METRICS, WatchStatistics
from segrec.metrics.intervals import cluster_codes


def metrics_of(watched, predicted, users, weights=None):
    users = cluster_codes(np.asarray(users), len(users))
    statistics = WatchStatistics.of(np.asarray(watched, float), np.asarray(predicted, float), users)
    weights = np.ones((1, users.max() + 1)) if weights is None else np.asarray(weights, float)[None]
    return {name: values[0] for name, values in statistics.metrics(weights, users).items()}


def test_by_hand():
    found = metrics_of([0, 10, 4, 4], [1, 8, 4, 6], [0, 0, 1, 1])
    # pairs of different times: 5, of which one is ordered wrongly: none; (4, 4) does not count
    assert found == pytest.approx(
        {"MAE": 5 / 4, "RMSE": np.sqrt(9 / 4), "calibration_ratio": 19 / 18, "concordance": 1.0,
         "concordance_user": 1.0, "spearman_rows": stats.spearmanr([0, 10, 4, 4], [1, 8, 4, 6])[0]}
    )  # fmt: skip
    assert tuple(found) == WATCH_METRICS


def test_inside_users_by_hand():
    # user 0: (0, 5) right, (0, 9) tied, (5, 9) wrong: 1.5 of 3 pairs, 3 rows; user 1: 1 of 1, 2 rows; user 2 has none
    found = metrics_of([0, 5, 9, 1, 2, 7], [3, 4, 3, 0, 9, 5], [0, 0, 0, 1, 1, 2])
    assert found["concordance_user"] == pytest.approx((3 * 0.5 + 2 * 1) / 5)


def concordance(watched, predicted):
    won = total = 0.0
    for i in range(len(watched)):
        for j in range(i):
            if watched[i] != watched[j]:
                total += 1
                same = (predicted[i] > predicted[j]) == (watched[i] > watched[j])
                won += 0.5 if predicted[i] == predicted[j] else same
    return won / total if total else np.nan


ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3), st.integers(0, 2)), min_size=1)


@given(ROWS)
def test_weights_stand_for_rows_written_out(rows):
    """(watched, predicted, user, its weight 0, 1 or 2); concordance is of first order in the weights."""
    watched, predicted, users, _ = np.array(rows).T
    codes = cluster_codes(users, len(users))
    weights = np.array([rows[np.flatnonzero(codes == user)[0]][3] for user in range(codes.max() + 1)])
    found = metrics_of(watched, predicted, users, weights)
    copies = np.repeat(np.arange(len(rows)), weights[codes])
    w, p = watched[copies].astype(float), predicted[copies].astype(float)
    if not len(copies):
        assert np.isnan(found["MAE"])
        return
    assert found["MAE"] == pytest.approx(np.abs(w - p).mean())
    assert found["RMSE"] == pytest.approx(np.sqrt(((w - p) ** 2).mean()))
    ratio = p.sum() / w.sum() if w.sum() else np.nan
    assert found["calibration_ratio"] == pytest.approx(ratio, nan_ok=True)
    constant = len(set(w)) < 2 or len(set(p)) < 2
    expected = np.nan if constant else stats.spearmanr(w, p)[0]
    assert found["spearman_rows"] == pytest.approx(expected, nan_ok=True, abs=1e-9)


@given(ROWS)
def test_concordance_counts_pairs(rows):
    watched, predicted, users, _ = np.array(rows).T
    found = metrics_of(watched, predicted, users)
    assert found["concordance"] == pytest.approx(concordance(watched, predicted), nan_ok=True)
    of_users = [users == user for user in set(users)]
    own = [(own.sum(), concordance(watched[own], predicted[own])) for own in of_users]
    known = [(count, value) for count, value in own if not np.isnan(value)]
    expected = sum(c * v for c, v in known) / sum(c for c, _ in known) if known else np.nan
    assert found["concordance_user"] == pytest.approx(expected, nan_ok=True)


def test_concordances_influence_is_its_slope():
    """A user's weight raised by a little moves the pairs' weighted share as the first order says."""
    rng = np.random.default_rng(0)
    watched, predicted, users = rng.integers(0, 9, 60), rng.integers(0, 9, 60), rng.integers(0, 8, 60)
    weights = np.ones(8)
    weights[3] += 0.001

    def share(by_user):
        w = by_user[users]
        order = np.sign(watched[:, None] - watched) * np.sign(predicted[:, None] - predicted)
        pairs = (watched[:, None] != watched) * w[:, None] * w
        return (pairs * (order + 1) / 2).sum() / pairs.sum()

    moved = metrics_of(watched, predicted, users, weights)["concordance"]
    assert moved - share(np.ones(8)) == pytest.approx(share(weights) - share(np.ones(8)), rel=1e-2)


@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf])
def test_predictions_that_are_no_times(bad):
    with pytest.raises(ValueError, match="a predicted watch time must be finite and at least 0"):
        metrics_of([1, 2], [1, bad], [0, 1])


def test_rows_pairs_and_intervals():
    rng = np.random.default_rng(1)
    users, watched = rng.integers(0, 40, 400), rng.exponential(10, 400)
    good, bad = watched + rng.normal(0, 1, 400).clip(-watched), rng.exponential(10, 400)
    frame = pl.DataFrame({"user_id": users, "item_id": [0] * 400, "time_ms": range(400), "duration_ms": [1] * 400})
    warm = np.ones(400, dtype=bool)
    outcomes = Outcomes(
        frame, watched, binary=False, bounded=False, users=users, warm_user=warm, warm_item=warm, warm_author=warm,
        cold_author=~warm, split="test", label="watch_time",
    )  # fmt: skip
    rows = metric_rows(
        outcomes, [Prediction("good", good), Prediction("bad", bad)], [("good", "bad")], cohorts=["all"], replicates=200
    )
    found = {(row.versus, row.metric): row for row in rows if row.model == "good"}
    assert {metric for _, metric in found} == set(WATCH_METRICS)
    assert not any(row.metric == GROUPS for row in rows)
    assert found[None, "MAE"].value == pytest.approx(np.abs(good - watched).mean())
    assert found["bad", "MAE"].high < 0 < found["bad", "concordance"].low
    assert {row.protocol for row in rows} == {"watch_time"}
    for row in found.values():
        assert row.low < row.value < row.high
