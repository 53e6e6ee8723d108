"""F1 of the decision 'probability at least the threshold'."""

from __future__ import annotations

import math

from segrec.metrics.binary_outcomes import Values, binary_outcomes


def f1(labels: Values, probabilities: Values, threshold: float = 0.5) -> float:
    """2 TP / (2 TP + FP + FN) where a row is called positive at probability >= threshold; NaN where all three are 0.

    :raises ValueError: shapes that differ, a label other than 0 and 1, a probability that is NaN or outside [0, 1].
    """
    outcome, probability = binary_outcomes(labels, probabilities, probabilities=True)
    called = probability >= threshold
    true_positives = int((called & outcome).sum())
    named = int(called.sum()) + int(outcome.sum())
    return 2 * true_positives / named if named else math.nan
