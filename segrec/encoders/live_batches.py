"""Segments of live rooms as batches: views into one long table; each distinct segment is gathered and fused once.

Legend: T segments of the table, M distinct segments of a batch, B samples of at most n segments, E width of vectors, F
columns of what is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segrec.encoders.scales import Scales
from segrec.records import SegmentVectors
from segrec.segments.rooms import NO_ROW, IntArray, RateTarget

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SegmentInputs:
    """What the network's `fuse` takes: M segments, no time in it."""

    contents: tuple[Tensor, ...]
    "(M, E) a content modality, in the network's order; zeros where a segment has no vector."
    present: tuple[Tensor, ...]
    "(M,) bool a content modality."
    author_M: Tensor
    "Codes of the streamers."
    known_MF: Tensor
    "Standardised columns of what is known; F may be 0."

    def to(self, device: torch.device) -> Self:
        """The inputs on `device`."""
        return type(self)(
            tuple(part.to(device) for part in self.contents),
            tuple(part.to(device) for part in self.present),
            self.author_M.to(device),
            self.known_MF.to(device),
        )


@dataclass(frozen=True)
class LiveBatch:
    """Samples over the distinct segments of a batch."""

    segments: SegmentInputs
    samples_Bn: Tensor
    "Row of `segments` at each place of each sample; 0 on padding, which lies behind."
    valid_Bn: Tensor
    run_offsets: Tensor | None
    "Where each sample begins among the M rows, when the decoder runs over them as they lie; None: window by window."
    values_Bn: Tensor
    "Rates to learn; NaN where there is none, and on padding."
    trials_Bn: Tensor
    "Trials behind them; NaN = unknown."
    side_values_BnS: Tensor
    "Side targets' rates, likewise; S may be 0."
    side_trials_BnS: Tensor

    def to(self, device: torch.device) -> Self:
        """The batch on `device`."""
        runs = None if self.run_offsets is None else self.run_offsets.to(device)
        rates = (self.values_Bn, self.trials_Bn, self.side_values_BnS, self.side_trials_BnS)
        places = (self.samples_Bn.to(device), self.valid_Bn.to(device))
        return type(self)(self.segments.to(device), *places, runs, *(part.to(device) for part in rates))


@dataclass(frozen=True)
class Content:
    """Vectors of one modality at the segments of a table: rows of a memory-mapped matrix."""

    vectors: SegmentVectors
    rows: IntArray
    "(T,) -1 = the segment has none."
    scales: Scales

    def gather(self, rows: IntArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """(M, E) scaled vectors of table rows, zeros where there is none; and (M,) whether there is one."""
        asked = self.rows[rows]
        present = asked != NO_ROW
        found = np.zeros((len(rows), self.vectors.meta.dim), np.float32)
        found[present] = self.scales.scaled(self.vectors.matrix[asked[present]].astype(np.float32))
        return found, present


@dataclass(frozen=True)
class Samples:
    """Stretches of consecutive segments, each inside one run."""

    starts: IntArray
    "First table row of each."
    lengths: IntArray

    @classmethod
    def windows(cls, run_offsets: IntArray, window: int) -> Self:
        """Every run of `window` segments, stride 1; a shorter run is one sample as it is."""
        lengths = np.diff(run_offsets)
        counts = np.maximum(lengths - window + 1, 1)
        first = np.repeat(run_offsets[:-1], counts)
        starts = first + np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
        return cls(starts, np.repeat(np.minimum(lengths, window), counts))

    @classmethod
    def pieces(cls, run_offsets: IntArray, longest: int) -> Self:
        """Runs cut into as few pieces as possible, the last one of a run shorter."""
        lengths = np.diff(run_offsets)
        counts = -(-lengths // longest)
        number = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = np.repeat(run_offsets[:-1], counts) + number * longest
        return cls(starts, np.minimum(np.repeat(run_offsets[1:], counts) - starts, longest))

    def kept(self, keep: npt.NDArray[np.bool_]) -> Self:
        """Those where `keep` is true."""
        return type(self)(self.starts[keep], self.lengths[keep])

    @property
    def last(self) -> IntArray:
        """Last table row of each."""
        return self.starts + self.lengths - 1

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True)
class LiveTable:
    """All segments of some rooms, encoded."""

    contents: Mapping[str, Content]
    "By modality, in the network's order."
    author: IntArray
    "(T,)"
    known: FloatArray
    "(T, F)"
    run_offsets: IntArray
    target: RateTarget | None = None
    sides: Sequence[RateTarget] = ()
    "What is learned beside the target."

    def segments(self, rows: IntArray) -> SegmentInputs:
        """The segments at `rows`."""
        gathered = [content.gather(rows) for content in self.contents.values()]
        return SegmentInputs(
            tuple(torch.from_numpy(vectors) for vectors, _ in gathered),
            tuple(torch.from_numpy(present) for _, present in gathered),
            torch.from_numpy(self.author[rows]),
            torch.from_numpy(self.known[rows]),
        )

    def batch(self, samples: Samples, *, banded: bool) -> LiveBatch:
        """Samples as a batch. `banded`: the samples' rows one after the other; else each distinct segment once."""
        longest = int(samples.lengths.max(initial=1))
        offset = np.arange(longest)
        valid = offset < samples.lengths[:, None]
        rows = np.where(valid, samples.starts[:, None] + offset, samples.starts[:, None])
        runs = None
        if banded:
            ends = np.cumsum(samples.lengths)
            places = np.where(valid, (ends - samples.lengths)[:, None] + offset, 0)
            distinct, runs = rows[valid], torch.from_numpy(np.concatenate([np.zeros(1, np.int64), ends]))
        else:
            distinct, found = np.unique(rows, return_inverse=True)
            places = np.where(valid, found.reshape(rows.shape), 0)
        nothing = torch.full(rows.shape, torch.nan)
        values, trials = nothing, nothing
        if self.target is not None:
            values, trials = (part.squeeze(-1) for part in self._targets([self.target], rows, valid))
        side_values, side_trials = self._targets(self.sides, rows, valid)
        return LiveBatch(
            self.segments(distinct), torch.from_numpy(places), torch.from_numpy(valid), runs,
            values, trials, side_values, side_trials,
        )  # fmt: skip

    def runs(self, segments: int) -> Iterator[tuple[slice, LiveBatch]]:
        """All runs in order, about `segments` at a time: where they lie in the table, and as a batch."""
        lengths = np.diff(self.run_offsets)
        group = (self.run_offsets[1:] - 1) // segments
        for runs in np.split(np.arange(len(lengths)), np.flatnonzero(np.diff(group)) + 1):
            first, last = self.run_offsets[runs[0]], self.run_offsets[runs[-1] + 1]
            yield slice(first, last), self.batch(Samples(self.run_offsets[runs], lengths[runs]), banded=True)

    @staticmethod
    def _targets(targets: Sequence[RateTarget], rows: IntArray, valid: npt.NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        """(B, n, S) rates and trials at `rows`, NaN on padding."""
        found = []
        for part in ("values", "trials"):
            columns = [np.where(valid, getattr(target, part)[rows], np.nan) for target in targets]
            stacked = np.stack(columns, axis=-1) if columns else np.zeros((*rows.shape, 0))
            found.append(torch.from_numpy(stacked.astype(np.float32)))
        return found[0], found[1]
