"""Histories of encoded rows by reference: each row holds where its window of the user's past events begins and ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from segrec.segments.history import ranges

IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.integer]


@dataclass(frozen=True)
class EventCodes:
    """Codes of V events by sequence name, in two steps: the events themselves can stay in memory-mapped files."""

    places: Mapping[str, CodeArray]
    "(V,) place of each event's value among the column's different values."
    codes: Mapping[str, CodeArray]
    "(values of the column,) the run's code of each."

    def of(self, name: str, events: IntArray) -> CodeArray:
        """Codes of `events` in sequence `name`."""
        found: CodeArray = self.codes[name][self.places[name][events]]
        return found


@dataclass(frozen=True)
class EventWindows:
    """Row i's history is events start[i]..end[i]-1, oldest first: 16 bytes a row, however long it is."""

    start: IntArray
    end: IntArray
    "(n,) each."
    events: EventCodes

    def take(self, places: IntArray | slice) -> Self:
        """The rows at `places`, in that order."""
        return type(self)(self.start[places], self.end[places], self.events)

    @classmethod
    def concatenated(cls, parts: Sequence[Self]) -> Self:
        """All rows of `parts` (windows into the same events), one after another."""
        start, end = (np.concatenate([getattr(part, side) for part in parts]) for side in ("start", "end"))
        return cls(start, end, parts[0].events)

    def bag(self, name: str) -> tuple[CodeArray, IntArray]:
        """Sequence `name` of all rows, gathered: codes one after another, and offsets (n + 1,)."""
        offsets = np.concatenate([[0], np.cumsum(self.end - self.start)]).astype(np.int64)
        return self.events.of(name, ranges(self.start, self.end)), offsets
