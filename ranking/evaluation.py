"""Predictions on a split -> metric rows: every metric of the label with user-clustered intervals, alone and paired.

All replicates of one cohort share their draws of users, so any two models compared on it are paired. A model with
several seeds counts as the mean over them; its interval also draws its seeds, with replacement.
Legend: n rows, C users, R replicates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ranking.measures.chance_metrics import ChanceStatistics
from ranking.measures.outcomes import COHORTS, Bools, Cohort, Outcomes
from ranking.measures.watch_metrics import WatchStatistics
from segrec.metrics.intervals import (
    REPLICATES,
    FloatArray,
    cluster_codes,
    drawn_weights,
    percentile_interval,
)
from segrec.records import MetricRow

GROUPS = "gauc_groups"
"Beside the GAUCs: the number of users with both labels, over whom they are taken."
ORACLE_SHARE = "oracle_share_"
SHARED = ("AUC", "gauc_impression", "LogLoss")
"In made worlds: the share of the oracle's lift over a prior that a model reaches in these metrics."

_SEED = 20_240_613


@dataclass(frozen=True)
class Prediction:
    """One model's probabilities on the rows of an `Outcomes`."""

    model: str
    probabilities: npt.NDArray[np.floating]
    "(n,), in the rows' order; expected seconds of a watch time."
    seed: int | None = None


@dataclass(frozen=True)
class Draws:
    """A metric's value and its value on each replicate (R,)."""

    value: float
    replicates: FloatArray

    def minus(self, other: Draws) -> Draws:
        """The paired difference."""
        return Draws(self.value - other.value, self.replicates - other.replicates)

    def over(self, other: Draws) -> Draws:
        """The ratio; NaN where the other is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            replicates = self.replicates / np.where(other.replicates == 0, math.nan, other.replicates)
        return Draws(self.value / other.value if other.value else math.nan, replicates)


@dataclass(frozen=True)
class Measured:
    """All metrics of all models on one cohort."""

    rows: int
    users: int
    by_seed: dict[tuple[str, int | None], dict[str, Draws]]
    over_seeds: dict[str, dict[str, Draws]]
    groups: int
    "Users with both labels."

    def oracle_share(self, model: str, prior: str, oracle: str, metric: str) -> Draws:
        """(model - prior) / (oracle - prior): 0 = no better than the prior, 1 = as good as can be."""
        of = self.over_seeds
        return of[model][metric].minus(of[prior][metric]).over(of[oracle][metric].minus(of[prior][metric]))


def metric_rows(
    outcomes: Outcomes,
    predictions: Sequence[Prediction],
    pairs: Iterable[tuple[str, str]] = (),
    *,
    lift: tuple[str, str] | None = None,
    cohorts: Sequence[Cohort] = COHORTS,
    replicates: int = REPLICATES,
) -> list[MetricRow]:
    """Rows for each cohort: each model's metrics, then the difference of each pair (model, versus).

    Cohorts without rows are left out. A model has rows for each of its seeds, and rows over them (seed null).

    :param lift: (prior, oracle): adds each other model's share of the oracle's lift over the prior.

    :raises ValueError: a prediction of another length, or that the label cannot have.
    """
    wanted = list(dict.fromkeys(pairs))
    rows: list[MetricRow] = []
    for cohort in cohorts:
        mask = outcomes.cohort(cohort)
        if mask.any():
            rows += _cohort_rows(outcomes, cohort, measure(outcomes, mask, predictions, replicates), wanted, lift)
    return rows


def measure(
    outcomes: Outcomes, mask: Bools, predictions: Sequence[Prediction], replicates: int = REPLICATES
) -> Measured:
    """Metrics and their replicates on the rows of `mask`.

    :raises ValueError: as `metric_rows`.
    """
    values, users = outcomes.values[mask], cluster_codes(outcomes.users[mask], int(mask.sum()))
    kind = ChanceStatistics if outcomes.binary else WatchStatistics
    parts = [kind.of(values, prediction.probabilities[mask], users) for prediction in predictions]
    count = int(users.max()) + 1
    found = [part.metrics(np.ones((1, count)), users) for part in parts]
    drawn: list[list[dict[str, FloatArray]]] = [[] for _ in parts]
    for weights in drawn_weights(count, _SEED, replicates):
        for part, so_far in zip(parts, drawn, strict=True):
            so_far.append(part.metrics(weights, users))
    by_seed = {
        (prediction.model, prediction.seed): {
            metric: Draws(float(value[0]), np.concatenate([block[metric] for block in blocks]))
            for metric, value in metrics.items()
        }
        for prediction, metrics, blocks in zip(predictions, found, drawn, strict=True)
    }
    models = dict.fromkeys(prediction.model for prediction in predictions)
    over = {model: _over_seeds([own for (name, _), own in by_seed.items() if name == model]) for model in models}
    return Measured(len(values), count, by_seed, over, max((part.groups for part in parts), default=0))


def _over_seeds(seeds: Sequence[dict[str, Draws]]) -> dict[str, Draws]:
    """Mean over seeds; each replicate draws the seeds anew."""
    if len(seeds) == 1:
        return seeds[0]
    count = len(next(iter(seeds[0].values())).replicates)
    drawn = np.random.default_rng(_SEED).integers(0, len(seeds), (len(seeds), count))
    over = {}
    for metric in seeds[0]:
        stacked = np.stack([found[metric].replicates for found in seeds])
        replicates = np.take_along_axis(stacked, drawn, axis=0).mean(axis=0)
        over[metric] = Draws(float(np.mean([found[metric].value for found in seeds])), replicates)
    return over


def _cohort_rows(
    outcomes: Outcomes,
    cohort: Cohort,
    measured: Measured,
    pairs: Sequence[tuple[str, str]],
    lift: tuple[str, str] | None,
) -> list[MetricRow]:
    def row(metric: str, draws: Draws, model: str, versus: str | None = None, seed: int | None = None) -> MetricRow:
        value, low, high = percentile_interval(draws.value, draws.replicates, measured.users)
        return MetricRow(
            task="ctr", split=outcomes.split, cohort=cohort, protocol=outcomes.label, model=model, versus=versus,
            seed=seed, metric=metric, value=value, low=_known(low), high=_known(high), n=measured.rows,
        )  # fmt: skip

    rows = []
    for (model, seed), found in measured.by_seed.items():
        if seed is not None:
            rows += [row(metric, draws, model, seed=seed) for metric, draws in found.items()]
    for model, found in measured.over_seeds.items():
        rows += [row(metric, draws, model) for metric, draws in found.items()]
        if outcomes.binary:
            rows.append(row(GROUPS, Draws(float(measured.groups), np.empty(0)), model))
        if lift is not None and model not in lift:
            shares = {metric: measured.oracle_share(model, *lift, metric) for metric in SHARED}
            rows += [row(ORACLE_SHARE + metric, share, model) for metric, share in shares.items()]
    for model, versus in pairs:
        ours, theirs = measured.over_seeds[model], measured.over_seeds[versus]
        rows += [row(metric, ours[metric].minus(theirs[metric]), model, versus) for metric in ours]
    return rows


def _known(bound: float) -> float | None:
    return None if math.isnan(bound) else bound
