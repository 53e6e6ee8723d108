"""A dataset's live rooms as a stream: each segment is pushed when it has ended, each rate told when it is known."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segrec.encoders.live_rate import LiveRateEncoder
from segrec.freezing import FrozenEncoder
from segrec.records import DatasetFolder, Rate, RunFolder, SegmentVectors
from segrec.scoring.live import LiveScorer
from segrec.scoring.live_segments import LiveSegment, RateOutcome
from segrec.segments.rooms import NO_ROW, IntArray, Rooms


@dataclass(frozen=True)
class Replay:
    """Live scores of the tested rooms beside those that `predict` gives for whole rooms afterwards. N segments."""

    live: npt.NDArray[np.float32]
    "(N,)"
    batch: npt.NDArray[np.float32]
    "(N,)"
    milliseconds: npt.NDArray[np.float64]
    "(N,) of each push, one room at a time."

    @property
    def largest_difference(self) -> float:
        """Between live and batch scores; NaN where a push gave none."""
        return float(np.abs(self.live - self.batch).max())

    @property
    def told(self) -> str:
        """One line."""
        median, high = np.percentile(self.milliseconds, [50, 99])
        return (
            f"{len(self.live):,} segments pushed one by one, {median:.1f} ms a push (p99 {high:.1f}); live and batch "
            f"scores differ by {self.largest_difference:.0e} at most"
        )


def replay(run: RunFolder, dataset: DatasetFolder) -> Replay:
    """All rooms in the order in which their segments end: earlier rooms are their streamers' past. Test rooms count.

    :raises DataError: an encoder that cannot score rooms that still run.
    """
    scorer = LiveScorer.open(FrozenEncoder.open(run.frozen))
    rooms = Rooms.of(dataset)
    stream = _Stream.of(rooms, scorer.encoder)
    live = np.full(len(rooms.end_ms), np.nan, np.float32)
    milliseconds = np.zeros(len(live))
    for row in np.argsort(rooms.end_ms, kind="stable").tolist():
        segment = stream.segment(row)
        began = time.perf_counter()
        live[row] = scorer.push(stream.room(row), segment)
        milliseconds[row] = 1000 * (time.perf_counter() - began)
        scorer.observe(stream.outcomes(row))
    tested = (rooms.frame["split"] == "test").to_numpy()
    return Replay(live[tested], scorer.encoder.predict(rooms, dataset)[tested], milliseconds[tested])


@dataclass(frozen=True)
class _Stream:
    """Rows of `Rooms` as what live scoring takes."""

    told: list[dict[str, Any]]
    vectors: Mapping[str, tuple[SegmentVectors, IntArray]]
    rates: Mapping[str, Rate]
    "That the encoder looks at."
    counters: tuple[str, ...]

    @classmethod
    def of(cls, rooms: Rooms, encoder: LiveRateEncoder) -> _Stream:
        named = {name: rooms.dataset.vectors(getattr(encoder.config, name)) for name in encoder.inputs.content_scales}
        columns = encoder.inputs.columns
        return cls(
            rooms.frame.to_dicts(),
            {name: (vectors, rooms.vector_rows(vectors)) for name, vectors in named.items()},
            {} if columns is None else {rate: rooms.dataset.meta.rates[rate] for rate in columns.rates},
            () if columns is None else tuple(columns.counters),
        )

    def room(self, row: int) -> int:
        found: int = self.told[row]["item_id"]
        return found

    def segment(self, row: int) -> LiveSegment:
        """With the vectors, counts and rates that are there at its end."""
        told = self.told[row]
        there = {
            name: vectors.matrix[rows[row]] for name, (vectors, rows) in self.vectors.items() if rows[row] != NO_ROW
        }
        counters = {name: float(told[name]) for name in self.counters if told[name] is not None}
        rates = {name: self._rate(row, name) for name, rate in self.rates.items() if not rate.known_after_ms}
        return LiveSegment(told["start_ms"], told["end_ms"], told["author_id"], there, counters, rates)

    def outcomes(self, row: int) -> list[RateOutcome]:
        """Its rates that are known later; live scoring looks at each only then."""
        told = self.told[row]
        return [
            RateOutcome(told["item_id"], told["end_ms"], name, *self._rate(row, name))
            for name, rate in self.rates.items()
            if rate.known_after_ms
        ]

    def _rate(self, row: int, name: str) -> tuple[float, float | None]:
        """Value (NaN: unknown) and trials."""
        told, trials = self.told[row], self.rates[name].trials
        return float("nan") if told[name] is None else told[name], None if trials is None else told[trials]
