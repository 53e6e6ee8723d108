"""Kendall's tau-b inside groups of any sizes, exact, without a loop over groups; and inside windows.

Small groups are counted pair by pair side by side, large ones in O(n log n) by the bits of their ranks.

tau = (P - Q) / sqrt((P + Q + T)(P + Q + U)) over the pairs of a group: P concordant, Q discordant, T tied in the
prediction only, U tied in the truth only; pairs tied in both are in none (ContentCTR, arXiv 2306.14392, section 4.1).
Legend: n rows of all groups, G groups, w rows of a window.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segrec.metrics.binary_outcomes import Values, as_tensor
from segrec.metrics.groups import Groups, changes, paired_values
from segrec.metrics.kendall_small import LARGEST, small_group_pairs


@dataclass(frozen=True)
class KendallCounts:
    """Pairs of each group by how prediction and truth order them: (G,) int64 each."""

    concordant: Tensor
    "P: both order the pair alike."
    discordant: Tensor
    "Q: they order it oppositely."
    tied_predictions: Tensor
    "T: tied in the prediction only."
    tied_targets: Tensor
    "U: tied in the truth only."

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """P, Q, T, U."""
        return self.concordant, self.discordant, self.tied_predictions, self.tied_targets

    @property
    def tau(self) -> Tensor:
        """(G,) float64 tau-b; NaN where prediction or truth has fewer than two distinct values."""
        untied = (self.concordant + self.discordant).double()
        won = (self.concordant - self.discordant).double()
        # 0 / 0 is NaN: undefined.
        return won / (untied + self.tied_predictions).sqrt() / (untied + self.tied_targets).sqrt()


def kendall_tau(predictions: Values, targets: Values, offsets: Values | None = None) -> Tensor:
    """tau-b (G,) float64 of each group, NaN where undefined: `scipy.stats.kendalltau` of its rows.

    :raises ValueError: as `kendall_counts`.
    """
    return kendall_counts(predictions, targets, offsets).tau


def kendall_counts(predictions: Values, targets: Values, offsets: Values | None = None) -> KendallCounts:
    """Pair counts of predictions (n,) and targets (n,) inside groups offsets[g]:offsets[g + 1]; one group by default.

    :param offsets: (G + 1,) from 0 to n, never falling; groups may be empty.
    :raises ValueError: shapes that differ, a NaN, offsets of another form.
    """
    predicted, target = paired_values(predictions, targets)
    groups = Groups.of(offsets, predicted)
    small = groups.sizes <= LARGEST
    if not (predicted.is_floating_point() and target.is_floating_point()) or not bool(small.any()):
        return _of_groups(predicted, target, groups)
    counts = torch.zeros((4, len(small)), dtype=torch.int64, device=predicted.device)
    chosen = small.nonzero()[:, 0]
    alike, both, moves, differs = small_group_pairs(predicted, target, groups, chosen)
    counts[:, chosen] = torch.stack([alike, both - alike, differs - both, moves - both])
    if not bool(small.all()):
        rows = ~small[groups.of_row]
        offsets_of_rest = torch.nn.functional.pad(groups.sizes[~small].cumsum(0), (1, 0))
        rest = _of_groups(predicted[rows], target[rows], Groups.of(offsets_of_rest, predicted[rows]))
        counts[:, ~small] = torch.stack(rest.parts)
    return KendallCounts(*counts)


def kendall_of_rows(predictions: Values, targets: Values, offsets: Values | None = None) -> KendallCounts:
    """Pair counts (n,) of each row with the other rows of its group: what a bootstrap of tau needs.

    :raises ValueError: as `kendall_counts`.
    """
    predicted, target = paired_values(predictions, targets)
    return _of_rows(predicted, target, Groups.of(offsets, predicted))


def tau_influence(predictions: Values, targets: Values) -> tuple[float, Tensor]:
    """tau-b of all rows, and the first-order influence (n,) of each row's weight on it; they add up to 0.

    With S = P - Q, X and Y the pairs untied in prediction and truth, and s_i, x_i, y_i those of row i:
    s_i / sqrt(XY) - tau / 2 (x_i / X + y_i / Y). NaN where tau is undefined.

    :raises ValueError: as `kendall_counts`.
    """
    rows = kendall_of_rows(predictions, targets)
    untied = rows.concordant + rows.discordant
    won, moved, changed = (
        counts.double()
        for counts in (rows.concordant - rows.discordant, untied + rows.tied_targets, untied + rows.tied_predictions)
    )
    all_moved, all_changed = moved.sum() / 2, changed.sum() / 2
    tau = won.sum() / 2 / all_moved.sqrt() / all_changed.sqrt()
    influence = won / all_moved.sqrt() / all_changed.sqrt() - tau / 2 * (moved / all_moved + changed / all_changed)
    return float(tau), influence


def kendall_windows(
    predictions: Values, targets: Values, run_offsets: Values, window: int, kept: Values | None = None
) -> tuple[KendallCounts, Tensor]:
    """Pair counts of every full window of `window` rows inside a run, stride 1, in O(n w); and the windows' last rows.

    :param run_offsets: (U + 1,) as `offsets` of `kendall_counts`.
    :param kept: (n,) bool, all by default: pairs with another row do not count, and such a row may hold NaN.
    :raises ValueError: shapes that differ, a NaN in a kept row, a window below 2.
    """
    if window < 2:
        raise ValueError(f"a window needs at least 2 rows (found: {window})")
    predicted, target = paired_values(predictions, targets, kept)
    groups = Groups.of(run_offsets, predicted)
    there = torch.ones_like(predicted, dtype=torch.bool) if kept is None else as_tensor(kept).to(predicted.device)
    place = torch.arange(len(predicted), device=predicted.device) - groups.starts
    last = (place >= window - 1).nonzero()[:, 0]
    counts = [torch.zeros_like(last) for _ in range(4)]
    for lag in range(1, window):
        pair = (place[lag:] >= lag) & there[lag:] & there[:-lag]
        for total, kind in zip(counts, _kinds(predicted, target, lag), strict=True):
            running = torch.nn.functional.pad((kind & pair).cumsum(0), (1, 0))
            # Pairs (j, j + lag) of the window that ends at row t: j from t - window + 1 to t - lag.
            total += running[last - lag + 1] - running[last - window + 1]
    return KendallCounts(*counts), last


def _of_groups(predicted: Tensor, target: Tensor, groups: Groups) -> KendallCounts:
    rows = _of_rows(predicted, target, groups)
    # Each pair stands at both of its rows.
    return KendallCounts(*(groups.sums(groups.of_row, counts) // 2 for counts in rows.parts))


def _of_rows(predicted: Tensor, target: Tensor, groups: Groups) -> KendallCounts:
    """Rows are sorted by prediction, equal ones by falling truth: then a pair is concordant if its truth rises."""
    rising = groups.sort(target)
    rank = torch.empty_like(rising)
    rank[rising] = groups.dense_ranks(changes(target[rising]))
    order = groups.sort(predicted, rising.flip(0))
    rank_changes, prediction_changes = changes(rank[order]), changes(predicted[order])
    concordant, target_ties, prediction_ties, both_tied = (torch.empty_like(rank) for _ in range(4))
    concordant[order] = _rising_with(rank[order], groups)
    target_ties[rising] = groups.tied_with(changes(target[rising]))
    prediction_ties[order] = groups.tied_with(prediction_changes)
    both_tied[order] = groups.tied_with(rank_changes | prediction_changes)
    others = groups.sizes[groups.of_row] - 1
    untied = others - target_ties - prediction_ties + both_tied
    return KendallCounts(concordant, untied - concordant, prediction_ties - both_tied, target_ties - both_tied)


def _kinds(predicted: Tensor, target: Tensor, lag: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each pair (j, j + lag): concordant, discordant, tied in the prediction only, in the truth only."""
    up, rises = predicted[lag:] > predicted[:-lag], target[lag:] > target[:-lag]
    down, falls = predicted[lag:] < predicted[:-lag], target[lag:] < target[:-lag]
    moves, differs = up | down, rises | falls
    return up & rises | down & falls, up & falls | down & rises, ~moves & differs, moves & ~differs


