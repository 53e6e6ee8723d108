"""Average precision and F1 of the better half inside groups of any sizes (the KuaiLive-M3 highlight protocol's).

Legend: n rows of all groups, G groups.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segrec.metrics.binary_outcomes import Values, binary_outcomes
from segrec.metrics.groups import Groups, changes


def average_precision(labels: Values, scores: Values, offsets: Values | None = None) -> Tensor:
    """AP (G,) float64 = sum over distinct scores of (recall gained) x precision: scikit-learn's
    `average_precision_score` of each group; NaN where a group lacks positives or negatives.

    :param labels: (n,) 0 or 1.
    :param offsets: (G + 1,) from 0 to n, never falling; one group by default.
    :raises ValueError: shapes that differ, a label other than 0 and 1, a NaN score, offsets of another form.
    """
    outcome, score = binary_outcomes(labels, scores)
    groups = Groups.of(offsets, score)
    found, first, ends = _blocks(outcome, score, groups)
    of_block = groups.of_row[first]
    start = groups.offsets[of_block]
    precision = (found[ends] - found[start]).double() / (ends - start)
    gained = groups.sums(of_block, (found[ends] - found[first]).double() * precision)
    positives = found[groups.offsets[1:]] - found[groups.offsets[:-1]]
    return torch.where((positives > 0) & (positives < groups.sizes), gained / positives, torch.nan)


def f1_of_better_half(labels: Values, scores: Values, offsets: Values | None = None) -> Tensor:
    """F1@50% (G,) float64 when the max(1, floor(K / 2)) highest scores of a group of K are called positive.

    Where equal scores straddle the border: the exact expectation over their order. 0 where nothing is positive, NaN
    for an empty group.

    :raises ValueError: as `average_precision`.
    """
    outcome, score = binary_outcomes(labels, scores)
    groups = Groups.of(offsets, score)
    found, first, ends = _blocks(outcome, score, groups)
    called = (groups.sizes // 2).clamp(min=1)
    border = groups.offsets[:-1] + called
    if not len(score):
        return torch.full_like(border, torch.nan, dtype=torch.float64)
    block = torch.searchsorted(ends, border).clamp(max=len(ends) - 1)
    before, after = first[block], ends[block]
    share = (border - before).double() / (after - before)
    sure = found[before] - found[groups.offsets[:-1]]
    true_positives = sure + share * (found[after] - found[before])
    positives = found[groups.offsets[1:]] - found[groups.offsets[:-1]]
    return torch.where(groups.sizes > 0, 2 * true_positives / (called + positives), torch.nan)


def _blocks(outcome: Tensor, scores: Tensor, groups: Groups) -> tuple[Tensor, Tensor, Tensor]:
    """Rows by falling score inside each group: positives among the first m (n + 1,), and of each block of equal scores
    its first place and the place after its last.
    """
    order = groups.sort(-scores)
    found = torch.nn.functional.pad(outcome[order].long().cumsum(0), (1, 0))
    first = (changes(scores[order]) | groups.first).nonzero()[:, 0]
    return found, first, torch.cat([first[1:], groups.offsets[-1:]])[: len(first)]
