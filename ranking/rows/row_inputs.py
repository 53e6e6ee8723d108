"""Raw rows of one dataset as a ranker wants them: coded, with rates of ids, numbers of segments, and scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ranking.encoding.feature_encoding import FittedFeatures, RowEncoder
from ranking.rows.encoded_rows import EncodedRows
from ranking.score_features import NAMES, VALUES, score_features, with_indicators
from ranking.score_lookup import Jagged, ScoreLookup
from ranking.targets.label_rates import spans_of
from segrec.records import DatasetFolder, segment_count

if TYPE_CHECKING:
    from ranking.targets.task_rates import AnyRates


@dataclass(frozen=True)
class ScoreUse:
    """How scores reach the batch."""

    lookup: ScoreLookup
    features: bool
    "As dense features, standardised by `scaling`."
    weights: bool
    "As per-segment scores, for the weighting."
    scaling: tuple[tuple[float, float], ...] = ((0.0, 1.0),) * len(VALUES)
    "Mean and deviation of each of `VALUES`, fitted on train."


def dense_names(features: FittedFeatures, rates: AnyRates | None, scores: ScoreUse | None) -> list[str]:
    """Columns of the dense matrix: the features', rates of ids, scores."""
    of_rates = rates.names if rates is not None else []
    of_scores = [f"score_{name}" for name in NAMES] if scores is not None and scores.features else []
    return features.dense_names + of_rates + of_scores


@dataclass(frozen=True)
class RowInputs:
    """Encodes any rows with the dataset's columns: a piece of its log, or the candidates of a request."""

    dataset: DatasetFolder
    encoder: RowEncoder
    rates: AnyRates | None = None
    scores: ScoreUse | None = None
    with_segments: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Ids, then bags, in the order of the codes, then sequences."""
        return self.encoder.fitted.spec.sparse_names

    @property
    def dense_names(self) -> list[str]:
        """Columns of the dense matrix."""
        return dense_names(self.encoder.fitted, self.rates, self.scores)

    @property
    def columns(self) -> list[str]:
        """What `encode` needs of each row."""
        return list(dict.fromkeys([*self.encoder.columns, *(["duration_ms"] if self.with_segments else [])]))

    def encode(self, frame: pl.DataFrame) -> EncodedRows:
        """Rows in the frame's order.

        :raises DataError: a missing value under policy "reject", scores that cannot be used.
        """
        spans = spans_of(frame["time_ms"].to_numpy(), *self.encoder.fitted.train_ms)
        encoded = replace(self.encoder.encode(frame), spans=spans)
        if self.rates is not None:
            encoded = replace(encoded, dense=np.concatenate([encoded.dense, self.rates.columns(encoded)], axis=1))
        if self.with_segments:
            counts = frame.select(segment_count(self.dataset.meta.segment_ms)).to_series()
            encoded = replace(encoded, segments=counts.to_numpy())
        return encoded if self.scores is None else self._with_scores(encoded, frame)

    def scores_of(self, frame: pl.DataFrame) -> Jagged:
        """Per-segment scores of each row."""
        assert self.scores is not None
        return self.scores.lookup.scores_of(frame)

    def _with_scores(self, encoded: EncodedRows, frame: pl.DataFrame) -> EncodedRows:
        assert self.scores is not None
        found = self.scores_of(frame)
        if self.scores.features:
            mean, deviation = np.asarray(self.scores.scaling, dtype=np.float32).T
            scaled = (score_features(found, self.scores.lookup.table.meta.kind) - mean) / deviation
            encoded = replace(encoded, dense=np.concatenate([encoded.dense, with_indicators(scaled)], axis=1))
        return replace(encoded, scores=found) if self.scores.weights else encoded
