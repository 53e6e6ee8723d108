"""Clustered bootstrap: by hand, against scipy, coverage by simulation, pairing, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from segrec.metrics.auc import auc, auc_replicates
from segrec.metrics.intervals import (
    Interval,
    cluster_codes,
    cluster_sums,
    clustered_bootstrap,
    drawn_weights,
    paired_bootstrap,
    percentile_interval,
    resampled_totals,
    reweighted_bootstrap,
)


def test_with_rows_as_clusters_it_is_scipys_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=300)
    ours = clustered_bootstrap(values, np.arange(300), seed=1, replicates=4000)
    scipys = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=2).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(scipys.low, abs=0.02)
    assert ours.high == pytest.approx(scipys.high, abs=0.02)


def test_users_whose_rows_are_copies_count_as_one_row() -> None:
    # Each user's value is repeated 50 times: drawing rows would give an interval about 7 times too narrow.
    users = np.random.default_rng(0).normal(size=100)
    once = clustered_bootstrap(users, np.arange(100), seed=3)
    repeated = clustered_bootstrap(np.repeat(users, 50), np.repeat(np.arange(100), 50), seed=3)
    assert repeated == pytest.approx(once)


def test_coverage_of_a_mean_of_clustered_rows() -> None:
    random, covered = np.random.default_rng(5), 0
    for trial in range(200):
        users = np.repeat(np.arange(60), random.integers(1, 6, 60))
        values = random.normal(size=60)[users] + random.normal(size=len(users))
        found = clustered_bootstrap(values, users, seed=trial, replicates=300)
        covered += found.low <= 0.0 <= found.high
    assert 0.89 <= covered / 200 <= 0.99


def test_a_ratio_by_hand_with_two_users() -> None:
    # Users draw (2,0), (1,1) or (0,2): ratios 1/2, (1+3)/(2+4), 3/4.
    found = clustered_bootstrap(
        np.array([1.0, 3.0]), np.array(["a", "b"]), denominators=np.array([2.0, 4.0]), seed=0, replicates=500
    )
    assert found.value == pytest.approx(4 / 6)
    assert (found.low, found.high) == pytest.approx((1 / 2, 3 / 4))


def test_a_constant_difference_has_no_width_though_both_means_do() -> None:
    random = np.random.default_rng(4)
    values, users = random.normal(size=80), random.integers(0, 20, 80)
    assert clustered_bootstrap(values, users, seed=1).high - clustered_bootstrap(values, users, seed=1).low > 0.1
    difference = paired_bootstrap(values + 0.25, values, users, seed=1)
    assert difference == pytest.approx((0.25, 0.25, 0.25))


def test_a_paired_difference_of_ratios_takes_each_its_own_denominator() -> None:
    users = np.arange(3)
    found = paired_bootstrap(
        np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 1.0]), users, seed=0,
        denominators=np.array([2.0, 4.0, 6.0]), other_denominators=np.array([4.0, 4.0, 4.0]),
    )  # fmt: skip
    assert found == pytest.approx((0.25, 0.25, 0.25))


def test_separate_calls_with_one_seed_are_paired() -> None:
    random = np.random.default_rng(8)
    sums = random.random((30, 2))
    both = resampled_totals(sums, seed=9, replicates=20)
    one = resampled_totals(sums[:, :1], seed=9, replicates=20)
    assert both[:, 0] == pytest.approx(one[:, 0])
    assert not np.allclose(resampled_totals(sums, seed=10, replicates=20), both)


def test_every_replicate_draws_as_many_clusters_as_there_are() -> None:
    weights = np.concatenate(list(drawn_weights(7, seed=0, replicates=50)))
    assert weights.shape == (50, 7)
    assert weights.sum(axis=1).tolist() == [7.0] * 50
    assert weights.mean() == 1.0


def test_blocks_of_draws_do_not_depend_on_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(drawn_weights(7, seed=0, replicates=50)))
    monkeypatch.setattr("segrec.metrics.intervals._CELLS_AT_ONCE", 21)
    blocks = list(drawn_weights(7, seed=0, replicates=50))
    assert len(blocks) == 17
    assert (np.concatenate(blocks) == whole).all()


def test_an_auc_under_drawn_users_is_exact() -> None:
    random = np.random.default_rng(6)
    labels, scores, users = random.integers(0, 2, 120), random.integers(0, 9, 120), random.integers(0, 15, 120)
    codes = cluster_codes(users, 120)
    found = reweighted_bootstrap(lambda w: auc_replicates(labels, scores, codes, w), 15, seed=2, replicates=200)
    assert found.value == pytest.approx(auc(labels, scores))
    drawn = np.concatenate(list(drawn_weights(15, seed=2, replicates=200)))
    expected = [auc(np.repeat(labels, w), np.repeat(scores, w)) for w in drawn[:, codes].astype(int)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])))


def test_undefined_replicates_are_left_out_and_few_clusters_have_no_interval() -> None:
    assert percentile_interval(1.0, np.array([1.0, math.nan, 3.0]), count=5, level=0.5) == Interval(1.0, 1.5, 2.5)
    assert str(clustered_bootstrap(np.array([1.0, 2.0]), np.array([7, 7]), seed=0)) == str(
        Interval(1.5, math.nan, math.nan)
    )


def test_no_row_gives_nan() -> None:
    found = clustered_bootstrap(np.zeros(0), np.zeros(0), seed=0)
    assert all(math.isnan(number) for number in found)
    assert math.isnan(reweighted_bootstrap(lambda w: w[:, 0], 0, seed=0).value)
    assert cluster_sums(np.zeros((0, 2)), np.zeros(0, np.int64)).shape == (0, 2)


@pytest.mark.parametrize(
    ("values", "clusters", "extra", "message"),
    [
        ([1.0, math.nan], [0, 1], {}, "NaN or infinite \\(row 1\\)"),
        ([1.0, math.inf], [0, 1], {}, "NaN or infinite \\(row 1\\)"),
        ([1.0, 2.0], [0, 1, 2], {}, "clusters have shape \\(3,\\) \\(expected: \\(2,\\)"),
        ([1.0, 2.0], [0, 1], {"denominators": np.ones(3)}, "expected: all \\(n,\\)"),
        ([1.0, 2.0], [0, 1], {"level": 1.0}, "level must lie between 0 and 1"),
    ],
)
def test_bad_rows_are_refused(values: list, clusters: list, extra: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clustered_bootstrap(np.array(values), np.array(clusters), seed=0, **extra)
