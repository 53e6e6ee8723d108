"""Spearman's rank correlation inside groups of any sizes: Pearson's of the ranks, equal values share the mean rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from segrec.metrics.binary_outcomes import Values
from segrec.metrics.groups import Groups, changes, paired_values

_CELLS_AT_ONCE = 1 << 24


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


@dataclass(frozen=True)
class RankedPairs:
    """Pairs of values ranked once, to compute Spearman's correlation under many sets of weights (a bootstrap's)."""

    sides: tuple[_RankedSide, _RankedSide]

    @classmethod
    def of(cls, predictions: Values, targets: Values) -> Self:
        """:raises ValueError: shapes that differ, a NaN."""
        predicted, target = paired_values(predictions, targets)
        return cls((_RankedSide.of(predicted), _RankedSide.of(target)))

    def cluster_spearman(self, weights_RC: Tensor, clusters: Tensor) -> Tensor:
        """Correlation (R,) float64 where every row of cluster c weighs weights_RC[r, c]; clusters (n,) 0 .. C - 1.

        A weight w stands for w equal rows. NaN where either side is constant.
        """
        weights = weights_RC.to(torch.float64)
        step = max(1, _CELLS_AT_ONCE // max(1, len(clusters)))
        found = [self._spearman(weights[start : start + step, clusters]) for start in range(0, len(weights), step)]
        return torch.cat(found) if found else weights.new_empty(0)

    def _spearman(self, weights_RN: Tensor) -> Tensor:
        x, y = (side.centred_ranks(weights_RN) for side in self.sides)
        xy, xx, yy = ((weights_RN * part).sum(dim=1) for part in (x * y, x * x, y * y))
        return xy / xx.sqrt() / yy.sqrt()


@dataclass(frozen=True)
class _RankedSide:
    order: Tensor
    "(n,) row numbers, ascending."
    tie_end: Tensor
    "(t,) the last place of each block of equal values."
    block: Tensor
    "(n,) each row's block."

    @classmethod
    def of(cls, values: Tensor) -> Self:
        ordered, order = torch.sort(values, stable=True)
        begins = changes(ordered)
        block = torch.empty_like(order).index_copy_(0, order, begins.cumsum(0) - 1)
        return cls(order, begins.roll(-1).nonzero()[:, 0], block)

    def centred_ranks(self, weights_RN: Tensor) -> Tensor:
        """(R, n) mean ranks of the weighted rows, about their weighted mean."""
        below = torch.nn.functional.pad(weights_RN[:, self.order].cumsum(dim=1)[:, self.tie_end], (1, 0))
        ranks = ((below[:, :-1] + below[:, 1:]) / 2)[:, self.block]
        return ranks - below[:, -1:] / 2
