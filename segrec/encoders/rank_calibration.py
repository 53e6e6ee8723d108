"""From an order of segments to a distribution: five numbers fitted by maximum likelihood on valid.

P(exit in s) ~ exp(slope * log prior_s - tilt * (score_s - mean) - level * mean),
P(watched to the end) ~ exp(end_slope * log prior_end + end_shift),
normalised over a row's N + 1 outcomes; mean = the row's mean score, prior = (length, position).
Log-linear, so the likelihood has one maximum; slope = end_slope = 1 and the rest 0 is the prior itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from segrec.encoders.exit_table import FloatArray, HazardTable, IntArray, Outcomes

_PRIOR_ITSELF = (1.0, 0.0, 0.0, 1.0, 0.0)
_RIDGE = 1e-6


@dataclass(frozen=True)
class RankCalibration:
    """The prior that it leans on and (slope, tilt, level, end_slope, end_shift)."""

    table: HazardTable
    weights: FloatArray

    @classmethod
    def fit(cls, scores: FloatArray, outcomes: Outcomes, table: HazardTable) -> Self:
        """From scores (B, S), lowest = skip, of views whose `outcomes` are known.

        :raises ValueError: no view, or a score inside a video that is not finite.
        """
        if not len(scores):
            raise ValueError("calibration needs views with known outcomes (found none)")
        features = _features(scores, outcomes.lengths, table)
        possible = _possible(scores, outcomes.lengths)
        places = np.where(outcomes.left, outcomes.exits, scores.shape[1])
        happened = np.take_along_axis(features, places[:, None, None], axis=1)[:, 0]
        scale = np.maximum(np.sqrt((features**2).mean(axis=(0, 1))), 1e-12)
        start = np.array(_PRIOR_ITSELF)

        def loss(scaled: FloatArray) -> tuple[float, FloatArray]:
            weights = scaled / scale
            logits = np.where(possible, features @ weights, -np.inf)
            top = logits.max(axis=1, keepdims=True)
            shares = np.exp(logits - top)
            totals = shares.sum(axis=1, keepdims=True)
            value = (top[:, 0] + np.log(totals[:, 0]) - happened @ weights).mean()
            expected = np.einsum("bo,bof->bf", shares / totals, features)
            pull = weights - start
            return value + _RIDGE * pull @ pull, ((expected - happened).mean(axis=0) + 2 * _RIDGE * pull) / scale

        found = minimize(loss, start * scale, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-12})
        return cls(table, found.x / scale)

    def apply(self, scores: FloatArray, lengths: IntArray) -> tuple[FloatArray, FloatArray]:
        """Log weights of the outcomes: exits (B, S), -inf on padding, and the end (B,)."""
        weighed = _features(scores, lengths, self.table) @ self.weights
        logits = np.where(_possible(scores, lengths), weighed, -np.inf)
        return logits[:, :-1], logits[:, -1]


def _features(scores: FloatArray, lengths: IntArray, table: HazardTable) -> FloatArray:
    """(B, S + 1, 5) float64, what each outcome's weight is linear in; 0 on padding."""
    inside = _possible(scores, lengths)[:, :-1]
    if not np.isfinite(scores[inside]).all():
        raise ValueError("scores inside a video must be finite to be calibrated")
    log_exit, log_end = table.log_outcomes(lengths)
    width = log_exit.shape[1]
    kept = np.where(inside, scores, 0.0).astype(np.float64)
    means = kept.sum(axis=1, keepdims=True) / lengths[:, None]
    features = np.zeros((len(lengths), scores.shape[1] + 1, 5))
    features[:, :width, 0] = np.where(inside[:, :width], log_exit, 0.0)
    features[:, :-1, 1] = np.where(inside, means - kept, 0.0)
    features[:, :-1, 2] = np.where(inside, -means, 0.0)
    features[:, -1, 3] = log_end
    features[:, -1, 4] = 1.0
    return features


def _possible(scores: FloatArray, lengths: IntArray) -> npt.NDArray[np.bool_]:
    """(B, S + 1) True for the row's own segments and for the end."""
    inside = np.arange(scores.shape[1]) < lengths[:, None]
    return np.concatenate([inside, np.ones((len(lengths), 1), dtype=bool)], axis=1)
