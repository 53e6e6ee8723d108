"""Log loss of predicted probabilities, bare and as normalized entropy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from segrec.metrics.binary_outcomes import Values, binary_outcomes

CLIP = 1e-7
"Probabilities are clipped to [CLIP, 1 - CLIP], so that one certain error costs 16.1 nats, not infinity."


def log_losses(labels: Values, probabilities: Values) -> Tensor:
    """Each row's -log P(label) in nats, (n,) float64, at the clipped probability.

    :raises ValueError: shapes that differ, a label other than 0 and 1, a probability that is NaN or outside [0, 1].
    """
    outcome, probability = binary_outcomes(labels, probabilities, probabilities=True)
    clipped = probability.double().clamp(CLIP, 1 - CLIP)
    return -torch.where(outcome, clipped, 1 - clipped).log()


def log_loss(labels: Values, probabilities: Values) -> float:
    """Mean log loss in nats an impression; NaN without rows.

    :raises ValueError: as `log_losses`.
    """
    losses = log_losses(labels, probabilities)
    return float(losses.mean()) if len(losses) else math.nan


def normalized_entropy(labels: Values, probabilities: Values) -> float:
    """Log loss over the entropy of the base rate (He et al. 2014): below 1 is better than the constant rate.

    NaN where all labels are equal, or without rows.

    :raises ValueError: as `log_losses`.
    """
    losses = log_losses(labels, probabilities)
    rate = float(binary_outcomes(labels, probabilities)[0].double().mean()) if len(losses) else math.nan
    return float(losses.mean()) / base_entropy(rate) if 0 < rate < 1 else math.nan


def base_entropy(rate: float) -> float:
    """Entropy in nats of a coin that shows 1 at `rate`, 0 < rate < 1."""
    return -(rate * math.log(rate) + (1 - rate) * math.log1p(-rate))
