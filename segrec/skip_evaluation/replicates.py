"""Statistics of models on a cohort with their bootstrap replicates, paired because all share the same drawn users."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from segrec.metrics.drawn import Drawn, Statistics
from segrec.metrics.intervals import resampled_totals
from segrec.skip_evaluation.cohorts import Cohort
from segrec.skip_evaluation.protocols import Measured

FloatArray = npt.NDArray[np.float64]


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


def _mean(values: FloatArray, totals: FloatArray, views: FloatArray, users: int) -> Drawn:
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = totals / views
    return Drawn(float(values.mean()) if len(values) else math.nan, drawn, len(values), users)


def _by_user(cohort: Cohort, column: npt.NDArray[np.generic]) -> FloatArray:
    return np.bincount(cohort.codes, column.astype(np.float64)).astype(np.float64)
