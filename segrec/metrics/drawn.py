"""A statistic with its bootstrap replicates: differences and ratios of statistics drawn alike are paired.

Legend: R replicates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segrec.metrics.intervals import Interval, percentile_interval

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """A statistic and what it became under the drawn clusters (users, rooms)."""

    value: float
    drawn: FloatArray
    "(R,) replicates."
    n: int
    "Rows measured on."
    clusters: int

    @property
    def interval(self) -> Interval:
        """Value, low, high."""
        return percentile_interval(self.value, self.drawn, self.clusters)

    def minus(self, other: Drawn) -> Drawn:
        """The paired difference."""
        with np.errstate(invalid="ignore"):
            return Drawn(self.value - other.value, self.drawn - other.drawn, self.n, self.clusters)

    def share_of(self, other: Drawn) -> Drawn:
        """The paired ratio self / other; NaN where other is 0."""
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = self.drawn / other.drawn
        return Drawn(self.value / other.value if other.value else math.nan, drawn, self.n, self.clusters)


Statistics = Mapping[tuple[str, str], Drawn]
"By (protocol, metric)."


def over_seeds(seeds: Sequence[Statistics], seed: int) -> Statistics:
    """The mean over a model's seeds; each replicate draws clusters and seeds."""
    return {key: _over_seeds([statistics[key] for statistics in seeds], seed) for key in seeds[0]}


def _over_seeds(seeds: Sequence[Drawn], seed: int) -> Drawn:
    if len(seeds) == 1:
        return seeds[0]
    drawn = np.stack([one.drawn for one in seeds])
    chosen = np.random.default_rng(seed).integers(0, len(seeds), drawn.shape)
    value = float(np.mean([one.value for one in seeds]))
    return Drawn(value, np.take_along_axis(drawn, chosen, axis=0).mean(axis=0), seeds[0].n, seeds[0].clusters)
