"""How far predicted watch times or shares are from what was watched: errors, totals, and order.

Legend: n rows, C users, R replicates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from segrec.metrics.exit_likelihood import PairCounts
from segrec.metrics.intervals import FloatArray, cluster_sums
from segrec.metrics.kendall import kendall_counts, kendall_of_rows
from segrec.metrics.rank_correlation import RankedPairs

WATCH_METRICS = ("MAE", "RMSE", "calibration_ratio", "spearman_rows", "concordance", "concordance_user")
"concordance: share of pairs of rows, of different watch times, whose predictions are in the same order, ties half."

_SUMS = ("rows", "error", "squared", "predicted", "watched", "influence", "user_rows", "user_won")


@dataclass(frozen=True)
class WatchStatistics:
    """What a bootstrap needs of one prediction: sums by user, and the rows ranked once."""

    sums: FloatArray
    "(C, 8): `_SUMS`."
    concordance: float
    ranked: RankedPairs
    groups: int
    "Users with rows of different watch times."

    @classmethod
    def of(cls, watched: FloatArray, predicted: npt.NDArray[np.floating], users: npt.NDArray[np.int64]) -> Self:
        """:raises ValueError: a prediction that is negative or not finite."""
        values = predicted.astype(np.float64)
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError("a predicted watch time must be finite and at least 0")
        error = values - watched
        pairs = _row_pairs(values, watched)
        by_row = np.stack([np.ones_like(watched), np.abs(error), error**2, values, watched, pairs.influence], axis=1)
        own = _by_user(values, watched, users)
        sums = np.concatenate([cluster_sums(by_row, users), own], axis=1)
        return cls(sums, pairs.value, RankedPairs.of(values, watched), int((own[:, 0] > 0).sum()))

    def metrics(self, weights: FloatArray, users: npt.NDArray[np.int64]) -> dict[str, FloatArray]:
        """Every metric (r,) under user weights (r, C); `concordance` by its first-order influence (`PairCounts`)."""
        totals = dict(zip(_SUMS, (weights @ self.sums).T, strict=True))
        influence = self.sums[:, _SUMS.index("influence")].sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {
                "MAE": totals["error"] / totals["rows"],
                "RMSE": np.sqrt(totals["squared"] / totals["rows"]),
                "calibration_ratio": totals["predicted"] / totals["watched"],
                "concordance": self.concordance + totals["influence"] - influence,
                "concordance_user": totals["user_won"] / totals["user_rows"],
            }
        found["spearman_rows"] = self.ranked.cluster_spearman(
            torch.from_numpy(weights), torch.from_numpy(users)
        ).numpy()
        return {name: np.where(np.isfinite(found[name]), found[name], math.nan) for name in WATCH_METRICS}


def _row_pairs(predicted: FloatArray, watched: FloatArray) -> PairCounts:
    rows = kendall_of_rows(predicted, watched)
    tied = rows.tied_predictions.double()
    wins, pairs = rows.concordant + tied / 2, rows.concordant + rows.discordant + tied
    return PairCounts(wins.numpy(), pairs.numpy())


def _by_user(predicted: FloatArray, watched: FloatArray, users: npt.NDArray[np.int64]) -> FloatArray:
    """(C, 2): rows of a user who has comparable pairs, and those rows times the user's own concordance."""
    order = np.argsort(users, kind="stable")
    counts = np.bincount(users)
    found = kendall_counts(predicted[order], watched[order], np.concatenate([[0], np.cumsum(counts)]))
    tied = found.tied_predictions.double()
    pairs = (found.concordant + found.discordant + tied).numpy()
    won = (found.concordant + tied / 2).numpy()
    rows = np.where(pairs > 0, counts, 0).astype(np.float64)
    return np.stack([rows, rows * won / np.maximum(pairs, 1)], axis=1)
