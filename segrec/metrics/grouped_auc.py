"""AUC inside groups (users, sessions), averaged under a named weighting: GAUC, exact, ties counted half."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from segrec.metrics.binary_outcomes import Values, as_tensor, binary_outcomes

GroupWeight = Literal["impression", "mean", "positive"]
GAUC_NAMES: dict[str, GroupWeight] = {
    "gauc_impression": "impression",
    "gauc_mean": "mean",
    "gauc_positive": "positive",
}
"Metric names and what each weighs a group by: its impressions (the default), 1, or its positives."


@dataclass(frozen=True)
class GroupAucs:
    """AUC of every group that has both classes; the others have none and are left out."""

    group: Tensor
    "(g,) the group's value as given (for text: its place among the sorted distinct ones)."
    auc: Tensor
    "(g,) float64."
    impressions: Tensor
    "(g,) int64 rows of the group."
    positives: Tensor
    "(g,) int64."

    def weight(self, by: GroupWeight) -> Tensor:
        """(g,) float64 weights of the groups.

        :raises ValueError: an unknown weighting.
        """
        if by == "impression":
            return self.impressions.double()
        if by == "positive":
            return self.positives.double()
        if by == "mean":
            return torch.ones_like(self.auc)
        raise ValueError(f"unknown GAUC weight {by!r} (known: impression, mean, positive)")


def grouped_auc(
    labels: Values, scores: Values, groups: Values, weight: GroupWeight = "impression"
) -> tuple[float, int]:
    """GAUC = sum_g w_g AUC_g / sum_g w_g over the groups with both classes, and how many those are.

    labels, scores, groups (n,); NaN and 0 where no group has both classes.

    :raises ValueError: shapes that differ, a label other than 0 and 1, NaN scores, an unknown weight.
    """
    found = group_aucs(labels, scores, groups)
    weights = found.weight(weight)
    if not len(weights):
        return math.nan, 0
    return float((weights * found.auc).sum() / weights.sum()), len(weights)


def group_aucs(labels: Values, scores: Values, groups: Values) -> GroupAucs:
    """AUC of each group with both classes, without a loop: two stable sorts, then differences of running counts.

    In a block of equal (group, score) with p positives and q negatives, above q_below negatives of its group, the
    positives win p (q_below + q / 2) pairs; all counts are integers, so the result is exact.

    :raises ValueError: as `grouped_auc`.
    """
    outcome, score = binary_outcomes(labels, scores)
    group = _as_integers(groups).to(score.device)
    if group.shape != outcome.shape:
        raise ValueError(f"groups have shape {tuple(group.shape)} (expected: {tuple(outcome.shape)})")
    by_score = torch.sort(score, stable=True).indices
    group, by_group = torch.sort(group[by_score], stable=True)
    order = by_score[by_group]
    score = score[order]
    group_last = _last_of_run(group[1:] != group[:-1], len(group))
    block_last = _last_of_run((group[1:] != group[:-1]) | (score[1:] != score[:-1]), len(group))
    positives_below = torch.nn.functional.pad(outcome[order].long().cumsum(0), (1, 0))
    starts, ends = _bounds(group_last)
    block_start, block_end = _bounds(block_last)
    block_positives = positives_below[block_end] - positives_below[block_start]
    block_negatives = block_end - block_start - block_positives
    block_group = torch.searchsorted(ends, block_start, right=True)
    negatives_below = (block_start - starts[block_group]) - (
        positives_below[block_start] - positives_below[starts[block_group]]
    )
    wins_twice = torch.nn.functional.pad((block_positives * (2 * negatives_below + block_negatives)).cumsum(0), (1, 0))
    block_ends = torch.searchsorted(block_end, ends, right=True)
    won = wins_twice[block_ends].diff(prepend=torch.zeros_like(block_ends[:1]))
    positives, impressions = positives_below[ends] - positives_below[starts], ends - starts
    both = (positives > 0) & (positives < impressions)
    pairs = 2 * positives * (impressions - positives)
    return GroupAucs(group[starts][both], (won.double() / pairs)[both], impressions[both], positives[both])


def _as_integers(groups: Values) -> Tensor:
    if isinstance(groups, Tensor) or np.issubdtype(np.asarray(groups).dtype, np.integer):
        return as_tensor(groups)
    return torch.from_numpy(np.unique(np.asarray(groups), return_inverse=True)[1])


def _last_of_run(changes: Tensor, rows: int) -> Tensor:
    last = torch.ones(rows, dtype=torch.bool, device=changes.device)
    last[:-1] = changes
    return last


def _bounds(last: Tensor) -> tuple[Tensor, Tensor]:
    """First place and place after the last of each run."""
    ends = last.nonzero()[:, 0] + 1
    return torch.nn.functional.pad(ends[:-1], (1, 0)) if len(ends) else ends, ends
