"""Dataset folder (+ score table) -> RankingBatch: read piece by piece, shuffled in a window, started at any batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor
from torchrec.streamable import Pipelineable

from ranking.encoded_rows import EncodedRows
from ranking.impressions import ImpressionSource, Piece


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
        )


def make_batch(rows: EncodedRows, names: tuple[str, ...], global_rows: int, max_segments: int) -> RankingBatch:
    """A batch of `rows`; `names` = ids, then bags, in the order of the codes, then sequences."""
    count = rows.rows
    bags = [rows.bag(name) for name in names[len(rows.ids) :]]
    values = np.concatenate([rows.ids.reshape(-1), *(bag[0] for bag in bags)])
    lengths = np.concatenate([np.ones(rows.ids.size, dtype=np.int64), *(np.diff(bag[1]) for bag in bags)])
    sparse = KeyedJaggedTensor(
        keys=list(names),
        values=torch.from_numpy(values.astype(np.int64)),
        lengths=torch.from_numpy(lengths.astype(np.int32)),
        stride=count,
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
    )


class RankingStream:
    """Batches of one or more splits in an order that depends on (seed, epoch) alone.

    Pieces of the day files are drawn in random order; `window_rows` rows at a time are encoded and shuffled.
    Memory holds one window, and all pieces only where they have at most `cache_rows` rows together. With several
    processes each makes its own rows of one and the same global batch.
    """

    def __init__(
        self,
        source: ImpressionSource,
        *,
        batch_size: int,
        seed: int = 0,
        max_segments: int = 40,
        window_rows: int = 262_144,
        cache_rows: int = 1_000_000,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.source, self._batch_size, self._seed, self._max_segments = source, batch_size, seed, max_segments
        self._window_rows, self._rank, self._world_size = window_rows, rank, world_size
        self._cache: dict[int, EncodedRows] | None = {} if source.rows <= cache_rows else None

    def batches(self, epoch: int) -> int:
        """The same for each epoch: the last batch may be smaller."""
        return -(-self.source.rows // self._batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[RankingBatch]:
        """Shuffled batches from number `start` on; windows before it are not read."""
        generator = np.random.Generator(np.random.PCG64([self._seed, epoch]))
        order = [int(place) for place in generator.permutation(len(self.source.pieces))]
        windows = self._windows(order)
        seeds = generator.integers(2**63, size=len(windows))
        first = start * self._batch_size
        waiting: EncodedRows | None = None
        for window, seed in zip(windows, seeds, strict=True):
            count = sum(self.source.pieces[place].kept for place in window)
            if first >= count:
                first -= count
                continue
            rows = EncodedRows.concatenated([self._encoded(place) for place in window])
            shuffle = np.random.Generator(np.random.PCG64(int(seed))).permutation(count)[first:]
            first = 0
            shuffled = rows.take(shuffle)
            waiting = shuffled if waiting is None else EncodedRows.concatenated([waiting, shuffled])
            whole = waiting.rows // self._batch_size * self._batch_size
            yield from self._cut(waiting, whole)
            waiting = waiting.take(np.arange(whole, waiting.rows)) if whole < waiting.rows else None
        if waiting is not None:
            yield from self._cut(waiting, waiting.rows)

    def in_order(self) -> Iterator[tuple[pl.DataFrame, RankingBatch]]:
        """(keys, batch) of all rows, oldest day first, unshuffled and whole on each process: for predictions."""
        for place, piece in enumerate(self.source.pieces):
            keys, start = self.source.keys(piece), 0
            for batch in self.piece_batches(place):
                yield keys[start : start + batch.rows], batch
                start += batch.rows

    def piece_batches(self, place: int) -> Iterator[RankingBatch]:
        """Batches of one piece in its order."""
        encoded = self._encoded(place)
        for start in range(0, encoded.rows, self._batch_size):
            places = np.arange(start, min(start + self._batch_size, encoded.rows))
            yield make_batch(encoded.take(places), self.source.names, len(places), self._max_segments)

    def batches_of(self, rows: int) -> int:
        """Number of batches that so many rows of one piece make."""
        return -(-rows // self._batch_size)

    def empty_batch(self) -> RankingBatch:
        """No row: what a process goes on with when only others have rows left."""
        nothing = self._encoded(0).take(np.zeros(0, dtype=np.int64))
        return make_batch(nothing, self.source.names, 1, self._max_segments)

    def keys(self) -> pl.DataFrame:
        """Keys and labels of all rows, oldest day first."""
        return pl.concat([self.source.keys(piece) for piece in self.source.pieces])

    def encoded(self) -> Iterator[EncodedRows]:
        """All rows piece by piece, oldest day first."""
        return (self._encoded(place) for place in range(len(self.source.pieces)))

    def _cut(self, rows: EncodedRows, end: int) -> Iterator[RankingBatch]:
        for start in range(0, end, self._batch_size):
            places = np.arange(start, min(start + self._batch_size, end))
            mine = places[self._rank :: self._world_size]
            yield make_batch(rows.take(mine), self.source.names, len(places), self._max_segments)

    def _windows(self, order: list[int]) -> list[list[int]]:
        windows: list[list[int]] = []
        room = 0
        for place in order:
            if room <= 0:
                windows.append([])
                room = self._window_rows
            windows[-1].append(place)
            room -= self.source.pieces[place].kept
        return windows

    def _encoded(self, place: int) -> EncodedRows:
        piece: Piece = self.source.pieces[place]
        if self._cache is None:
            return self.source.read(piece)
        if place not in self._cache:
            self._cache[place] = self.source.read(piece)
        return self._cache[place]


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
