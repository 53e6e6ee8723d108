"""The order of a log's rows: pieces go to lanes, each lane is shuffled in windows, batches are dealt from all lanes.

Legend: L lanes, n_l rows of lane l, R rows in all. Everything follows from the pieces' sizes and (seed, epoch); the
number of processes has no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """Rows `first` .. `first` + `rows` of a lane in one epoch: those of `pieces`, shuffled together."""

    pieces: tuple[int, ...]
    first: int
    rows: int
    seed: int

    @property
    def end(self) -> int:
        """The lane's row after the last one."""
        return self.first + self.rows

    def order(self) -> IntArray:
        """(rows,) places among the pieces' rows, one after another, in the order of the epoch."""
        return np.random.Generator(np.random.PCG64(self.seed)).permutation(self.rows)


class Lanes:
    """Pieces of `sizes` rows spread over `count` lanes: the largest first, each to the lane with the fewest rows.

    Pieces that follow each other in time lie in different lanes.
    """

    def __init__(self, sizes: Sequence[int], count: int) -> None:
        self.count, self._sizes = count, np.asarray(sizes, dtype=np.int64)
        self.pieces: list[list[int]] = [[] for _ in range(count)]
        rows = np.zeros(count, dtype=np.int64)
        for piece in np.argsort(-self._sizes, kind="stable").tolist():
            lane = int(np.argmin(rows))
            self.pieces[lane].append(piece)
            rows[lane] += self._sizes[piece]
        self.rows: IntArray = rows
        "(L,)"
        self._ascending = np.sort(rows)
        shorter = np.concatenate([[0], np.cumsum(self._ascending)[:-1]])
        self._shorter = shorter
        "Rows of all lanes shorter than the j-th shortest."
        self._when_empty = shorter + (count - np.arange(count)) * self._ascending
        "Rows dealt when the j-th shortest lane has given all of its rows."

    def dealt(self, rows: int) -> IntArray:
        """(L,) how many of the first `rows` rows come from each lane.

        Rows are dealt in turn: one of each lane that has any left, then the next of each.
        """
        empty = int(np.searchsorted(self._when_empty, rows, side="right"))
        if empty == self.count:
            return self.rows.copy()
        rounds, rest = divmod(rows - int(self._shorter[empty]), self.count - empty)
        given = np.minimum(self.rows, rounds)
        given[np.flatnonzero(self.rows > rounds)[:rest]] += 1
        return given

    def windows(self, lane: int, seed: int, epoch: int, window_rows: int) -> list[Window]:
        """The lane's windows in the order of that epoch, of `window_rows` rows up to the end of a piece.

        The first windows of a long log's lanes differ in size, so that they do not all run out at the same time.
        """
        generator = np.random.Generator(np.random.PCG64([seed, epoch, lane]))
        order = generator.permutation(np.asarray(self.pieces[lane], dtype=np.int64)).tolist()
        room = window_rows if self.rows[lane] <= window_rows else window_rows * (lane + 1) // self.count
        windows: list[Window] = []
        pieces: list[int] = []
        first = rows = 0
        for piece in order:
            pieces.append(piece)
            rows += int(self._sizes[piece])
            if rows >= room:
                windows.append(Window(tuple(pieces), first, rows, int(generator.integers(2**63))))
                pieces, first, rows, room = [], first + rows, 0, window_rows
        if pieces:
            windows.append(Window(tuple(pieces), first, rows, int(generator.integers(2**63))))
        return windows
