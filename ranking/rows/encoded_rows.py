"""Encoded impressions in compact arrays: codes, bags, dense values, labels, segment scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from ranking.encoding.event_windows import EventWindows

T = TypeVar("T", bound=np.generic)

Bag = tuple[npt.NDArray[np.integer], npt.NDArray[np.int64]]
"Values of all rows one after another, and offsets (n + 1,)."


@dataclass(frozen=True)
class EncodedRows:
    """n rows; `bags` and `scores` are jagged: (values, offsets)."""

    ids: npt.NDArray[np.integer]
    "(F, n), one line a feature; int32, int64 where some are keys of managed ids."
    bags: dict[str, Bag]
    dense: npt.NDArray[np.float32]
    "(n, D)"
    labels: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    weights: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    "(n,) importance of a row in the loss; empty where all count alike."
    spans: npt.NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, dtype=np.int8))
    "(n,) span of train's time that the row lies in, for lagged rates; empty where nobody asks."
    scores: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]] | None = None
    "Per-segment scores; an empty row has none."
    segments: npt.NDArray[np.int32] | None = None
    "(n,) number of segments."
    past: EventWindows | None = None
    "Histories by reference; None where the spec has no sequence."

    @property
    def rows(self) -> int:
        """n"""
        return int(self.ids.shape[1])

    def bag(self, name: str) -> Bag:
        """Bag or sequence `name`; a sequence's codes are gathered now, a missing history is empty."""
        return self.bags[name] if name in self.bags or self.past is None else self.past.bag(name)

    def take(self, places: npt.NDArray[np.int64] | slice) -> Self:
        """The rows at `places`, in that order; of a slice `start:stop` without a copy."""
        return type(self)(
            ids=self.ids[:, places],
            bags={name: take_jagged(bag, places) for name, bag in self.bags.items()},
            dense=self.dense[places],
            labels=self.labels[places] if len(self.labels) else self.labels,
            weights=self.weights[places] if len(self.weights) else self.weights,
            spans=self.spans[places] if len(self.spans) else self.spans,
            scores=None if self.scores is None else take_jagged(self.scores, places),
            segments=None if self.segments is None else self.segments[places],
            past=None if self.past is None else self.past.take(places),
        )

    @classmethod
    def concatenated(cls, parts: Sequence[Self]) -> Self:
        """All rows of `parts` (made by one encoder), one after another."""
        first = parts[0]
        if len(parts) == 1:
            return first
        return cls(
            ids=np.concatenate([part.ids for part in parts], axis=1),
            bags={name: _joined([part.bags[name] for part in parts]) for name in first.bags},
            dense=np.concatenate([part.dense for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            weights=np.concatenate([part.weights for part in parts]),
            spans=np.concatenate([part.spans for part in parts]),
            scores=_joined([part.scores for part in parts if part.scores is not None]) if first.scores else None,
            segments=None
            if first.segments is None
            else np.concatenate([part.segments for part in parts if part.segments is not None]),
            past=None
            if first.past is None
            else EventWindows.concatenated([part.past for part in parts if part.past is not None]),
        )


def take_jagged(
    jagged: tuple[npt.NDArray[T], npt.NDArray[np.int64]], places: npt.NDArray[np.int64] | slice
) -> tuple[npt.NDArray[T], npt.NDArray[np.int64]]:
    """Rows of a jagged array at `places`."""
    values, offsets = jagged
    if isinstance(places, slice):
        inside = offsets[places.start : places.stop + 1]
        return values[inside[0] : inside[-1]], inside - inside[0]
    lengths = (offsets[1:] - offsets[:-1])[places]
    taken = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    where = np.arange(taken[-1]) + np.repeat(offsets[places] - taken[:-1], lengths)
    return values[where], taken


def _joined(
    parts: Sequence[tuple[npt.NDArray[T], npt.NDArray[np.int64]]],
) -> tuple[npt.NDArray[T], npt.NDArray[np.int64]]:
    lengths = np.concatenate([np.diff(offsets) for _, offsets in parts])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return np.concatenate([values for values, _ in parts]), offsets
