"""Impressions of a dataset folder in pieces of its day files, encoded with labels and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.encoded_rows import EncodedRows
from ranking.feature_encoding import RowEncoder
from ranking.label_rates import spans_of
from ranking.labels import Label
from ranking.pieces import Piece, cut_pieces
from ranking.score_features import NAMES, VALUES, score_features, with_indicators
from ranking.score_lookup import Jagged, ScoreLookup
from ranking.task_rates import AnyRates
from segrec.records import DataError, DatasetFolder, Split, segment_count


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


class ImpressionSource:
    """The rows of `splits` (that have the label, where there is one), readable piece by piece.

    :raises DataError: those splits have no row.
    """

    def __init__(
        self,
        dataset: DatasetFolder,
        encoder: RowEncoder,
        splits: Sequence[Split],
        *,
        label: Label | None = None,
        rates: AnyRates | None = None,
        scores: ScoreUse | None = None,
        with_segments: bool = False,
        piece_rows: int = 65_536,
        at_least: int = 1,
    ) -> None:
        self._dataset, self._encoder, self._splits = dataset, encoder, list(splits)
        self._label, self._rates, self._scores, self._with_segments = label, rates, scores, with_segments
        self.pieces = cut_pieces(dataset, self._wanted, piece_rows, at_least)
        self.rows = sum(piece.kept for piece in self.pieces)
        if not self.rows:
            raise DataError(
                dataset.path, f"has no {' or '.join(splits)} row", fix="read the source again with another split"
            )
        self.names = encoder.fitted.spec.sparse_names
        "Ids, then bags, in the order of the codes, then sequences."

    @property
    def dense_names(self) -> list[str]:
        """Columns of the dense matrix."""
        rates = self._rates.names if self._rates is not None else []
        scores = [f"score_{name}" for name in NAMES] if self._scores is not None and self._scores.features else []
        return self._encoder.fitted.dense_names + rates + scores

    def keys(self, piece: Piece) -> pl.DataFrame:
        """Keys of the piece's rows (user_id, item_id, time_ms; of segments no user but a number), and their labels."""
        keys_of, label_of = self._encoder.keys, self._label.columns if self._label is not None else ()
        frame = self._frame(piece, [*keys_of, *label_of])
        keys = frame.select(keys_of)
        return keys if self._label is None else keys.with_columns(label=pl.Series(self._label.values(frame)))

    def read(self, piece: Piece) -> EncodedRows:
        """The piece's rows, encoded.

        :raises DataError: a missing value under policy "reject", scores that cannot be used.
        """
        columns = [*self._encoder.columns, *(self._label.columns if self._label is not None else ())]
        columns += ["duration_ms"] if self._with_segments else []
        frame = self._frame(piece, list(dict.fromkeys(columns)))
        spans = spans_of(frame["time_ms"].to_numpy(), *self._encoder.fitted.train_ms)
        encoded = replace(self._encoder.encode(frame), spans=spans)
        if self._label is not None:
            encoded = replace(encoded, labels=self._label.values(frame))
            weights = self._label.weights(frame)
            encoded = encoded if weights is None else replace(encoded, weights=weights)
        if self._rates is not None:
            encoded = replace(encoded, dense=np.concatenate([encoded.dense, self._rates.columns(encoded)], axis=1))
        if self._with_segments:
            counts = frame.select(segment_count(self._dataset.meta.segment_ms)).to_series()
            encoded = replace(encoded, segments=counts.to_numpy())
        return encoded if self._scores is None else self._with_scores(encoded, frame)

    def score_values(self, piece: Piece) -> npt.NDArray[np.float32]:
        """(n, 16) unscaled score features of the piece, NaN where missing."""
        assert self._scores is not None
        return score_features(
            self._scores_of(self._frame(piece, self._encoder.keys)), self._scores.lookup.table.meta.kind
        )

    def _with_scores(self, encoded: EncodedRows, frame: pl.DataFrame) -> EncodedRows:
        assert self._scores is not None
        found = self._scores_of(frame)
        if self._scores.features:
            mean, deviation = np.asarray(self._scores.scaling, dtype=np.float32).T
            scaled = (score_features(found, self._scores.lookup.table.meta.kind) - mean) / deviation
            encoded = replace(encoded, dense=np.concatenate([encoded.dense, with_indicators(scaled)], axis=1))
        return replace(encoded, scores=found) if self._scores.weights else encoded

    def _scores_of(self, frame: pl.DataFrame) -> Jagged:
        assert self._scores is not None
        return self._scores.lookup.scores_of(frame)

    def _frame(self, piece: Piece, columns: Sequence[str]) -> pl.DataFrame:
        return piece.read(self._wanted, columns)

    @property
    def _wanted(self) -> pl.Expr:
        """Rows of the splits that have the label."""
        of_split = pl.col("split").is_in(self._splits)
        return of_split if self._label is None else of_split & self._label.known()


def fit_score_scaling(source: ImpressionSource) -> tuple[tuple[float, float], ...]:
    """Mean and deviation of each score feature over the source's rows that have it.

    :raises DataError: no row of the source has scores.
    """
    count, total, squares = (np.zeros(len(VALUES)) for _ in range(3))
    for piece in source.pieces:
        values = source.score_values(piece).astype(np.float64)
        count += (~np.isnan(values)).sum(axis=0)
        total += np.nansum(values, axis=0)
        squares += np.nansum(values**2, axis=0)
    if not count.any():
        raise DataError("scores", "hold no row of the train split", fix="score the dataset's train rows too")
    mean = total / np.maximum(count, 1)
    deviation = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0))
    return tuple((float(m), float(d) if d > 1e-6 else 1.0) for m, d in zip(mean, deviation, strict=True))
