"""tau-b between the DIFFERENCES of predictions and of truths (KuaiLive-M3's Kendall d0.2, d0.4): no plain tau.

Pairs i < j of a group with |y_i - y_j| > delta; tau-b between the lists of p_i - p_j and y_i - y_j.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from segrec.metrics.binary_outcomes import Values
from segrec.metrics.groups import Groups, paired_values
from segrec.metrics.kendall import kendall_tau

_PAIRS_AT_ONCE = 1 << 22


def kendall_of_differences(predictions: Values, targets: Values, offsets: Values | None, delta: float) -> Tensor:
    """(G,) float64; NaN where a group keeps fewer than two pairs, or their differences are all equal.

    :param offsets: (G + 1,) from 0 to n, never falling; None = one group.
    :raises ValueError: shapes that differ, a NaN, offsets of another form.
    """
    predicted, target = paired_values(predictions, targets)
    groups = Groups.of(offsets, predicted)
    found = torch.full((len(groups.sizes),), torch.nan, dtype=torch.float64, device=predicted.device)
    bounds, room = groups.offsets.tolist(), 0
    while room < len(found):
        until = room + 1
        while until < len(found) and (bounds[until + 1] - bounds[room]) ** 2 <= _PAIRS_AT_ONCE:
            until += 1
        found[room:until] = _of_some(predicted, target, bounds[room : until + 1], delta)
        room = until
    return found


def _of_some(predicted: Tensor, target: Tensor, bounds: list[int], delta: float) -> Tensor:
    moves, differences, sizes = [], [], []
    for first, last in pairwise(bounds):
        early, late = torch.triu_indices(last - first, last - first, 1, device=predicted.device) + first
        difference = target[early] - target[late]
        kept = difference.abs() > delta
        moves.append((predicted[early] - predicted[late])[kept])
        differences.append(difference[kept])
        sizes.append(len(differences[-1]))
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    return kendall_tau(torch.cat(moves), torch.cat(differences), offsets)
