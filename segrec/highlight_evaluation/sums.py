"""One model's numbers by room, so that means, intervals and paired differences follow from drawing rooms again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segrec.metrics.drawn import Drawn, Statistics
from segrec.metrics.intervals import resampled_totals

FloatArray = npt.NDArray[np.float64]
Key = tuple[str, str]
"(protocol, metric)"


@dataclass(frozen=True)
class Ratio:
    """sum(above) / sum(below) over rooms: a mean of groups, or of segments."""

    above: FloatArray
    "(R,)"
    below: FloatArray
    "(R,)"
    n: int
    "Segments (windows) measured on."


@dataclass(frozen=True)
class PairStatistic:
    """A statistic over pairs of segments of all rooms, with the first-order influence of each room's weight."""

    value: float
    influence: FloatArray
    "(R,) sums to 0."
    n: int


Measured = Mapping[Key, Ratio | PairStatistic]


def bootstrap(measured: Sequence[Measured], rooms: npt.NDArray[np.bool_], seed: int) -> list[Statistics]:
    """Statistics of each model, all under the same drawn rooms (those with `rooms` (R,) True).

    A pair statistic goes by its first-order influence: value + sum of drawn weights x influence.
    """
    columns = [
        column[rooms] for one in measured for part in one.values() for column in _columns(part)
    ]  # fmt: skip
    with np.errstate(invalid="ignore"):
        totals = iter(resampled_totals(np.stack(columns, axis=1), seed=seed).T)
    clusters = int(rooms.sum())
    found: list[Statistics] = []
    for one in measured:
        statistics = {}
        for key, part in one.items():
            drawn = [next(totals) for _ in _columns(part)]
            statistics[key] = _drawn(part, drawn, clusters)
        found.append(statistics)
    return found


def _columns(part: Ratio | PairStatistic) -> tuple[FloatArray, ...]:
    return (part.above, part.below) if isinstance(part, Ratio) else (part.influence,)


def _drawn(part: Ratio | PairStatistic, totals: Sequence[FloatArray], clusters: int) -> Drawn:
    if isinstance(part, PairStatistic):
        return Drawn(part.value, part.value + totals[0], part.n, clusters)
    below = float(part.below.sum())
    value = float(part.above.sum()) / below if below else math.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        return Drawn(value, totals[0] / totals[1], part.n, clusters)
