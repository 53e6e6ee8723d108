"""Standardisation of dense columns, learned on the training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

_CLIP = 4.0
"Dense columns are cut at so many standard deviations."


@dataclass(frozen=True)
class Scales:
    """Mean and standard deviation of the dense columns over the training rows, (F,) each."""

    means: FloatArray
    deviations: FloatArray

    @classmethod
    def of(cls, dense: FloatArray) -> Self:
        """NaN does not count; a column that never varies keeps a deviation of 1."""
        known = np.isfinite(dense)
        count = np.maximum(known.sum(axis=0), 1)
        means = np.where(known, dense, 0.0).sum(axis=0, dtype=np.float64) / count
        squares = np.where(known, (dense - means) ** 2, 0.0).sum(axis=0, dtype=np.float64) / count
        deviations = np.where(squares > 1e-12, np.sqrt(squares), 1.0)
        return cls(means.astype(np.float32), deviations.astype(np.float32))

    @classmethod
    def none(cls, width: int) -> Self:
        """Leaves `width` columns as they are."""
        return cls(np.zeros(width, np.float32), np.ones(width, np.float32))

    def scaled(self, dense: FloatArray) -> FloatArray:
        """(V, F) standardised and cut; unknown values become the mean."""
        scaled = dense - self.means
        scaled /= self.deviations
        np.clip(scaled, -_CLIP, _CLIP, out=scaled)
        np.copyto(scaled, 0.0, where=np.isnan(scaled))
        return scaled.astype(np.float32, copy=False)
