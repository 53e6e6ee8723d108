"""One model's answer under the three protocols: a number a view and metric, so that means, intervals and pairs follow.

`masked_skip` and `slots40`: HR@K and NDCG@K, K = 1, 5, 10. `exit`: NLL; AUC of an exit in the first segment,
concordance of watch time (pairs of views), and calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from segrec.encoders.exit_table import Outcomes
from segrec.encoders.prediction import ExitPrediction, SkipPrediction
from segrec.encoders.published_priors import BernoulliPrediction
from segrec.metrics.bernoulli_ranking import bernoulli_places
from segrec.metrics.exit_likelihood import (
    PairCounts,
    PositionCalibration,
    concordance_pairs,
    exit_ece,
    exit_nll,
    first_exit_pairs,
    position_calibration,
)
from segrec.metrics.skip_ranking import CUTOFFS, masked_skip, slots40
from segrec.skip_evaluation.cohorts import Cohort

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
Key = tuple[str, str]
"(protocol, metric)"

_ROWS_AT_ONCE = 100_000


class Places(Protocol):
    """Where targets came among their candidates."""

    def hit(self, cutoff: int) -> Tensor:
        """(R,) HR@K."""
        ...

    def ndcg(self, cutoff: int) -> Tensor:
        """(R,) NDCG@K."""
        ...


@dataclass(frozen=True)
class Measured:
    """Per-view numbers of one model on n views; predictions themselves are not kept."""

    columns: dict[Key, FloatArray]
    "(n,) each; NaN where a view is no part of the protocol."
    first_exit: npt.NDArray[Any] | None
    "(n,) log P(exit in segment 0); None for a model without a distribution."
    expected_exit: npt.NDArray[Any] | None
    "(n,) expected exit segment."
    ece: dict[str, float]
    "Expected calibration error by cohort."
    calibration: PositionCalibration | None
    "Over all views."

    def pairs(self, cohort: Cohort) -> dict[Key, PairCounts]:
        """Statistics over pairs of the cohort's views: AUC and concordance."""
        if self.first_exit is None or self.expected_exit is None:
            return {}
        own = cohort.own_outcomes
        expected = self.expected_exit[cohort.rows]
        return {
            ("exit", "AUC"): first_exit_pairs(self.first_exit[cohort.rows][:, None], own.exits),
            ("exit", "concordance"): concordance_pairs(expected, own.lengths, own.exits),
        }


def measure(
    ranking: SkipPrediction | BernoulliPrediction,
    distribution: ExitPrediction | None,
    outcomes: Outcomes,
    cohorts: Sequence[Cohort],
    width: int,
) -> Measured:
    """All protocols for one model.

    :param ranking: what masked_skip and slots40 rank by.
    :param distribution: what the exit protocol measures; None where there is none.
    :param width: slots of the grid (40 at 5 s).
    """
    if isinstance(ranking, BernoulliPrediction):
        columns = _drawn_columns(ranking, outcomes, width)
    else:
        columns = _ranked_columns(ranking, outcomes, width)
    if distribution is None:
        return Measured(columns, None, None, {}, None)
    columns["exit", "NLL"] = exit_nll(*_parts(distribution, outcomes))
    ece = {cohort.name: exit_ece(*_parts(distribution.rows(cohort.rows), cohort.own_outcomes)) for cohort in cohorts}
    curve = position_calibration(*_parts(distribution, outcomes))
    return Measured(columns, distribution.log_exit[:, 0], distribution.expected_exit(), ece, curve)


def slot_scores(prediction: SkipPrediction, width: int) -> npt.NDArray[np.float32]:
    """(B, width) scores of all slots of the grid, lowest = target.

    A distribution puts its P(watched to the end) on slot N and nothing beyond; an order keeps what it has on padding.
    """
    scores = np.full((len(prediction), width), np.inf, dtype=np.float32)
    if isinstance(prediction, ExitPrediction):
        scores[:, : prediction.log_exit.shape[1]] = prediction.skip_scores()[:, :width]
        rows = np.flatnonzero(prediction.lengths < width)
        scores[rows, prediction.lengths[rows]] = -prediction.log_end[rows]
    else:
        scores[:, : prediction.scores.shape[1]] = prediction.scores[:, :width]
    return scores


def _parts(distribution: ExitPrediction, outcomes: Outcomes) -> tuple[Array, Array, Array, Array]:
    """(log_exit, log_end, lengths, exits), as the exit metrics take them."""
    return distribution.log_exit, distribution.log_end, outcomes.lengths, outcomes.exits


def _ranked_columns(prediction: SkipPrediction, outcomes: Outcomes, width: int) -> dict[Key, FloatArray]:
    columns: dict[Key, FloatArray] = {}
    for protocol, ranks_of, scores in (
        ("masked_skip", masked_skip, prediction.skip_scores()),
        ("slots40", slots40, slot_scores(prediction, width)),
    ):
        ranks, rows = ranks_of(scores, outcomes.lengths, outcomes.exits)
        columns |= _columns(protocol, ranks, rows.cpu().numpy(), len(outcomes.exits))
    return columns


def _drawn_columns(prediction: BernoulliPrediction, outcomes: Outcomes, width: int) -> dict[Key, FloatArray]:
    columns: dict[Key, FloatArray] = {}
    whole = np.full_like(outcomes.lengths, width)
    for protocol, candidates, there in (
        ("masked_skip", outcomes.lengths, outcomes.left),
        ("slots40", whole, outcomes.exits < width),
    ):
        rows = np.flatnonzero(there)
        found = {key: np.full(len(there), np.nan) for key in _keys(protocol)}
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            places = bernoulli_places(prediction.viewed[some], outcomes.exits[some], candidates[some])
            for key, values in _columns(protocol, places, some, len(there)).items():
                found[key][some] = values[some]
        columns |= found
    return columns


def _columns(protocol: str, places: Places, rows: npt.NDArray[np.int64], count: int) -> dict[Key, FloatArray]:
    columns = {key: np.full(count, np.nan) for key in _keys(protocol)}
    for cutoff in CUTOFFS:
        columns[protocol, f"HR@{cutoff}"][rows] = places.hit(cutoff).cpu().numpy()
        columns[protocol, f"NDCG@{cutoff}"][rows] = places.ndcg(cutoff).cpu().numpy()
    return columns


def _keys(protocol: str) -> list[Key]:
    return [(protocol, f"{metric}@{cutoff}") for metric in ("HR", "NDCG") for cutoff in CUTOFFS]
