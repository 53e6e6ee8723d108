"""Intervals by clustered bootstrap: users (or rooms) are drawn, not rows, because a user's rows are alike.

Clusters are drawn with replacement, C of C; a cluster drawn w times weighs w. The draws depend only on the seed and
the number of clusters, so statistics of the same rows bootstrapped in separate calls are paired.
Legend: n rows, C clusters, R replicates, M statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

REPLICATES = 1000
LEVEL = 0.95

_CELLS_AT_ONCE = 1 << 24


class Interval(NamedTuple):
    """A value and its interval; NaN where undefined (no row; no interval from fewer than two clusters)."""

    value: float
    low: float
    high: float


def clustered_bootstrap(
    values: Array,
    clusters: Array,
    *,
    seed: int,
    denominators: Array | None = None,
    replicates: int = REPLICATES,
    level: float = LEVEL,
) -> Interval:
    """Mean of values (n,), or sum(values) / sum(denominators), with its percentile interval.

    A grouped AUC is such a ratio: values = weight * AUC of a group, denominators = its weight, clusters = users.

    :param clusters: (n,) ids of any type, one a row.
    :raises ValueError: lengths that differ, NaN or infinite values.
    """
    below = _ones_like(values) if denominators is None else denominators
    sums = cluster_sums(np.stack(_columns(values, below), axis=1), cluster_codes(clusters, len(values)))
    return _interval(sums, lambda totals: totals[:, 0] / totals[:, 1], seed, replicates, level)


def paired_bootstrap(
    values: Array,
    others: Array,
    clusters: Array,
    *,
    seed: int,
    denominators: Array | None = None,
    other_denominators: Array | None = None,
    replicates: int = REPLICATES,
    level: float = LEVEL,
) -> Interval:
    """Difference of two means (or ratios) over the same rows: that of `values` minus that of `others`.

    :param other_denominators: of `others`; the same `denominators` when not given.
    :raises ValueError: lengths that differ, NaN or infinite values.
    """
    below = _ones_like(values) if denominators is None else denominators
    other_below = below if other_denominators is None else other_denominators
    columns = _columns(values, below, others, other_below)
    sums = cluster_sums(np.stack(columns, axis=1), cluster_codes(clusters, len(values)))
    return _interval(
        sums, lambda totals: totals[:, 0] / totals[:, 1] - totals[:, 2] / totals[:, 3], seed, replicates, level
    )


def reweighted_bootstrap(
    statistic: Callable[[FloatArray], FloatArray],
    count: int,
    *,
    seed: int,
    replicates: int = REPLICATES,
    level: float = LEVEL,
) -> Interval:
    """Interval of any statistic that can be computed under cluster weights: (r, C) -> (r,).

    For an AUC: `lambda weights: auc_replicates(labels, scores, codes, weights)`, codes from `cluster_codes`.

    :param count: C, the number of clusters.
    """
    if count == 0:
        return Interval(math.nan, math.nan, math.nan)
    value = float(statistic(np.ones((1, count)))[0])
    drawn = [statistic(weights) for weights in drawn_weights(count, seed, replicates)]
    return percentile_interval(value, np.concatenate(drawn), count, level)


def cluster_codes(clusters: Array, rows: int) -> npt.NDArray[np.int64]:
    """(n,) 0 .. C-1 of each row's cluster, by sorted id.

    :raises ValueError: not one id a row.
    """
    ids = np.asarray(clusters)
    if ids.shape != (rows,):
        raise ValueError(f"clusters have shape {ids.shape} (expected: ({rows},), one id a row)")
    return np.unique(ids, return_inverse=True)[1].reshape(-1).astype(np.int64)


def cluster_sums(values: Array, codes: npt.NDArray[np.int64]) -> FloatArray:
    """Sums (C, M) of values (n, M) by cluster: all that a bootstrap of means and ratios needs."""
    count = int(codes.max(initial=-1)) + 1
    sums = np.empty((count, values.shape[1]))
    for column in range(values.shape[1]):
        sums[:, column] = np.bincount(codes, values[:, column], minlength=count)
    return sums


def resampled_totals(sums: FloatArray, *, seed: int, replicates: int = REPLICATES) -> FloatArray:
    """Totals (R, M) over drawn clusters of sums (C, M)."""
    if not len(sums):
        return np.full((replicates, sums.shape[1]), math.nan)
    return np.concatenate([weights @ sums for weights in drawn_weights(len(sums), seed, replicates)])


def drawn_weights(count: int, seed: int, replicates: int) -> Iterator[FloatArray]:
    """Weights (r, C) of drawn clusters, all replicates in blocks of bounded size."""
    generator = np.random.default_rng(seed)
    step = max(1, _CELLS_AT_ONCE // count)
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        drawn = generator.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def percentile_interval(value: float, drawn: FloatArray, count: int, level: float = LEVEL) -> Interval:
    """The middle `level` of the drawn values; replicates without a value (a class missing) are left out."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1 (found: {level})")
    kept = drawn[np.isfinite(drawn)]
    if count < 2 or not len(kept):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def _interval(
    sums: FloatArray, statistic: Callable[[FloatArray], FloatArray], seed: int, replicates: int, level: float
) -> Interval:
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(sums.sum(axis=0)[None])[0])
        drawn = statistic(resampled_totals(sums, seed=seed, replicates=replicates))
    return percentile_interval(value, drawn, len(sums), level)


def _columns(*arrays: Array) -> list[FloatArray]:
    columns = [np.asarray(array, dtype=np.float64) for array in arrays]
    for column in columns:
        if column.shape != columns[0].shape or column.ndim != 1:
            raise ValueError(f"arrays of shapes {[c.shape for c in columns]} (expected: all (n,))")
        if not np.isfinite(column).all():
            raise ValueError(f"a value is NaN or infinite (row {int(np.argmin(np.isfinite(column)))})")
    return columns


def _ones_like(values: Array) -> FloatArray:
    return np.ones(np.shape(values))
