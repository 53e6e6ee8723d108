"""Statistics of models on a cohort with their bootstrap replicates, paired because all share the same drawn users."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segrec.metrics.intervals import Interval, percentile_interval, resampled_totals
from segrec.skip_evaluation.cohorts import Cohort
from segrec.skip_evaluation.protocols import Key, Measured

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """A statistic and what it became under the drawn users."""

    value: float
    drawn: FloatArray
    "(R,) replicates."
    n: int
    "Views measured on."
    users: int

    @property
    def interval(self) -> Interval:
        """Value, low, high."""
        return percentile_interval(self.value, self.drawn, self.users)

    def minus(self, other: Drawn) -> Drawn:
        """The paired difference."""
        with np.errstate(invalid="ignore"):
            return Drawn(self.value - other.value, self.drawn - other.drawn, self.n, self.users)

    def share_of(self, other: Drawn) -> Drawn:
        """The paired ratio self / other; NaN where other is 0."""
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = self.drawn / other.drawn
        return Drawn(self.value / other.value if other.value else math.nan, drawn, self.n, self.users)


Statistics = Mapping[Key, Drawn]


def bootstrap(measured: Sequence[Measured], cohort: Cohort, seed: int) -> list[Statistics]:
    """Statistics of each model on the cohort, in one pass over the draws for all columns of all models.

    Means are sums over users, drawn again; pair statistics go by their first-order influence (see `PairCounts`).
    """
    columns = [{key: column[cohort.rows] for key, column in one.columns.items()} for one in measured]
    pairs = [one.pairs(cohort) for one in measured]
    present = {key[0]: ~np.isnan(column) for one in columns for key, column in one.items()}
    sums = [_by_user(cohort, there) for there in present.values()]
    for means, paired in zip(columns, pairs, strict=True):
        sums += [_by_user(cohort, np.where(present[key[0]], column, 0.0)) for key, column in means.items()]
        sums += [_by_user(cohort, counts.influence) for counts in paired.values()]
    with np.errstate(invalid="ignore"):
        totals = iter(resampled_totals(np.stack(sums, axis=1), seed=seed).T)
    views = {protocol: next(totals) for protocol in present}
    users = len(sums[0])
    found: list[Statistics] = []
    for means, paired in zip(columns, pairs, strict=True):
        statistics = {}
        for key, column in means.items():
            statistics[key] = _mean(column[present[key[0]]], next(totals), views[key[0]], users)
        for key, counts in paired.items():
            statistics[key] = Drawn(counts.value, counts.value + next(totals), cohort.size, users)
        found.append(statistics)
    return found


def over_seeds(seeds: Sequence[Statistics], seed: int) -> Statistics:
    """The mean over a model's seeds; each replicate draws users and seeds."""
    return {key: _over_seeds([statistics[key] for statistics in seeds], seed) for key in seeds[0]}


def _over_seeds(seeds: Sequence[Drawn], seed: int) -> Drawn:
    if len(seeds) == 1:
        return seeds[0]
    drawn = np.stack([one.drawn for one in seeds])
    chosen = np.random.default_rng(seed).integers(0, len(seeds), drawn.shape)
    value = float(np.mean([one.value for one in seeds]))
    return Drawn(value, np.take_along_axis(drawn, chosen, axis=0).mean(axis=0), seeds[0].n, seeds[0].users)


def _mean(values: FloatArray, totals: FloatArray, views: FloatArray, users: int) -> Drawn:
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = totals / views
    return Drawn(float(values.mean()) if len(values) else math.nan, drawn, len(values), users)


def _by_user(cohort: Cohort, column: npt.NDArray[np.generic]) -> FloatArray:
    return np.bincount(cohort.codes, column.astype(np.float64)).astype(np.float64)
