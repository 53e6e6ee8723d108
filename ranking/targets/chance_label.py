"""Labels between 0 and 1 that a logit's sigmoid predicts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from segrec.records import Config


class ChanceLabel(Config):
    """What labels of a chance or a share have in common."""

    rate: float
    "Mean over train's rows that have the label."

    @property
    def mean(self) -> float:
        """Mean over train."""
        return self.rate

    @property
    def start(self) -> float:
        """Sigmoid that a ranker's last bias starts at."""
        return self.rate

    def shares(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """`values` in [0, 1]: what an id's lagged rate is the mean of."""
        return values

    def answers(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Logits (n,) as predictions of the label."""
        probabilities: npt.NDArray[np.float64] = torch.sigmoid(torch.from_numpy(logits)).numpy()
        return probabilities

    def weights(self, rows: pl.DataFrame) -> npt.NDArray[np.float32] | None:
        """(n,) importance of a row in the loss; None = all count alike."""
