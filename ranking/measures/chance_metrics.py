"""How good predicted probabilities are: AUC, grouped AUCs, log losses, F1 and calibration, for a bootstrap over users.

Legend: n rows, C users, R replicates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from segrec.metrics.auc import RankedOutcomes
from segrec.metrics.binary_outcomes import binary_outcomes
from segrec.metrics.grouped_auc import GAUC_NAMES, group_aucs
from segrec.metrics.intervals import FloatArray, cluster_sums
from segrec.metrics.log_loss import log_losses

METRICS = ("AUC", *GAUC_NAMES, "LogLoss", "NE", "F1", "calibration_ratio")

_SUMS = ("rows", "positives", "probability", "loss", "called", "hits")


@dataclass(frozen=True)
class ChanceStatistics:
    """What a bootstrap needs of one prediction: sums by user, and the rows ranked once."""

    sums: FloatArray
    "(C, 6 + 6): `_SUMS`, then weight * AUC and weight for each GAUC."
    ranked: RankedOutcomes
    groups: int

    @classmethod
    def of(cls, labels: FloatArray, probabilities: npt.NDArray[np.floating], users: npt.NDArray[np.int64]) -> Self:
        """:raises ValueError: a prediction outside [0, 1]."""
        outcome, probability = binary_outcomes(labels, probabilities, probabilities=True)
        called = probability >= 0.5
        loss = log_losses(outcome, probability)
        by_row = np.stack(
            [
                part.double().numpy()
                for part in (torch.ones_like(loss), outcome, probability, loss, called, called & outcome)
            ],
            axis=1,
        )
        grouped = group_aucs(outcome, probability, users)
        of_groups = np.zeros((int(users.max()) + 1, 2 * len(GAUC_NAMES)))
        for place, weighting in enumerate(GAUC_NAMES.values()):
            weight = grouped.weight(weighting)
            of_groups[grouped.group.numpy(), 2 * place] = (weight * grouped.auc).numpy()
            of_groups[grouped.group.numpy(), 2 * place + 1] = weight.numpy()
        sums = np.concatenate([cluster_sums(by_row, users), of_groups], axis=1)
        return cls(sums, RankedOutcomes.of(outcome, probability), len(grouped.auc))

    def metrics(self, weights: FloatArray, users: npt.NDArray[np.int64]) -> dict[str, FloatArray]:
        """Every metric (r,) under user weights (r, C)."""
        totals = weights @ self.sums
        rows, positives, probability, loss, called, hits = totals[:, : len(_SUMS)].T
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = positives / rows
            entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
            found = {
                "LogLoss": loss / rows,
                "NE": loss / rows / entropy,
                "F1": 2 * hits / (called + positives),
                "calibration_ratio": probability / positives,
            }
            for place, name in enumerate(GAUC_NAMES):
                above, below = totals[:, len(_SUMS) + 2 * place : len(_SUMS) + 2 * place + 2].T
                found[name] = above / below
        found["AUC"] = self.ranked.cluster_auc(torch.from_numpy(weights), torch.from_numpy(users)).numpy()
        return {name: np.where(np.isfinite(found[name]), found[name], math.nan) for name in METRICS}
