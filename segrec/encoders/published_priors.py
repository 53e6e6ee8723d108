"""The SegMM paper's position priors, as its code computes them: for comparison with published numbers only.

prob[j] = share of the train and valid views whose skip slot is not j; a view watched to the end has skip slot N, where
the grid has one. User and item priors are the same per id, with the global prior for unseen ids. The published numbers
draw 0/1 scores from these shares (`bernoulli`); `static` ranks by the shares themselves, `published` random by nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.encoders.exit_table import IntArray, Outcomes
from segrec.encoders.prediction import RankPrediction
from segrec.encoders.priors import lengths_of
from segrec.tables.vocabulary import FIRST_KNOWN, Vocabulary


@dataclass(frozen=True)
class BernoulliPrediction:
    """Scores that are drawn: 1 ("viewed") with probability `viewed`, else 0; the lowest is the skip."""

    viewed: npt.NDArray[np.float32]
    "(B, S) over all slots of the grid."
    lengths: IntArray
    "(B,) N"


@dataclass(frozen=True)
class PublishedPrior:
    """Shares of "viewed" by slot: one row for all, or one a user or an item."""

    name: str
    key: str | None
    ids: Vocabulary | None
    viewed: npt.NDArray[np.float32]
    "(n, S), rows as the vocabulary's codes; row 0 is the global prior."

    @classmethod
    def fit(cls, views: pl.DataFrame, width: int, key: str | None = None) -> Self:
        """From views (train and valid, as published) on a grid of `width` slots; `key` = user_id or item_id."""
        outcomes = Outcomes.of(views)
        nobody = np.zeros(views.height, dtype=np.int64)
        whole = _viewed(nobody, outcomes.exits, 1, width)
        if key is None:
            return cls("position", None, None, whole)
        ids = Vocabulary.fit(views[key])
        viewed = _viewed(ids.encode(views[key]), outcomes.exits, ids.size, width)
        viewed[:FIRST_KNOWN] = whole
        return cls(key.removesuffix("_id"), key, ids, viewed)

    def static(self, views: pl.DataFrame) -> RankPrediction:
        """Ranking by the shares themselves."""
        return RankPrediction(self._of(views), lengths_of(views))

    def bernoulli(self, views: pl.DataFrame) -> BernoulliPrediction:
        """0/1 scores drawn from the shares, as published; metrics take their exact expectation."""
        return BernoulliPrediction(self._of(views), lengths_of(views))

    def _of(self, views: pl.DataFrame) -> npt.NDArray[np.float32]:
        if self.key is None or self.ids is None:
            return np.repeat(self.viewed, views.height, axis=0)
        return self.viewed[self.ids.encode(views[self.key])]


def published_random(views: pl.DataFrame, width: int) -> RankPrediction:
    """All slots of the grid alike, padding included: 1 / 40, 5 / 40, 10 / 40 under slots40."""
    return RankPrediction(np.zeros((views.height, width), dtype=np.float32), lengths_of(views))


def _viewed(keys: IntArray, exits: IntArray, n: int, width: int) -> npt.NDArray[np.float32]:
    views = np.bincount(keys, minlength=n)
    there = exits < width
    skips = np.bincount(keys[there] * width + exits[there], minlength=n * width).reshape(n, width)
    return (1.0 - skips / np.maximum(views, 1)[:, None]).astype(np.float32)
