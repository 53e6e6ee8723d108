"""Impressions of a dataset folder in pieces of its day files, encoded with labels and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.encoding.feature_encoding import RowEncoder
from ranking.rows.encoded_rows import EncodedRows
from ranking.rows.pieces import Piece, cut_pieces
from ranking.rows.row_inputs import RowInputs, ScoreUse
from ranking.score_features import VALUES, score_features
from ranking.targets.labels import Label
from segrec.records import DataError, DatasetFolder, Split

if TYPE_CHECKING:
    from ranking.targets.task_rates import AnyRates

__all__ = ["ImpressionSource", "ScoreUse", "fit_score_scaling"]


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
        self.inputs = RowInputs(dataset, encoder, rates, scores, with_segments)
        self._splits, self._label = list(splits), label
        self.pieces = cut_pieces(dataset, self._wanted, piece_rows, at_least)
        self.rows = sum(piece.kept for piece in self.pieces)
        if not self.rows:
            raise DataError(
                dataset.path, f"has no {' or '.join(splits)} row", fix="read the source again with another split"
            )
        self.names = self.inputs.names
        "Ids, then bags, in the order of the codes, then sequences."

    @property
    def dense_names(self) -> list[str]:
        """Columns of the dense matrix."""
        return self.inputs.dense_names

    @property
    def identity(self) -> dict[str, Any]:
        """Which rows these are."""
        return {"dataset": self.inputs.dataset.meta.fingerprint, "splits": self._splits, "rows": self.rows}

    def place(self, piece: Piece, row: int) -> dict[str, Any]:
        """File (inside the dataset folder), row group and, inside it, number of the piece's `row`-th wanted row."""
        file = piece.file.relative_to(self.inputs.dataset.path).as_posix()
        return {"file": file, "row_group": piece.group.number, "row": piece.row(self._wanted, row)}

    def keys(self, piece: Piece) -> pl.DataFrame:
        """Keys of the piece's rows (user_id, item_id, time_ms; of segments no user but a number), and their labels."""
        keys_of, label_of = self.inputs.encoder.keys, self._label.columns if self._label is not None else ()
        frame = self.frame(piece, [*keys_of, *label_of])
        keys = frame.select(keys_of)
        return keys if self._label is None else keys.with_columns(label=pl.Series(self._label.values(frame)))

    def read(self, piece: Piece) -> EncodedRows:
        """The piece's rows, encoded.

        :raises DataError: a missing value under policy "reject", scores that cannot be used.
        """
        columns = [*self.inputs.columns, *(self._label.columns if self._label is not None else ())]
        frame = self.frame(piece, list(dict.fromkeys(columns)))
        encoded = self.inputs.encode(frame)
        if self._label is None:
            return encoded
        weights = self._label.weights(frame)
        encoded = replace(encoded, labels=self._label.values(frame))
        return encoded if weights is None else replace(encoded, weights=weights)

    def score_values(self, piece: Piece) -> npt.NDArray[np.float32]:
        """(n, 16) unscaled score features of the piece, NaN where missing."""
        assert self.inputs.scores is not None
        found = self.inputs.scores_of(self.frame(piece, self.inputs.encoder.keys))
        return score_features(found, self.inputs.scores.lookup.table.meta.kind)

    def frame(self, piece: Piece, columns: Sequence[str]) -> pl.DataFrame:
        """Raw `columns` of the piece's rows."""
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
