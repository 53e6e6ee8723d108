"""Rows of a skip table: means, seeds, paired differences, oracle shares and the verdict, on a handful of views."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from segrec.encoders.exit_table import Outcomes
from segrec.encoders.prediction import ExitPrediction
from segrec.metrics.auc import auc, auc_replicates
from segrec.metrics.intervals import clustered_bootstrap, paired_bootstrap, reweighted_bootstrap
from segrec.records import MetricRow
from segrec.skip_evaluation.cohorts import skip_cohorts
from segrec.skip_evaluation.protocols import measure
from segrec.skip_evaluation.tables import Entry, skip_rows
from segrec.skip_evaluation.verdict import verdicts

RANDOM = np.random.default_rng(0)
USERS = RANDOM.integers(0, 40, 400)
HAZARDS = RANDOM.uniform(0.05, 0.6, (400, 4))
LENGTHS = RANDOM.integers(1, 5, 400)
TRUTH = ExitPrediction.from_hazards(HAZARDS, LENGTHS)


def _drawn() -> np.ndarray:
    shares = np.exp(np.concatenate([TRUTH.log_exit, TRUTH.log_end[:, None]], axis=1))
    places = (shares.cumsum(axis=1) > RANDOM.random((400, 1))).argmax(axis=1)
    return np.where(places == 4, LENGTHS, places)


VIEWS = pl.DataFrame({"user_id": USERS, "item_id": USERS % 7, "n_segments": LENGTHS, "exit_segment": _drawn()})
OUTCOMES = Outcomes.of(VIEWS)
COHORTS = skip_cohorts(VIEWS, VIEWS.filter(pl.col("item_id") < 5))


def entry(model: str, noise: float, seed: int | None = None, challenger: bool = False) -> Entry:
    """A model that knows the hazards up to noise."""
    random = np.random.default_rng(seed or 0)
    logits = np.log(HAZARDS / (1 - HAZARDS)) + noise * random.normal(size=HAZARDS.shape)
    found = ExitPrediction.from_logits(logits, LENGTHS)
    return Entry(model, seed, challenger, measure(found, found, OUTCOMES, COHORTS, width=4))


ENTRIES = [
    entry("length_position", 2.0), entry("item_shrunk", 1.5), entry("lightgbm_hazard", 0.6, challenger=True),
    entry("ours", 0.5, 1, challenger=True), entry("ours", 0.5, 2, challenger=True), entry("oracle", 0.0),
]  # fmt: skip
ROWS = skip_rows(ENTRIES, COHORTS, "test", seed=11)


def row(model: str, metric: str, *, protocol: str = "exit", cohort: str = "all", **more: object) -> MetricRow:
    asked = {
        "versus": None,
        "seed": None,
        **more,
        "model": model,
        "metric": metric,
        "protocol": protocol,
        "cohort": cohort,
    }
    (found,) = [one for one in ROWS if all(getattr(one, key) == value for key, value in asked.items())]
    return found


def nll(model: int, cohort: int = 0) -> np.ndarray:
    return ENTRIES[model].measured.columns["exit", "NLL"][COHORTS[cohort].rows]


def test_a_mean_has_the_clustered_interval_of_its_cohort() -> None:
    for cohort in (0, 1, 2):
        users = USERS[COHORTS[cohort].rows]
        found = row("item_shrunk", "NLL", cohort=COHORTS[cohort].name)
        expected = clustered_bootstrap(nll(1, cohort), users, seed=11)
        assert (found.value, found.low, found.high) == pytest.approx(tuple(expected))
        assert found.n == len(users)


def test_a_difference_is_paired_by_user() -> None:
    found = row("lightgbm_hazard", "NLL", versus="item_shrunk")
    expected = paired_bootstrap(nll(2), nll(1), USERS, seed=11)
    assert (found.value, found.low, found.high) == pytest.approx(tuple(expected))


def test_ranking_is_measured_on_skips_only() -> None:
    found = row("item_shrunk", "NDCG@5", protocol="masked_skip")
    column = ENTRIES[1].measured.columns["masked_skip", "NDCG@5"]
    left = OUTCOMES.left
    assert found.n == left.sum()
    assert found.value == pytest.approx(column[left].mean())
    expected = clustered_bootstrap(np.where(left, column, 0.0), USERS, denominators=left.astype(float), seed=11)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_auc_intervals_are_close_to_those_of_exact_replicates() -> None:
    first = ENTRIES[1].measured.first_exit
    assert first is not None
    labels, codes = (OUTCOMES.exits == 0).astype(int), COHORTS[0].codes
    exact = reweighted_bootstrap(lambda w: auc_replicates(labels, first, codes, w), int(codes.max()) + 1, seed=11)
    found = row("item_shrunk", "AUC")
    assert found.value == pytest.approx(auc(labels, first))
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.004)


def test_seeds_have_rows_of_their_own_and_a_mean() -> None:
    values = [row("ours", "NLL", seed=seed).value for seed in (1, 2)]
    mean = row("ours", "NLL")
    assert mean.value == pytest.approx(np.mean(values))
    assert mean.low is not None
    assert mean.high is not None
    assert mean.low < min(values) < max(values) < mean.high
    difference = row("ours", "NLL", versus="item_shrunk")
    assert difference.value == pytest.approx(mean.value - row("item_shrunk", "NLL").value)


def test_shares_of_the_oracles_lift() -> None:
    prior, best = row("length_position", "NLL").value, row("oracle", "NLL").value
    found = row("item_shrunk", "oracle_share_NLL")
    assert found.value == pytest.approx((row("item_shrunk", "NLL").value - prior) / (best - prior))
    assert found.low is not None
    assert found.low < found.value
    assert not [one for one in ROWS if one.model in ("oracle", "length_position") and "share_NLL" in one.metric]


def test_predicted_and_observed_shares_of_exits() -> None:
    observed = [row("observed", f"exit_share@{place}").value for place in (0, 1, 2, 3, "end")]
    assert observed == pytest.approx(
        [(OUTCOMES.left & (OUTCOMES.exits == s)).mean() for s in range(4)] + [(~OUTCOMES.left).mean()]
    )
    predicted = [row("ours", f"exit_share@{place}").value for place in (0, 1, 2, 3, "end")]
    assert sum(predicted) == pytest.approx(1.0, abs=1e-5)
    assert row("oracle", "ECE").value < row("length_position", "ECE").value


def test_no_row_appears_twice() -> None:
    keys = [(r.cohort, r.protocol, r.model, r.versus, r.seed, r.metric) for r in ROWS]
    assert len(keys) == len(set(keys))


def test_the_same_draws_give_the_same_rows() -> None:
    assert skip_rows(ENTRIES, COHORTS[:1], "test", seed=11) == [one for one in ROWS if one.cohort == "all"]


def test_a_model_that_knows_more_counts() -> None:
    (found,) = verdicts(ROWS)
    assert found.model == "ours"
    assert found.counts is True
    assert str(found).startswith("ours: counts\n  NLL - item_shrunk = -")


def paired(metric: str, versus: str, low: float | None, high: float | None) -> MetricRow:
    protocol = "exit" if metric == "NLL" else "masked_skip"
    middle = 0.0 if low is None or high is None else (low + high) / 2
    return MetricRow(
        task="skip", split="test", protocol=protocol, model="m", versus=versus, metric=metric, value=middle,
        low=low, high=high, n=9,
    )  # fmt: skip


GOOD = (("NLL", "item_shrunk", -2.0, -1.0), ("NLL", "lightgbm_hazard", -1.0, 1.0), ("NDCG@5", "item_shrunk", -1.0, 1.0))


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ({}, True),
        ({0: ("NLL", "item_shrunk", -2.0, 0.1)}, False),
        ({1: ("NLL", "lightgbm_hazard", 0.1, 1.0)}, False),
        ({1: ("NLL", "lightgbm_hazard", -2.0, -1.0)}, True),
        ({2: ("NDCG@5", "item_shrunk", -2.0, -0.1)}, False),
        ({1: None}, None),
        ({0: ("NLL", "item_shrunk", None, None)}, None),
        ({0: ("NLL", "item_shrunk", -2.0, 0.1), 1: None}, False),
    ],
)
def test_the_counting_rule(changed: dict, counts: bool | None) -> None:
    given = [changed.get(place, condition) for place, condition in enumerate(GOOD)]
    (found,) = verdicts([paired(*condition) for condition in given if condition is not None])
    assert found.counts is counts
    assert len(found.reasons) == 3
