"""The best possible answers in a made world, read from its truth, and what share of their lift a model reaches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.encoders.prediction import ExitPrediction
from segrec.records import KEY, DataError, DatasetFolder
from segrec.worlds.jagged import Bools
from segrec.worlds.videos import SEGMENT_MS

FLAG_PROBABILITIES = {"is_click": "click_probability", "long_view": "long_view_probability"}


@dataclass(frozen=True)
class Oracle:
    """A skip model, and a click model, that knows the world's latents."""

    truth: pl.DataFrame
    "One row an impression: user_id, item_id, time_ms, hazard list<f32>, click_probability ..."
    name: str = "oracle"

    @classmethod
    def of(cls, dataset: DatasetFolder) -> Oracle:
        """:raises DataError: the dataset is not of a made world."""
        truth = dataset.truth()
        if truth is None:
            raise DataError(
                dataset.path, "has no truth.parquet", fix="only made worlds have one: `segrec simulate short`"
            )
        return cls(truth)

    def predict(self, views: pl.DataFrame) -> ExitPrediction:
        """The true exit distribution of each view, in the order of `views` (any frame with the key columns).

        :raises DataError: a view that the truth does not know, or one on another segment grid.
        """
        hazard = self._of(views, "hazard")
        lengths = hazard.list.len().to_numpy().astype(np.int32)
        if "n_segments" in views.columns and (views["n_segments"].to_numpy() != lengths).any():
            raise DataError(
                "truth.parquet", "stands on another segment grid than the views", expected=f"{SEGMENT_MS} ms",
                fix="read the made world without --segment-ms",
            )  # fmt: skip
        padded = np.zeros((len(lengths), int(lengths.max(initial=1))), dtype=np.float32)
        inside: Bools = np.arange(padded.shape[1]) < lengths[:, None]
        padded[inside] = hazard.explode().to_numpy() if len(lengths) else []
        return ExitPrediction.from_hazards(padded, lengths)

    def flag_probability(
        self, impressions: pl.DataFrame, flag: Literal["is_click", "long_view"]
    ) -> npt.NDArray[np.float32]:
        """(B,) true probability that the impression's flag is 1, in the order of `impressions`."""
        return self._of(impressions, FLAG_PROBABILITIES[flag]).to_numpy().astype(np.float32)

    def interest(self, impressions: pl.DataFrame) -> pl.Series:
        """(B,) lists of the true interest in each segment, in the order of `impressions`."""
        return self._of(impressions, "interest")

    def _of(self, rows: pl.DataFrame, column: str) -> pl.Series:
        keys = rows.select(KEY)
        truth = self.truth.select(*(pl.col(key).cast(keys.schema[key]) for key in KEY), column)
        joined = keys.join(truth, on=list(KEY), how="left", maintain_order="left", validate="m:1")
        if joined[column].null_count():
            first = keys.filter(joined[column].is_null()).row(0)
            raise DataError(
                "truth.parquet", f"knows nothing of (user_id, item_id, time_ms) = {first}",
                fix="read the made world again with `segrec read`",
            )  # fmt: skip
        return joined[column]


def share_of_oracle_lift(model: float, prior: float, oracle: float) -> float:
    """(model - prior) / (oracle - prior): 0 = no better than the prior, 1 = as good as can be; NaN without a lift.

    The same for metrics that should be small (NLL) and large (AUC, NDCG).
    """
    return math.nan if oracle == prior else (model - prior) / (oracle - prior)
