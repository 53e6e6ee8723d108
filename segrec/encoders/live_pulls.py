"""How far estimates of a rate are pulled to wider ones: learned by how well they foretell the train segments.

Legend: T segments, N rates.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from segrec.encoders.live_known import LEVELS, DoubleArray, KnownColumns, pulled, pushes
from segrec.segments.rooms import RateTarget, Rooms

_TRIALS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)
_SEGMENTS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_OVERDISPERSION = 0.02


def learned_columns(train: Rooms, shift: int, history: Rooms) -> KnownColumns:
    """The columns of train rooms; from the widest level to the newest segment, each rate's pull is the one whose
    estimates have the lowest binomial NLL of the rate to be predicted.
    """
    columns = KnownColumns.of(train, shift)
    pairs_TNL2 = np.empty((len(train.room), len(columns.rates), LEVELS, 2))
    for rows, state, _ in pushes(train, columns, history):
        pairs_TNL2[rows] = state.pairs[train.room[rows]]
    pulls = [
        _pulls(pairs_TNL2[:, place], train.target(rate, shift), columns.means[place], counted)
        for place, (rate, counted) in enumerate(zip(columns.rates, columns.counted, strict=True))
    ]
    return replace(columns, pulls=tuple(pulls))


def _pulls(pairs_TL2: DoubleArray, target: RateTarget, mean: float, counted: bool) -> tuple[float, ...]:
    known, tried = target.known, _TRIALS if counted else _SEGMENTS
    rate, trials = target.values[known].astype(np.float64), np.nan_to_num(target.trials[known].astype(np.float64))
    weights = trials / (1 + np.maximum(trials - 1, 0) * _OVERDISPERSION) if counted else np.ones_like(rate)
    estimate, chosen = np.full(len(rate), mean), []
    for level in range(LEVELS):
        candidates = [pulled(pairs_TL2[known, level], estimate, pull) for pull in tried]
        best = int(np.argmin([_nll(candidate, rate, weights) for candidate in candidates]))
        estimate = candidates[best]
        chosen.append(tried[best])
    return tuple(chosen)


def _nll(estimate: DoubleArray, rate: DoubleArray, weights: DoubleArray) -> float:
    bounded = np.clip(estimate, 1e-4, 1 - 1e-4)
    return float(-(weights * (rate * np.log(bounded) + (1 - rate) * np.log1p(-bounded))).sum())
