"""Batches in an order that depends on (seed, epoch) alone, so that a run can go on at any batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from segrec.records import ConfigError

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)


class Stream(Protocol[B_co]):
    """Where `fit` gets batches. The cursor of a checkpoint is (epoch, batch)."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[B_co]:
        """Batches of that epoch, deterministic; the first `start` of them are skipped without being made."""
        ...

    def batches(self, epoch: int) -> int:
        """Number of batches of that epoch."""
        ...


class ArrayStream(Generic[B]):
    """Rows of arrays that fit into memory, shuffled anew each epoch.

    With `groups` (say, length buckets) a batch holds rows of one group only, and batches of all groups are
    mixed. With several processes each makes its own rows of one and the same global batch.

    :raises ConfigError: a batch size below 1, no rows, or groups of another length.
    """

    def __init__(
        self,
        rows: int,
        make: Callable[[npt.NDArray[np.int64]], B],
        *,
        batch_size: int,
        seed: int,
        groups: npt.NDArray[np.integer] | None = None,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1 (found: {batch_size})")
        if rows < 1:
            raise ConfigError("no row to fit on; check the split and the filters of the dataset")
        if groups is not None and len(groups) != rows:
            raise ConfigError(f"groups has {len(groups)} entries (expected: one a row, {rows})")
        self._rows, self._make, self._batch_size, self._seed = rows, make, batch_size, seed
        self._shuffle, self._rank, self._world_size = shuffle, rank, world_size
        self._groups, sizes = _numbered(groups, rows)
        self._batches = int((-(-sizes // batch_size)).sum())

    def batches(self, epoch: int) -> int:
        """The same for each epoch: the last batch (of each group) may be smaller."""
        return self._batches

    def epoch(self, epoch: int, start: int = 0) -> Iterator[B]:
        """Batches made by `make` from row numbers (n,)."""
        for rows in self.row_numbers(epoch)[start:]:
            yield self._make(rows[self._rank :: self._world_size])

    def row_numbers(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        """Row numbers of each global batch of that epoch: each row occurs once."""
        generator = np.random.Generator(np.random.PCG64([self._seed, epoch]))
        order = generator.permutation(self._rows) if self._shuffle else np.arange(self._rows)
        if self._groups is None:
            return np.split(order, range(self._batch_size, self._rows, self._batch_size))
        grouped = order[np.argsort(self._groups[order], kind="stable")]
        ends = np.flatnonzero(np.diff(self._groups[grouped])) + 1
        batches = [
            rows
            for group in np.split(grouped, ends)
            for rows in np.split(group, range(self._batch_size, len(group), self._batch_size))
        ]
        if not self._shuffle:
            return batches
        return [batches[place] for place in generator.permutation(len(batches))]


def _numbered(
    groups: npt.NDArray[np.integer] | None, rows: int
) -> tuple[npt.NDArray[np.integer] | None, npt.NDArray[np.integer]]:
    """Groups as small numbers (which sort in linear time), and the size of each."""
    if groups is None:
        return None, np.array([rows])
    kinds, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return numbers.astype(np.uint16 if len(kinds) <= 2**16 else np.int64), sizes
