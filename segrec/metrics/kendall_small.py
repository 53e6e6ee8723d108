"""Pairs of many small groups, counted all against all: groups side by side, padded, a lag at a time.

Legend: K rows of the largest group of a block, B groups of a block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segrec.metrics.groups import Groups

LARGEST = 256
"Rows of a small group: a row's pairs still fit 8 bits."
_CELLS_AT_ONCE = {"cpu": 1 << 15, "cuda": 1 << 23}
"Padded rows of a block. CPU: below what torch splits over threads, whose barriers cost more than the work."


def small_group_pairs(predicted: Tensor, target: Tensor, groups: Groups, chosen: Tensor) -> Tensor:
    """(4, C) int64 of the groups `chosen` (C,): pairs ordered alike, untied in both, in the prediction, in the truth.

    Predictions and targets (n,) are floating without NaN; groups of at most LARGEST rows.
    """
    sizes, order = groups.sizes[chosen].sort()
    found = torch.zeros((4, len(chosen)), dtype=torch.int64, device=predicted.device)
    cells = _CELLS_AT_ONCE.get(predicted.device.type, _CELLS_AT_ONCE["cuda"])
    done, lengths = 0, sizes.tolist()
    while done < len(lengths):
        until = min(len(lengths), done + max(1, cells // max(1, lengths[done])))
        # Sizes rise, so the last of a block is its longest; a much longer one begins a new block.
        while until > done + 1 and lengths[until - 1] * (until - done) > 2 * cells:
            until = done + (until - done + 1) // 2
        some = order[done:until]
        found[:, some] = _block(predicted, target, groups.offsets[chosen[some]], sizes[done:until])
        done = until
    return found


def _block(predicted: Tensor, target: Tensor, starts: Tensor, sizes: Tensor) -> Tensor:
    """(4, B) of groups that begin at starts (B,)."""
    longest = int(sizes[-1])
    place = torch.arange(longest, device=predicted.device)[:, None]
    inside = place < sizes
    rows = torch.where(inside, starts + place, 0)
    # A comparison with NaN is False: padding is in no pair.
    x, y = (torch.where(inside, column[rows], torch.nan) for column in (predicted, target))
    counts = torch.zeros((4, longest, len(sizes)), dtype=torch.uint8, device=predicted.device)
    for lag in range(1, longest):
        up, down = x[lag:] > x[:-lag], x[lag:] < x[:-lag]
        rises, falls = y[lag:] > y[:-lag], y[lag:] < y[:-lag]
        alike = (up & rises).logical_or_(down & falls)
        moves, differs = up.logical_or_(down), rises.logical_or_(falls)
        for count, kind in zip(counts, (alike, moves & differs, moves, differs), strict=True):
            count[lag:] += kind.view(torch.uint8)
    return counts.sum(dim=1, dtype=torch.int64)
