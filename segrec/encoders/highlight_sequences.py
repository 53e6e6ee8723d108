"""Rooms as padded sequences for the models of the KuaiLive-M3 highlight benchmark.

Legend: P positions of all pieces, Q pieces, I width of the content, B pieces of a batch of at most n positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from segrec.records import SegmentVectors
from segrec.segments.m3_highlight import M3Positions
from segrec.segments.rooms import NO_ROW, IntArray

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class HighlightSequences:
    """Rooms, or pieces of them, whose segments are scored together: rows of a table, one piece after another."""

    content: FloatArray
    "(P, I)"
    statistics: FloatArray
    "(P, 10); (P, 0) where none are used."
    offsets: IntArray
    "(Q + 1,)"
    score: FloatArray | None = None
    "(P,) to learn."

    @classmethod
    def of_positions(cls, positions: M3Positions, vectors: SegmentVectors, *, statistics: bool) -> Self:
        """The positions of some rooms with what is to be learned there."""
        index = vectors.index()
        keys = positions.keys
        typed = index.select("item_id", pl.col("segment").cast(keys.schema["segment"]), "row")
        joined = keys.join(typed, on=["item_id", "segment"], how="left", maintain_order="left")
        rows = joined["row"].fill_null(NO_ROW).to_numpy().astype(np.int64)
        return cls(
            content_at(vectors, rows),
            positions.statistics if statistics else np.zeros((len(rows), 0), np.float32),
            positions.offsets,
            positions.score.astype(np.float32),
        )

    def batch(self, pieces: IntArray) -> dict[str, Tensor]:
        """Padded tensors of some pieces: content (B, n, I), statistics, score (zeros where none is), valid (B, n)."""
        sizes = np.diff(self.offsets)[pieces]
        places = np.arange(int(sizes.max(initial=1)))
        valid = places < sizes[:, None]
        rows = np.where(valid, self.offsets[pieces][:, None] + places, 0)
        score = np.zeros(len(self.content), np.float32) if self.score is None else self.score
        filled = {"content": self.content, "statistics": self.statistics, "score": score}
        tensors = {
            name: torch.from_numpy(np.where(valid.reshape(valid.shape + (1,) * (part.ndim - 1)), part[rows], 0))
            for name, part in filled.items()
        }
        return {**tensors, "valid": torch.from_numpy(valid)}


def content_at(vectors: SegmentVectors, rows: IntArray) -> FloatArray:
    """(P, I) vectors as they are, zeros where a segment has none."""
    found = np.zeros((len(rows), vectors.meta.dim), np.float32)
    found[rows != NO_ROW] = vectors.matrix[rows[rows != NO_ROW]]
    return found