def _rising_with(ranks: Tensor, groups: Groups) -> Tensor:
    """(n,) rows of the group that come before with a smaller rank or after with a larger one; ranks (n,) >= 0.

    Bit by bit, the highest first: among rows that agree in the higher bits, each 0 before a 1 is such a pair;
    then the zeros go before the ones, in the order they came.
    """
    start, end = groups.starts, groups.offsets[groups.of_row + 1]
    here = torch.arange(len(ranks), device=ranks.device)
    found, row = torch.zeros_like(ranks), here
    for bit in reversed(range(int(ranks.max()).bit_length() if len(ranks) else 0)):
        one = (ranks >> bit & 1).bool()
        zeros_to = torch.nn.functional.pad((~one).cumsum(0), (1, 0))
        zeros_before = zeros_to[here] - zeros_to[start]
        border = start + zeros_to[end] - zeros_to[start]
        ones_after = (end - border) - (here - start - zeros_before)
        found = found + torch.where(one, zeros_before, ones_after)
        place = torch.where(one, border + here - start - zeros_before, start + zeros_before)
        moved = torch.stack([ranks, torch.where(one, border, start), torch.where(one, end, border), found, row])
        ranks, start, end, found, row = torch.empty_like(moved).index_copy_(1, place, moved)
    return torch.empty_like(found).index_copy_(0, row, found)
