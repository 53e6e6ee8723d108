"""Live rooms as one long table of segments: windows are row ranges of it, never copies.

Legend: T segments of all rooms, room after room; R rooms; U runs (stretches of a room without a gap in time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import DataError, DatasetFolder, SegmentVectors, Split

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

GAP_TOLERANCE_MS = 1000
"A segment that starts later than this after the end of the one before begins a new run."
NO_ROW = -1


class TimeRange(Protocol):
    """Half-open: from_ms <= time < to_ms."""

    @property
    def from_ms(self) -> int:
        """Epoch ms."""
        ...

    @property
    def to_ms(self) -> int:
        """Epoch ms."""
        ...


@dataclass(frozen=True)
class RateTarget:
    """What is to be predicted at each segment."""

    values: FloatArray
    "(T,) the rate, NaN where there is none to learn from or to measure against."
    trials: FloatArray
    "(T,) trials behind it; NaN where the source does not tell."

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """(T,)"""
        return ~np.isnan(self.values)


@dataclass(frozen=True)
class Rooms:
    """All segments of some rooms, rooms by start (then item_id), segments in time order."""

    dataset: DatasetFolder
    frame: pl.DataFrame
    "(T rows) item_id, segment, start_ms, end_ms, author_id, split, and the other columns of the segment table."
    offsets: IntArray
    "(R + 1,) room r = rows offsets[r]:offsets[r + 1]."

    @classmethod
    def of(
        cls, dataset: DatasetFolder, splits: Sequence[Split] | None = None, withheld: TimeRange | None = None
    ) -> Self:
        """The rooms of `splits` (all by default); without the train rooms that start inside `withheld`.

        :raises DataError: the dataset has no segment table or no live rooms, or no such room is there.
        """
        segments, items = dataset.segments(), dataset.items()
        if segments is None or items is None or not {"author_id", "split"} <= set(items.columns):
            raise DataError(
                dataset.path, "has no live rooms (segment table, items with author_id and split)",
                fix="read a live source: `segrec read klive`, `kuailive_m3` or `kuailive`",
            )  # fmt: skip
        rooms = items.lazy().select("item_id", "author_id", "split")
        if splits is not None:
            rooms = rooms.filter(pl.col("split").is_in(list(splits)))
        begun = pl.col("start_ms").min().over("item_id")
        found = segments.join(rooms, on="item_id", how="inner").with_columns(_begun=begun)
        if withheld is not None:
            hidden = pl.col("_begun").is_between(withheld.from_ms, withheld.to_ms, closed="left")
            found = found.filter(~(hidden & (pl.col("split") == "train")))
        frame = found.sort("_begun", "item_id", "segment").drop("_begun").collect()
        if frame.is_empty():
            raise DataError(
                dataset.path, f"has no segment in {', '.join(splits or ['any split'])}", fix="choose another split"
            )
        return cls(dataset, frame, _starts(_changed(frame["item_id"])))

    @classmethod
    def with_target(
        cls, dataset: DatasetFolder, split: Split, rate: str, shift: int, withheld: TimeRange | None = None
    ) -> tuple[Self, RateTarget]:
        """The rooms of a split, and what is to be learned or measured there.

        :raises DataError: no such rooms or rate, or none of their segments has a known rate.
        """
        rooms = cls.of(dataset, [split], withheld)
        target = rooms.target(rate, shift)
        if not target.known.any():
            raise DataError(
                dataset.path, f"has no {split} segment with a known {rate}",
                fix="choose another target, or read it again with another split",
            )  # fmt: skip
        return rooms, target

    @cached_property
    def start_ms(self) -> IntArray:
        """(T,)"""
        return self.frame["start_ms"].to_numpy().astype(np.int64)

    @cached_property
    def end_ms(self) -> IntArray:
        """(T,)"""
        return self.frame["end_ms"].to_numpy().astype(np.int64)

    @cached_property
    def room(self) -> IntArray:
        """(T,) number of each segment's room."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    @cached_property
    def run_offsets(self) -> IntArray:
        """(U + 1,) runs: windows and label shifts never cross their borders."""
        broken = np.zeros(len(self.start_ms), bool)
        broken[1:] = self.start_ms[1:] - self.end_ms[:-1] > GAP_TOLERANCE_MS
        broken[self.offsets[:-1]] = True
        return _starts(broken)

    @cached_property
    def place_in_run(self) -> IntArray:
        """(T,) how many segments of its run lie before each segment."""
        lengths = np.diff(self.run_offsets)
        return np.arange(len(self.start_ms)) - np.repeat(self.run_offsets[:-1], lengths)

    def target(self, rate: str, shift: int) -> RateTarget:
        """The rate of the segment `shift` places later in the run (0 or 1), at each segment.

        Where the dataset is split by time, outcomes that were known only after the next split began are left out.

        :raises DataError: the dataset has no such rate (the known ones are listed).
        """
        known = self.dataset.meta.rates
        if rate not in known:
            raise DataError(
                self.dataset.path,
                f"has no rate {rate!r}",
                found=", ".join(known) or "none",
                fix="choose another target",
            )
        values = self.frame[rate].cast(pl.Float32).fill_null(float("nan")).to_numpy().copy()
        trials = np.full_like(values, np.nan)
        column = known[rate].trials
        if column is not None:
            trials = self.frame[column].cast(pl.Float32).fill_null(float("nan")).to_numpy().copy()
        known_ms = self.end_ms + known[rate].known_after_ms
        values[known_ms > self._last_usable_ms] = np.nan
        if shift:
            values, trials = _pulled(values, shift, self.run_offsets), _pulled(trials, shift, self.run_offsets)
        return RateTarget(values, trials)

    def newest_known(self, rate: str, shift: int) -> IntArray:
        """(T,) row of the newest segment of the room whose rate may be looked at when the target of a segment is
        predicted: known when that target's segment begins (shift 0: start_ms; shift 1: end_ms); -1 where none is.
        """
        delay = self.dataset.meta.rates[rate].known_after_ms
        asked = self.end_ms if shift else self.start_ms
        newest = np.empty(len(asked), np.int64)
        for first, last in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            known = self.end_ms[first:last] + delay
            newest[first:last] = np.searchsorted(known, asked[first:last], side="right") - 1 + first
        newest[newest < self.offsets[self.room]] = NO_ROW
        return newest

    def vector_rows(self, vectors: SegmentVectors) -> IntArray:
        """(T,) row of `vectors.matrix` of each segment, -1 where it has none."""
        index = vectors.index().select("item_id", pl.col("segment").cast(self.frame.schema["segment"]), "row")
        found = self.frame.select("item_id", "segment").join(
            index, on=["item_id", "segment"], how="left", maintain_order="left"
        )
        return found["row"].fill_null(NO_ROW).to_numpy().astype(np.int64)

    @cached_property
    def _last_usable_ms(self) -> IntArray:
        """(T,) when outcomes of a train room must be known by (valid begins), of a valid room (test begins)."""
        rule = self.dataset.meta.split
        limits = {"train": rule.valid_from_ms, "valid": rule.test_from_ms}
        far = np.iinfo(np.int64).max
        of_split = {name: far if limit is None else limit for name, limit in limits.items()}
        return self.frame["split"].replace_strict(of_split, default=far, return_dtype=pl.Int64).to_numpy()


def _changed(ids: pl.Series) -> npt.NDArray[np.bool_]:
    changed = (ids != ids.shift(1)).fill_null(True).to_numpy().copy()
    changed[0] = True
    return changed


def _starts(first: npt.NDArray[np.bool_]) -> IntArray:
    return np.append(np.flatnonzero(first), len(first)).astype(np.int64)


def _pulled(values: FloatArray, shift: int, run_offsets: IntArray) -> FloatArray:
    """Each value moved `shift` places earlier inside its run; the last ones have none."""
    moved = np.full_like(values, np.nan)
    moved[:-shift] = values[shift:]
    for back in range(1, shift + 1):
        ends = run_offsets[1:] - back
        moved[ends[ends >= 0]] = np.nan
    return moved
