"""Spearman's rank correlation inside groups of any sizes: Pearson's of the ranks, equal values share the mean rank."""

from __future__ import annotations

import torch
from torch import Tensor

from segrec.metrics.binary_outcomes import Values
from segrec.metrics.groups import Groups, changes, paired_values


def spearman(predictions: Values, targets: Values, offsets: Values | None = None) -> Tensor:
    """Correlation (G,) float64 of each group, NaN where either is constant: `scipy.stats.spearmanr` of its rows.

    :param offsets: (G + 1,) from 0 to n, never falling; one group by default.
    :raises ValueError: shapes that differ, a NaN, offsets of another form.
    """
    predicted, target = paired_values(predictions, targets)
    groups = Groups.of(offsets, predicted)
    x, y = mean_ranks(predicted, groups), mean_ranks(target, groups)
    # Ranks (twice, about the mean) are whole numbers: sums of their products are exact.
    x, y = (2 * ranks - groups.sizes[groups.of_row] - 1 for ranks in (x, y))
    xy, xx, yy = (groups.sums(groups.of_row, part) for part in (x * y, x * x, y * y))
    return xy / xx.sqrt() / yy.sqrt()


def mean_ranks(values: Tensor, groups: Groups) -> Tensor:
    """(n,) float64 ranks from 1 inside each group."""
    order = groups.sort(values)
    block_begins = changes(values[order]) | groups.first
    first = block_begins.nonzero()[:, 0]
    middle = first.double() + (first.diff(append=groups.offsets[-1:]) + 1).double() / 2
    ranks = middle[block_begins.cumsum(0) - 1]
    return torch.empty_like(ranks).index_copy_(0, order, ranks) - groups.starts
