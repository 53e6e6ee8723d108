"""Area under the ROC curve, exact: the probability that a positive scores above a negative, ties counted half."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segrec.metrics.binary_outcomes import Values, as_tensor, binary_outcomes, row_weights

_CELLS_AT_ONCE = 1 << 24


def auc(labels: Values, scores: Values, weights: Values | None = None) -> float:
    """AUC of scores (n,) for labels (n,) in {0, 1}; NaN where one class has no row (or no weight).

    With `weights` (n,) a pair counts as the product of its weights: sum w_i w_j [s_i > s_j] + half the ties.

    :raises ValueError: shapes that differ, a label other than 0 and 1, NaN scores, negative weights.
    """
    ranked = RankedOutcomes.of(labels, scores)
    weight = torch.ones(len(ranked.order)) if weights is None else row_weights(weights, ranked.order)
    return float(ranked.weighted_auc(weight[None, :])[0])


@dataclass(frozen=True)
class RankedOutcomes:
    """Outcomes sorted by score once, to compute AUC under many sets of row weights (a bootstrap's replicates)."""

    order: Tensor
    "(n,) row numbers, ascending score."
    positive: Tensor
    "(n,) bool, in that order."
    tie_end: Tensor
    "(t,) the last place of each block of equal scores."

    @classmethod
    def of(cls, labels: Values, scores: Values) -> RankedOutcomes:
        """:raises ValueError: as `auc`."""
        outcome, score = binary_outcomes(labels, scores)
        sorted_score, order = torch.sort(score, stable=True)
        last = torch.ones(len(order), dtype=torch.bool, device=order.device)
        last[:-1] = sorted_score[1:] != sorted_score[:-1]
        return cls(order, outcome[order], last.nonzero()[:, 0])

    def weighted_auc(self, weights_RN: Tensor) -> Tensor:
        """AUC (R,) float64 under each line of row weights (R, n); NaN where a class has no weight."""
        return self._auc(weights_RN.to(self.order.device, torch.float64)[:, self.order])

    def cluster_auc(self, weights_RC: Tensor, clusters: Tensor) -> Tensor:
        """AUC (R,) where every row of cluster c weighs weights_RC[r, c]; clusters (n,) are numbers 0 .. C-1."""
        sorted_clusters = clusters.to(self.order.device)[self.order]
        weights = weights_RC.to(self.order.device, torch.float64)
        step = max(1, _CELLS_AT_ONCE // max(1, len(self.order)))
        auc = weights.new_empty(len(weights))
        for start in range(0, len(weights), step):
            auc[start : start + step] = self._auc(weights[start : start + step, sorted_clusters])
        return auc

    def _auc(self, sorted_weights_RN: Tensor) -> Tensor:
        below = _at_ends(sorted_weights_RN, self.tie_end)  # (R, t + 1)
        positive_below = _at_ends(sorted_weights_RN * self.positive, self.tie_end)
        negative_below = below - positive_below
        pairs = positive_below[:, -1] * negative_below[:, -1]
        # A tie block's positives win against the negatives below it and half of its own.
        wins = (positive_below.diff() * (negative_below[:, :-1] + negative_below[:, 1:])).sum(dim=1) / 2
        return torch.where(pairs > 0, wins / pairs.clamp(min=1e-300), math.nan)


def auc_replicates(
    labels: Values, scores: Values, clusters: Values, weights_RC: npt.NDArray[np.generic]
) -> npt.NDArray[np.float64]:
    """AUC (R,) when every row of cluster c weighs weights_RC[r, c]: a clustered bootstrap without sorting again.

    :param clusters: (n,) cluster number of each row, 0 .. C-1.
    :raises ValueError: as `auc`, or a cluster number outside the weights' columns.
    """
    ranked = RankedOutcomes.of(labels, scores)
    cluster = as_tensor(clusters).long()
    if cluster.shape != ranked.order.shape:
        raise ValueError(f"clusters have shape {tuple(cluster.shape)} (expected: {tuple(ranked.order.shape)})")
    if len(cluster) and not (int(cluster.min()) >= 0 and int(cluster.max()) < weights_RC.shape[1]):
        raise ValueError(f"cluster numbers must lie in 0 .. {weights_RC.shape[1] - 1}")
    replicates: npt.NDArray[np.float64] = ranked.cluster_auc(as_tensor(weights_RC), cluster).cpu().numpy()
    return replicates


def _at_ends(values_RN: Tensor, ends: Tensor) -> Tensor:
    """Running sums (R, t + 1) at the blocks' ends, with a 0 in front."""
    return torch.nn.functional.pad(values_RN.cumsum(dim=1)[:, ends], (1, 0))
