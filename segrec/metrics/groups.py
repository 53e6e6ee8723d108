"""Rows in groups one after another, of any sizes: sorting, ranks, ties and sums inside them without a loop.

Legend: n rows of all groups, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from segrec.metrics.binary_outcomes import Values, as_tensor


@dataclass(frozen=True)
class Groups:
    """Rows offsets[g]:offsets[g + 1] are group g."""

    offsets: Tensor
    "(G + 1,) int64."
    of_row: Tensor
    "(n,) int64 group of each row."

    @classmethod
    def of(cls, offsets: Values | None, rows: Tensor) -> Self:
        """:raises ValueError: offsets that do not run from 0 to n without falling."""
        count, device = len(rows), rows.device
        bounds = torch.tensor([0, count]) if offsets is None else as_tensor(offsets).long()
        bounds = bounds.to(device)
        if bounds.ndim != 1 or not len(bounds) or bounds[0] != 0 or bounds[-1] != count or (bounds.diff() < 0).any():
            raise ValueError(f"offsets must run from 0 to {count} without falling (found: {bounds.tolist()[:9]})")
        begun = torch.zeros(count + 1, dtype=torch.int64, device=device)
        begun.index_add_(0, bounds[1:], torch.ones_like(bounds[1:]))
        return cls(bounds, begun[:-1].cumsum(0))

    @property
    def starts(self) -> Tensor:
        """(n,) first row of each row's group."""
        return self.offsets[self.of_row]

    @property
    def sizes(self) -> Tensor:
        """(G,) rows of each group."""
        return self.offsets.diff()

    def sort(self, values: Tensor, rows: Tensor | None = None) -> Tensor:
        """(n,) all row numbers, group after group, inside each by rising value; equal ones as they come in `rows`."""
        order = torch.argsort(values if rows is None else values[rows], stable=True)
        order = order if rows is None else rows[order]
        return order if len(self.offsets) == 2 else order[torch.argsort(self.of_row[order], stable=True)]

    def dense_ranks(self, changes: Tensor) -> Tensor:
        """(n,) 0, 1, 2 ... inside each group, one more wherever the sorted value changes."""
        total = (changes | self.first).cumsum(0)
        return total - total[self.starts] if len(total) else total

    def tied_with(self, changes: Tensor) -> Tensor:
        """(n,) other rows in each row's stretch of equal values; `changes`: it differs from the one before."""
        first = changes | self.first
        lengths = first.nonzero()[:, 0].diff(append=self.offsets[-1:])
        return lengths[first.cumsum(0) - 1] - 1

    @property
    def first(self) -> Tensor:
        """(n,) True on each group's first row."""
        first = torch.zeros(len(self.of_row), dtype=torch.bool, device=self.of_row.device)
        first[self.starts] = True
        return first

    def sums(self, groups: Tensor, values: Tensor) -> Tensor:
        """(G,) sums of values (m,) by their groups (m,)."""
        return values.new_zeros(len(self.sizes)).index_add_(0, groups, values)


def changes(values: Tensor) -> Tensor:
    """(n,) True where a value differs from the one before, and on the first row."""
    changed = torch.ones(len(values), dtype=torch.bool, device=values.device)
    changed[1:] = values[1:] != values[:-1]
    return changed


def paired_values(predictions: Values, targets: Values, kept: Values | None = None) -> tuple[Tensor, Tensor]:
    """Predictions and targets (n,) as tensors on the predictions' device.

    :param kept: (n,) bool: other rows may hold NaN.
    :raises ValueError: shapes that differ, a NaN.
    """
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
