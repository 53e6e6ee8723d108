"""Skip prediction as ranking: is the segment where the view ended among the K lowest scores?

Ties count by their exact expectation over a random order, never by a draw. Two protocols (named, never mixed):
`masked_skip` - candidates are the video's own N segments, views that ended before the end only;
`slots40` - the SegMM paper's: every slot of the grid, padding included, is a candidate; a view watched to the end has
target slot N, and is left out where the grid has no such slot (N = 40).
Legend: B views, S slots, R ranked views.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segrec.metrics.binary_outcomes import Values, as_tensor

CUTOFFS = (1, 5, 10)

_ROWS_AT_ONCE = 16_384
"On a CPU: what fits its cache."


@dataclass(frozen=True)
class SkipRanks:
    """Where the targets came: any of the places above + 1 .. above + ties, all alike."""

    above: Tensor
    "(R,) candidates with a lower score than the target."
    ties: Tensor
    "(R,) candidates with the target's score, itself included."

    def hit(self, cutoff: int) -> Tensor:
        """(R,) float64, HR@K of each view: P(place <= K)."""
        _check_cutoff(cutoff)
        return (cutoff - self.above).clamp(min=0).minimum(self.ties).double() / self.ties

    def ndcg(self, cutoff: int) -> Tensor:
        """(R,) float64, NDCG@K of each view: mean over its places of 1 / log2(place + 1), 0 beyond K."""
        _check_cutoff(cutoff)
        gains = torch.zeros(cutoff + 1, dtype=torch.float64, device=self.above.device)
        gains[1:] = (1.0 / torch.log2(torch.arange(2, cutoff + 2, dtype=torch.float64))).cumsum(0)
        first, last = self.above.clamp(max=cutoff), (self.above + self.ties).clamp(max=cutoff)
        return (gains[last] - gains[first]) / self.ties


def masked_skip(scores: Values, lengths: Values, exits: Values) -> tuple[SkipRanks, Tensor]:
    """Places of the exit segments among each video's own segments, and the rows (R,) they belong to.

    :param scores: (B, S), lowest = most likely the skip; what stands at s >= N is not looked at.
    :param lengths: (B,) N.
    :param exits: (B,) exit segment; rows with exit >= N (watched to the end) are left out.
    :raises ValueError: shapes that do not fit, lengths or exits outside the grid, NaN among the candidates.
    """
    score, length, exit_ = _checked(scores, lengths, exits)
    rows = (exit_ < length).nonzero()[:, 0]
    return _ranks(score, exit_, length, rows), rows


def slots40(scores: Values, lengths: Values, exits: Values) -> tuple[SkipRanks, Tensor]:
    """Places of the targets among all S slots, and the rows (R,) they belong to; the target of a full view is slot N.

    :param scores: (B, S), also at s >= N: +inf says "never". Full views with N = S are left out.
    :raises ValueError: as `masked_skip`.
    """
    score, length, exit_ = _checked(scores, lengths, exits)
    rows = (exit_ < score.shape[1]).nonzero()[:, 0]
    return _ranks(score, exit_, torch.full_like(length, score.shape[1]), rows), rows


def _ranks(scores: Tensor, targets: Tensor, candidates: Tensor, rows: Tensor) -> SkipRanks:
    step = _ROWS_AT_ONCE if scores.device.type == "cpu" else max(len(rows), 1)
    places = torch.arange(scores.shape[1], device=scores.device)
    above, ties = torch.empty_like(rows), torch.empty_like(rows)
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        score, inside = scores[some], places < candidates[some, None]
        unknown = score.isnan() & inside
        if bool(unknown.any()):
            raise ValueError(f"a score is NaN (row {int(some[unknown.any(dim=1)][0])})")
        own = score.gather(1, targets[some, None])
        above[start : start + step] = ((score < own) & inside).sum(dim=1)
        ties[start : start + step] = ((score == own) & inside).sum(dim=1)
    return SkipRanks(above, ties)


def _checked(scores: Values, lengths: Values, exits: Values) -> tuple[Tensor, Tensor, Tensor]:
    score = as_tensor(scores)
    length, exit_ = (as_tensor(values).to(score.device, torch.int64) for values in (lengths, exits))
    if score.ndim != 2 or length.shape != score.shape[:1] or exit_.shape != length.shape:
        raise ValueError(
            f"scores {tuple(score.shape)}, lengths {tuple(length.shape)} and exits {tuple(exit_.shape)} must be "
            "(B, S), (B,) and (B,)"
        )
    if len(length) and bool(((length < 1) | (length > score.shape[1]) | (exit_ < 0) | (exit_ > length)).any()):
        raise ValueError(f"rows must have 1 <= length <= {score.shape[1]} and 0 <= exit <= length")
    return score, length, exit_


def _check_cutoff(cutoff: int) -> None:
    if cutoff < 1:
        raise ValueError(f"K must be at least 1 (found: {cutoff})")
