"""Rates that become known while rooms run: kept until their time has come, then handed to the room and its streamer.

Legend: S slots, M rooms of a call, N rates. A pair is (successes, trials).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PLACES = 16
"Outcomes a room and rate that may wait for their time: segments of 30 s whose rate is known 60 s later need 4."
_NEVER = np.iinfo(np.int64).max
_NOT_YET = np.iinfo(np.int64).min


class PendingRates:
    """Outcomes of the rooms' own segments between being told and being usable."""

    def __init__(self, capacity: int, rates: int) -> None:
        self.known_ms = np.full((capacity, rates, PLACES), _NEVER)
        "(S, N, 16) when each may be looked at; a free place holds the greatest number."
        self.pairs = np.zeros((capacity, rates, PLACES, 2))
        self.newest_end = np.full((capacity, rates), _NOT_YET)
        "(S, N) end of the newest segment that was told of."

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.known_ms.nbytes + self.pairs.nbytes + self.newest_end.nbytes

    def clear(self, slots: IntArray) -> None:
        """New rooms begin in `slots`."""
        self.known_ms[slots] = _NEVER
        self.newest_end[slots] = _NOT_YET

    def add(
        self, slots: IntArray, rates: IntArray, end_ms: IntArray, known_ms: IntArray, pairs: DoubleArray
    ) -> npt.NDArray[np.bool_]:
        """(K,) outcomes of K different slots and rates, (K, 2) pairs; False: refused, since it was told before, or is
        older than one that was, or more wait already than there are places.
        """
        waiting = self.known_ms[slots, rates]
        places = waiting.argmax(axis=1)
        taken: npt.NDArray[np.bool_] = (end_ms > self.newest_end[slots, rates]) & (waiting.max(axis=1) == _NEVER)
        slots, rates, places = slots[taken], rates[taken], places[taken]
        self.newest_end[slots, rates] = end_ms[taken]
        self.known_ms[slots, rates, places] = known_ms[taken]
        self.pairs[slots, rates, places] = pairs[taken]
        return taken

    def due(self, slots: IntArray, asked_ms: IntArray) -> DoubleArray:
        """(M, N, 2) sums of what may be looked at by `asked_ms` (M,); they do not wait any longer."""
        waiting = self.known_ms[slots]
        row, rate, place = np.nonzero(waiting <= asked_ms[:, None, None])
        ripe, rates = (slots[row], rate, place), waiting.shape[1]
        pairs, cell = self.pairs[ripe], row * rates + rate
        sums = [np.bincount(cell, pairs[:, one], minlength=len(slots) * rates) for one in (0, 1)]
        self.known_ms[ripe] = _NEVER
        found: DoubleArray = np.stack(sums, axis=1, dtype=np.float64).reshape(len(slots), rates, 2)
        return found


@dataclass(slots=True)
class _Past:
    """One streamer and rate: sums of all that is old, and what is newer."""

    successes: float = 0.0
    trials: float = 0.0
    newer: list[tuple[int, float, float]] = field(default_factory=list)
    "(known_ms, successes, trials) as they were told; in the order of their time once somebody asks."

    def as_of(self, time_ms: int) -> tuple[float, float]:
        self.newer.sort()
        known = self.newer[: bisect_right(self.newer, (time_ms, np.inf, np.inf))]
        return self.successes + sum(row[1] for row in known), self.trials + sum(row[2] for row in known)

    def fold(self, before_ms: int) -> None:
        self.successes, self.trials = self.as_of(before_ms)
        self.newer = self.newer[bisect_right(self.newer, (before_ms, np.inf, np.inf)) :]


class StreamerPasts:
    """What is known of each streamer's rooms; a room that begins looks at what was known then."""

    def __init__(self, rates: int) -> None:
        self.rates = rates
        self._pasts: dict[tuple[str, int], _Past] = {}
        "By the streamer, as text, and the rate's number."

    def __len__(self) -> int:
        return len(self._pasts)

    def add(self, streamer: str, rate: int, known_ms: int, pair: tuple[float, float]) -> None:
        """An outcome in one of the streamer's rooms, to be looked at from `known_ms` on."""
        self._pasts.setdefault((streamer, rate), _Past()).newer.append((known_ms, *pair))

    def add_all(
        self, streamers: Sequence[int | str | None], rates: IntArray, known_ms: IntArray, pairs: DoubleArray
    ) -> None:
        """(K,) outcomes with their (K, 2) pairs; a streamer that is None is nobody."""
        pasts = self._pasts
        told = zip(streamers, rates.tolist(), known_ms.tolist(), *pairs.T.tolist(), strict=True)
        for streamer, rate, *row in told:
            if streamer is not None:
                name = str(streamer), rate
                past = pasts.get(name) or pasts.setdefault(name, _Past())
                past.newer.append(tuple(row))

    def learn(self, rate: int, told: pl.DataFrame, before_ms: int) -> None:
        """Many outcomes at once: streamer, known_ms, successes, trials; those before `before_ms` become one sum."""
        old = pl.col("known_ms") < before_ms
        sums = told.filter(old).group_by("streamer", maintain_order=True).agg(pl.sum("successes", "trials"))
        for streamer, successes, trials in sums.iter_rows():
            past = self._pasts.setdefault((streamer, rate), _Past())
            past.successes, past.trials = past.successes + successes, past.trials + trials
        for streamer, *row in told.filter(~old).select("streamer", "known_ms", "successes", "trials").iter_rows():
            self.add(streamer, rate, row[0], (row[1], row[2]))

    def as_of(self, streamer: str, time_ms: int) -> DoubleArray:
        """(N, 2) sums known at that time."""
        found = np.zeros((self.rates, 2))
        for rate in range(self.rates):
            past = self._pasts.get((streamer, rate))
            if past is not None:
                found[rate] = past.as_of(time_ms)
        return found

    def fold(self, before_ms: int) -> None:
        """From now on nobody asks for an earlier time than `before_ms`: older outcomes become one sum."""
        for past in self._pasts.values():
            past.fold(before_ms)

    def frame(self) -> pl.DataFrame:
        """streamer, rate, known_ms (null: the sum of all that is old), successes, trials."""
        rows: list[tuple[str, int, int | None, float, float]] = []
        for (streamer, rate), past in self._pasts.items():
            rows.append((streamer, rate, None, past.successes, past.trials))
            rows.extend((streamer, rate, *row) for row in sorted(past.newer))
        return pl.DataFrame(rows, schema=_SCHEMA, orient="row")

    def load(self, frame: pl.DataFrame) -> None:
        """What `frame` gave."""
        self._pasts.clear()
        for streamer, rate, known_ms, successes, trials in frame.select(_SCHEMA.keys()).iter_rows():
            past = self._pasts.setdefault((streamer, rate), _Past())
            if known_ms is None:
                past.successes, past.trials = successes, trials
            else:
                past.newer.append((known_ms, successes, trials))


_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "streamer": pl.String,
    "rate": pl.Int64,
    "known_ms": pl.Int64,
    "successes": pl.Float64,
    "trials": pl.Float64,
}
