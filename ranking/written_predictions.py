"""A dataset's rows with a ranker's predictions, streamed into one Parquet file: memory holds one piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from ranking.batching import RankingBatch, make_batch
from ranking.rows.impressions import ImpressionSource
from ranking.rows.pieces import Piece
from segrec.records import KEY, ConfigError, DataError, DatasetFolder, new_file

PREDICTION = "prediction"
BATCH_ROWS = 4096


@dataclass(frozen=True)
class Predictor:
    """Rows and what answers them: a run's ranker or an exported one."""

    source: ImpressionSource
    answers: Callable[[RankingBatch], npt.NDArray[np.float64]]
    "Batch -> (B,), or (B, K) of K outputs."
    outputs: tuple[str, ...]
    "What each column of the answers predicts."
    max_segments: int

    @property
    def columns(self) -> tuple[str, ...]:
        """`prediction`, or of several outputs `prediction_OUTPUT` each."""
        return (PREDICTION,) if len(self.outputs) == 1 else tuple(f"{PREDICTION}_{name}" for name in self.outputs)


def write_predictions(predictor: Predictor, out: Path, keep: Sequence[str] = ()) -> int:
    """Writes user_id, item_id, time_ms, the input columns `keep` and the predictions; gives the number of rows.

    Rows stand in the dataset's order. The file appears when it is complete.

    :raises ConfigError: a column to keep has a prediction's name or is given twice.
    :raises DataError: the dataset lacks a column, or an answer is not finite (the row is named).
    """
    names = (*KEY, *keep, *predictor.columns)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"--columns {twice}: the file has a column of that name already; leave it out")
    with new_file(out) as building:
        writer: pq.ParquetWriter | None = None
        try:
            for piece in predictor.source.pieces:
                table = _predicted(predictor, piece, [*KEY, *keep]).to_arrow()
                writer = writer or pq.ParquetWriter(building, table.schema, compression="zstd")
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
    return predictor.source.rows


def check_columns(dataset: DatasetFolder, columns: Sequence[str]) -> None:
    """:raises ConfigError: a column that interactions lack (those that are there are named)."""
    schema = dataset.interactions().collect_schema().names()
    for name in columns:
        if name not in schema:
            raise ConfigError(f"--columns {name}: not in {dataset.path} (found: {', '.join(schema)})")


def _predicted(predictor: Predictor, piece: Piece, columns: Sequence[str]) -> pl.DataFrame:
    """The piece's rows with their predictions."""
    source = predictor.source
    frame, rows = source.frame(piece, columns), source.read(piece)
    found = []
    for start in range(0, rows.rows, BATCH_ROWS):
        places = np.arange(start, min(start + BATCH_ROWS, rows.rows))
        batch = make_batch(rows.take(places), source.names, len(places), predictor.max_segments)
        found.append(predictor.answers(batch).reshape(len(places), -1))
    answers = np.concatenate(found)
    wrong = ~np.isfinite(answers).all(axis=1)
    if wrong.any():
        row = frame.select(KEY).row(int(np.argmax(wrong)), named=True)
        raise DataError(
            piece.file, "a row's prediction is not finite", found=", ".join(f"{key} {row[key]}" for key in KEY),
            fix="look for values of that row far outside what train had",
        )  # fmt: skip
    columns_of = {name: pl.Series(answers[:, place]) for place, name in enumerate(predictor.columns)}
    return frame.with_columns(**columns_of)
