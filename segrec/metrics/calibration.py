"""Whether predicted probabilities come true: the ratio over all rows, and the curve over equal-mass bins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from segrec.metrics.binary_outcomes import Values, binary_outcomes


def calibration_ratio(labels: Values, probabilities: Values) -> float:
    """Sum of probabilities over sum of labels: 1 is right on average, above 1 promises too much; NaN without positives.

    :raises ValueError: shapes that differ, a label other than 0 and 1, a probability that is NaN or outside [0, 1].
    """
    outcome, probability = binary_outcomes(labels, probabilities, probabilities=True)
    positives = int(outcome.sum())
    return float(probability.double().sum()) / positives if positives else math.nan


@dataclass(frozen=True)
class CalibrationCurve:
    """One point a bin, ascending; bins without rows are left out."""

    predicted: npt.NDArray[np.float64]
    "Mean probability in the bin."
    observed: npt.NDArray[np.float64]
    "Share of positive labels in the bin."
    count: npt.NDArray[np.int64]
    "Rows in the bin."


def calibration_curve(labels: Values, probabilities: Values, bins: int = 20) -> CalibrationCurve:
    """The curve over bins of about equal row counts; rows with equal probability share a bin (that of their mean rank).

    :raises ValueError: as `calibration_ratio`, or bins < 1.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1 (found: {bins})")
    outcome, probability = binary_outcomes(labels, probabilities, probabilities=True)
    value, inverse, ties = torch.unique(probability.double(), return_inverse=True, return_counts=True)
    middle_twice = 2 * ties.cumsum(0) - ties  # twice the mean 0-based rank, plus 1
    bin_of_value = (middle_twice * bins).div(2 * max(1, len(probability)), rounding_mode="floor")
    positives = torch.zeros_like(ties).index_add_(0, inverse, outcome.long())
    empty = torch.zeros(bins, dtype=torch.int64, device=ties.device)
    count = empty.index_add(0, bin_of_value, ties)
    predicted = empty.double().index_add(0, bin_of_value, value * ties)
    observed = empty.index_add(0, bin_of_value, positives)
    used = count > 0
    return CalibrationCurve(
        (predicted[used] / count[used]).cpu().numpy(),
        (observed[used].double() / count[used]).cpu().numpy(),
        count[used].cpu().numpy(),
    )
