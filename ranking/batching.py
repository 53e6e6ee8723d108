"""Dataset folder (+ score table) -> RankingBatch: read piece by piece, shuffled in a window, started at any batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor
from torchrec.streamable import Pipelineable

from ranking.rows.encoded_rows import EncodedRows


@dataclass
class RankingBatch(Pipelineable):  # type: ignore[misc]
    """B impressions; TorchRec's pipeline can prefetch it."""

    sparse: KeyedJaggedTensor
    "Codes of ids, bags and sequences, by feature name."
    dense: Tensor
    "(B, D) float32."
    labels: Tensor
    "(B,) float32; empty when predicting."
    global_rows: int
    "Rows of this step over all processes: what the loss is divided by."
    weights: Tensor | None = None
    "(B,) importance of a row in the loss; None = 1."
    scores: Tensor | None = None
    "(B, S) per-segment scores, 0 beyond a row's segments and where it has none."
    segments: Tensor | None = None
    "(B,) number of segments, at most S."
    longest: int | None = None
    "Events of the longest history: told on the CPU, so that no device is waited for; None = look at the lengths."

    @property
    def rows(self) -> int:
        """B"""
        return int(self.dense.shape[0])

    def to(self, device: torch.device, non_blocking: bool = False) -> RankingBatch:
        """The batch on `device`."""
        return self._moved(lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> RankingBatch:
        """The batch in page-locked memory."""
        return self._moved(lambda part: part.pin_memory())

    def record_stream(self, stream: torch.Stream) -> None:
        """Keeps the memory until `stream` is done with it."""
        for part in (self.sparse, self.dense, self.labels, self.weights, self.scores, self.segments):
            if part is not None:
                part.record_stream(stream)

    def _moved(self, move: Callable[[Any], Any]) -> RankingBatch:
        return RankingBatch(
            sparse=move(self.sparse),
            dense=move(self.dense),
            labels=move(self.labels),
            global_rows=self.global_rows,
            weights=None if self.weights is None else move(self.weights),
            scores=None if self.scores is None else move(self.scores),
            segments=None if self.segments is None else move(self.segments),
            longest=self.longest,
        )


def make_batch(rows: EncodedRows, names: tuple[str, ...], global_rows: int, max_segments: int) -> RankingBatch:
    """A batch of `rows`; `names` = ids, then bags, in the order of the codes, then sequences.

    Without rows, `sparse` holds one row without ids, because TorchRec's sequences cannot be looked up for none.
    """
    bags = [rows.bag(name) for name in names[len(rows.ids) :]]
    past = [bag for name, bag in zip(names[len(rows.ids) :], bags, strict=True) if name not in rows.bags]
    values = np.concatenate([rows.ids.reshape(-1), *(bag[0] for bag in bags)])
    lengths = np.concatenate([np.ones(rows.ids.size, dtype=np.int64), *(np.diff(bag[1]) for bag in bags)])
    sparse = KeyedJaggedTensor(
        keys=list(names),
        values=torch.from_numpy(values.astype(np.int64)),
        lengths=torch.from_numpy(lengths.astype(np.int32)) if rows.rows else torch.zeros(len(names), dtype=torch.int32),
        stride=max(rows.rows, 1),
    )
    scores, segments = _padded_scores(rows, max_segments)
    return RankingBatch(
        sparse=sparse,
        dense=torch.from_numpy(np.ascontiguousarray(rows.dense)),
        labels=torch.from_numpy(rows.labels),
        global_rows=global_rows,
        weights=torch.from_numpy(rows.weights) if len(rows.weights) else None,
        scores=scores,
        segments=segments,
        longest=max(int(np.diff(offsets).max(initial=0)) for _, offsets in past) if past else None,
    )


def _padded_scores(rows: EncodedRows, max_segments: int) -> tuple[Tensor | None, Tensor | None]:
    """(B, S) and (B,): a row without scores keeps its segments, with equal scores 0."""
    if rows.segments is None:
        return None, None
    segments: npt.NDArray[np.int64] = rows.segments.astype(np.int64)
    lengths = np.zeros(rows.rows, dtype=np.int64)
    if rows.scores is not None:
        lengths = np.diff(rows.scores[1])
        segments = np.where(lengths > 0, lengths, segments)
    segments = np.minimum(segments, max_segments)
    padded = np.zeros((rows.rows, int(segments.max(initial=1))), dtype=np.float32)
    if rows.scores is not None:
        inside = np.arange(padded.shape[1])[None] < np.minimum(lengths, max_segments)[:, None]
        where = rows.scores[1][:-1, None] + np.arange(padded.shape[1])[None]
        padded[inside] = rows.scores[0][where[inside]]
    return torch.from_numpy(padded), torch.from_numpy(segments)
