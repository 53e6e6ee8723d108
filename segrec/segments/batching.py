"""Views to batches: jagged, without padding, views of one length side by side.

Legend: V views of the table, B views of a batch, T their segments, H distinct users, C id columns, F dense columns,
K columns known of a segment, S slots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from segrec.segments.content import ContentHistory, ContentTokens
from segrec.segments.history import ranges

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SegmentBatch:
    """B views sorted by length, their T segments one after the other. What a network and its loss need, no more."""

    rows_B: Tensor
    "Where each view stands in its table."
    lengths_B: Tensor
    exits_B: Tensor
    "Exit segment; = length when watched to the end."
    view_T: Tensor
    position_T: Tensor
    ids: KeyedJaggedTensor
    "One id a view and column."
    dense_BF: Tensor
    known_TK: Tensor
    "What is known of each segment before training; column 0 = prior log-odds of an exit. 0 on padding."
    user_first_H: Tensor
    "A view of each distinct user."
    user_B: Tensor
    "Which of the H users a view has."
    content: ContentTokens | None
    views: tuple[int, ...]
    "Views of each run of equal length and equal number of seen segments."
    segments: tuple[int, ...]
    "Slots of a view in each run: its length, or S in a padded batch."
    seen: tuple[int, ...]
    "Seen segments of a view in each run; 0 without content."
    padded: bool = False

    def to(self, device: torch.device, non_blocking: bool = False) -> Self:
        """The batch on `device`."""
        return self._each(lambda part: part.to(device=device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The batch in page-locked memory, so that the copy to the device can overlap."""
        return self._each(lambda part: part.pin_memory())

    def record_stream(self, stream: torch.Stream) -> None:
        """Keeps the memory until `stream` has used it."""
        for field in fields(self):
            part = getattr(self, field.name)
            if isinstance(part, Tensor | KeyedJaggedTensor | ContentTokens):
                part.record_stream(stream)

    def _each(self, move: Callable[[Any], Any]) -> Self:
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {
            name: move(part)
            for name, part in parts.items()
            if isinstance(part, Tensor | KeyedJaggedTensor | ContentTokens)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class ViewTable:
    """Encoded views in memory, one row a view, in the order of the frame that they come from."""

    lengths: IntArray
    exits: IntArray
    ids: Mapping[str, IntArray]
    "Codes by column; column `user_id` tells which views share a user."
    dense: FloatArray
    "(V, F) float32."
    known: FloatArray
    "(sum of lengths, K) what is known of each segment, view after view; column 0 = prior log-odds of an exit."
    content: ContentHistory | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def ends(self) -> IntArray:
        """(V,) where each view's rows of `known` end."""
        return np.cumsum(self.lengths)

    def batch(self, rows: IntArray, slots: int | None = None, *, reached: bool = False) -> SegmentBatch:
        """The views at `rows` as a batch.

        :param slots: pads every view to so many slots (the authors' way; slow); None: no padding.
        :param reached: only the segments up to the exit.
        """
        histories = np.zeros(len(rows), np.int64) if self.content is None else self.content.sizes(rows)
        widths = self._widths(rows, slots, reached)
        order = np.lexsort((histories, widths))
        rows, histories, widths = rows[order], histories[order], widths[order]
        runs = _runs(widths, histories)
        view = np.repeat(np.arange(len(rows)), widths)
        position = np.arange(len(view)) - np.repeat(np.cumsum(widths) - widths, widths)
        _, first, user = np.unique(self.ids["user_id"][rows], return_index=True, return_inverse=True)
        codes = np.stack([column[rows] for column in self.ids.values()])
        return SegmentBatch(
            rows_B=torch.from_numpy(rows),
            lengths_B=torch.from_numpy(self.lengths[rows]),
            exits_B=torch.from_numpy(self.exits[rows]),
            view_T=torch.from_numpy(view),
            position_T=torch.from_numpy(position),
            ids=one_id_each(tuple(self.ids), codes),
            dense_BF=torch.from_numpy(self.dense[rows]),
            known_TK=torch.from_numpy(self._known(rows, widths)),
            user_first_H=torch.from_numpy(first),
            user_B=torch.from_numpy(user),
            content=None if self.content is None else self.content.tokens(rows, view, position),
            views=tuple(np.diff(runs).tolist()),
            segments=tuple(widths[runs[:-1]].tolist()),
            seen=tuple(histories[runs[:-1]].tolist()),
            padded=slots is not None,
        )

    def _widths(self, rows: IntArray, slots: int | None, reached: bool) -> IntArray:
        lengths = self.lengths[rows]
        if slots is not None:
            return np.full_like(lengths, slots)
        return np.minimum(self.exits[rows] + 1, lengths) if reached else lengths

    def _known(self, rows: IntArray, widths: IntArray) -> FloatArray:
        lengths, first = self.lengths[rows], self.ends[rows] - self.lengths[rows]
        filled = np.minimum(widths, lengths)
        values = self.known[ranges(first, first + filled)]
        if (widths == filled).all():
            return values
        padded = np.zeros((int(widths.sum()), values.shape[1]), np.float32)
        starts = np.cumsum(widths) - widths
        padded[ranges(starts, starts + filled)] = values
        return padded


def one_id_each(columns: tuple[str, ...], codes_CB: IntArray) -> KeyedJaggedTensor:
    """A KeyedJaggedTensor with exactly one id a row and column; codes (C, B)."""
    return KeyedJaggedTensor(
        keys=list(columns),
        values=torch.from_numpy(np.ascontiguousarray(codes_CB).reshape(-1)),
        lengths=torch.ones(codes_CB.size, dtype=torch.int64),
        offsets=torch.arange(codes_CB.size + 1),
        stride=codes_CB.shape[1],
    )


def batches_in_order(table: ViewTable, batch_size: int, slots: int | None = None) -> Iterator[SegmentBatch]:
    """All views once, neighbours in length together inside windows of 16 batches: for scoring."""
    for start in range(0, len(table), 16 * batch_size):
        window = np.arange(start, min(start + 16 * batch_size, len(table)))
        window = window[np.argsort(table.lengths[window], kind="stable")]
        for first in range(0, len(window), batch_size):
            yield table.batch(window[first : first + batch_size], slots)


def _runs(widths: IntArray, histories: IntArray) -> IntArray:
    """Where runs of equal (width, history) begin, then the end."""
    changes = np.flatnonzero((np.diff(widths) != 0) | (np.diff(histories) != 0)) + 1
    return np.concatenate([[0], changes, [len(widths)]])
