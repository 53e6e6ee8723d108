"""Kendall's tau-b inside groups of any sizes, exact, in O(n log n), without a loop over groups; and inside windows.

tau = (P - Q) / sqrt((P + Q + T)(P + Q + U)) over the pairs of a group: P concordant, Q discordant, T tied in the
prediction only, U tied in the truth only; pairs tied in both are in none (ContentCTR, arXiv 2306.14392, section 4.1).
Legend: n rows of all groups, G groups, w rows of a window.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segrec.metrics.binary_outcomes import Values, as_tensor


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
    predicted, target = _checked(predictions, targets)
    groups = Groups.of(offsets, predicted)
    rows = _of_rows(predicted, target, groups)
    # Each pair stands at both of its rows.
    return KendallCounts(*(groups.sums(groups.of_row, counts) // 2 for counts in rows.parts))


def kendall_of_rows(predictions: Values, targets: Values, offsets: Values | None = None) -> KendallCounts:
    """Pair counts (n,) of each row with the other rows of its group: what a bootstrap of tau needs.

    :raises ValueError: as `kendall_counts`.
    """
    predicted, target = _checked(predictions, targets)
    return _of_rows(predicted, target, Groups.of(offsets, predicted))


def tau_influence(predictions: Values, targets: Values) -> tuple[float, Tensor]:
    """tau-b of all rows, and the first-order influence (n,) of each row's weight on it; they add up to 0.

    With S = P - Q, X and Y the pairs untied in prediction and truth, and s_i, x_i, y_i those of row i:
    s_i / sqrt(XY) - tau / 2 (x_i / X + y_i / Y). NaN where tau is undefined.

    :raises ValueError: as `kendall_counts`.
    """
    rows = kendall_of_rows(predictions, targets)
    untied = rows.concordant + rows.discordant
    won, moves, changes = (
        counts.double()
        for counts in (rows.concordant - rows.discordant, untied + rows.tied_targets, untied + rows.tied_predictions)
    )
    all_moves, all_changes = moves.sum() / 2, changes.sum() / 2
    tau = won.sum() / 2 / all_moves.sqrt() / all_changes.sqrt()
    influence = won / all_moves.sqrt() / all_changes.sqrt() - tau / 2 * (moves / all_moves + changes / all_changes)
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
    predicted, target = _checked(predictions, targets, kept)
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


@dataclass(frozen=True)
class Groups:
    """Rows offsets[g]:offsets[g + 1] are group g."""

    offsets: Tensor
    "(G + 1,) int64."
    of_row: Tensor
    "(n,) int64 group of each row."

    @classmethod
    def of(cls, offsets: Values | None, rows: Tensor) -> Groups:
        """:raises ValueError: offsets that do not run from 0 to n without falling."""
        count, device = len(rows), rows.device
        bounds = torch.tensor([0, count]) if offsets is None else as_tensor(offsets).long()
        bounds = bounds.to(device)
        if bounds.ndim != 1 or not len(bounds) or bounds[0] != 0 or bounds[-1] != count or (bounds.diff() < 0).any():
            raise ValueError(f"offsets must run from 0 to {count} without falling (found: {bounds.tolist()[:9]})")
        sizes = bounds.diff()
        return cls(bounds, torch.repeat_interleave(torch.arange(len(sizes), device=device), sizes))

    @property
    def starts(self) -> Tensor:
        """(n,) first row of each row's group."""
        return self.offsets[self.of_row]

    def sort(self, values: Tensor, rows: Tensor | None = None) -> Tensor:
        """(n,) all row numbers, group after group, inside each by rising value; equal ones as they come in `rows`."""
        order = torch.argsort(values if rows is None else values[rows], stable=True)
        order = order if rows is None else rows[order]
        return order if len(self.offsets) == 2 else order[torch.argsort(self.of_row[order], stable=True)]

    def dense_ranks(self, changes: Tensor) -> Tensor:
        """(n,) 0, 1, 2 ... inside each group, one more wherever the sorted value changes."""
        total = (changes | self._first).cumsum(0)
        return total - total[self.starts] if len(total) else total

    def tied_with(self, changes: Tensor) -> Tensor:
        """(n,) other rows in each row's stretch of equal values; `changes`: it differs from the one before."""
        first = changes | self._first
        lengths = first.nonzero()[:, 0].diff(append=self.offsets[-1:])
        return torch.repeat_interleave(lengths, lengths) - 1

    def rising_with(self, ranks: Tensor) -> Tensor:
        """(n,) rows of the group that come before with a smaller rank or after with a larger one; ranks (n,) >= 0.

        Bit by bit, the highest first: among rows that agree in the higher bits, each 0 before a 1 is such a pair;
        then the zeros go before the ones, in the order they came.
        """
        start, end = self.starts, self.offsets[self.of_row + 1]
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

    @property
    def _first(self) -> Tensor:
        first = torch.zeros(len(self.of_row), dtype=torch.bool, device=self.of_row.device)
        first[self.starts] = True
        return first

    def sums(self, groups: Tensor, values: Tensor) -> Tensor:
        """(G,) sums of values (m,) by their groups (m,)."""
        return torch.zeros_like(self.offsets[:-1]).index_add_(0, groups, values)


def _of_rows(predicted: Tensor, target: Tensor, groups: Groups) -> KendallCounts:
    """Rows are sorted by prediction, equal ones by falling truth: then a pair is concordant if its truth rises."""
    rising = groups.sort(target)
    rank = torch.empty_like(rising)
    rank[rising] = groups.dense_ranks(_changes(target[rising]))
    order = groups.sort(predicted, rising.flip(0))
    rank_changes, prediction_changes = _changes(rank[order]), _changes(predicted[order])
    concordant, target_ties, prediction_ties, both_tied = (torch.empty_like(rank) for _ in range(4))
    concordant[order] = groups.rising_with(rank[order])
    target_ties[rising] = groups.tied_with(_changes(target[rising]))
    prediction_ties[order] = groups.tied_with(prediction_changes)
    both_tied[order] = groups.tied_with(rank_changes | prediction_changes)
    others = groups.offsets.diff()[groups.of_row] - 1
    untied = others - target_ties - prediction_ties + both_tied
    return KendallCounts(concordant, untied - concordant, prediction_ties - both_tied, target_ties - both_tied)


def _kinds(predicted: Tensor, target: Tensor, lag: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each pair (j, j + lag): concordant, discordant, tied in the prediction only, in the truth only."""
    up, rises = predicted[lag:] > predicted[:-lag], target[lag:] > target[:-lag]
    down, falls = predicted[lag:] < predicted[:-lag], target[lag:] < target[:-lag]
    moves, changes = up | down, rises | falls
    return up & rises | down & falls, up & falls | down & rises, ~moves & changes, moves & ~changes


def _changes(values: Tensor) -> Tensor:
    changed = torch.ones(len(values), dtype=torch.bool, device=values.device)
    changed[1:] = values[1:] != values[:-1]
    return changed


def _checked(predictions: Values, targets: Values, kept: Values | None = None) -> tuple[Tensor, Tensor]:
    predicted = as_tensor(predictions)
    target = as_tensor(targets).to(predicted.device)
    if predicted.ndim != 1 or predicted.shape != target.shape:
        raise ValueError(
            f"predictions {tuple(predicted.shape)} and targets {tuple(target.shape)} must be equal in length (n,)"
        )
    bad = predicted.isnan() | target.isnan()
    if kept is not None:
        bad &= as_tensor(kept).to(predicted.device)
    if bool(bad.any()):
        raise ValueError(f"a prediction or target is NaN (row {int(bad.to(torch.uint8).argmax())})")
    return predicted, target
