"""Scores of many views: in memory for evaluations, in streams for score tables.

A score needs only what is known before the view: rows outside the skip task (watch_ms = 0, 200 s or longer) are scored
too, the first 200 s of a long video.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.encoders.encoder import SkipEncoder
from segrec.encoders.encoder_runs import thaw_skip
from segrec.encoders.prediction import ExitPrediction, SkipPrediction
from segrec.freezing import FrozenEncoder
from segrec.records import KEY, DataError, DatasetFolder, scan_parquet
from segrec.segments.history import PAST_COLUMNS, HistoryLog
from segrec.segments.views import with_grid

CHUNK_ROWS = 200_000

_KNOWN_COLUMNS = tuple(name for name in PAST_COLUMNS if name != "end_ms")


def score_views(frozen: FrozenEncoder, dataset: DatasetFolder, views: pl.DataFrame) -> SkipPrediction:
    """Predictions in the order of `views` (rows of `dataset` with its grid, see `segments.views`).

    A view's history is what its user saw in the dataset strictly before it, in whatever split.

    :raises DataError: the dataset has another segment grid than the encoder.
    """
    check_grid(frozen, dataset)
    encoder = thaw_skip(frozen)
    asked = views.select("user_id").unique().lazy()
    rows = dataset.interactions().filter(
        (pl.col("duration_ms") > 0) & (pl.col("time_ms") < (views["time_ms"].max() if views.height else 0))
    )
    past = with_grid(rows.join(asked, on="user_id", how="semi"), dataset).collect()
    return encoder.predict(views, HistoryLog.of(past, encoder.past_columns), encoder.surroundings(dataset))


def scored_chunks(encoder: SkipEncoder, dataset: DatasetFolder) -> Iterator[tuple[pl.DataFrame, SkipPrediction]]:
    """All rows with duration_ms > 0 in time order with their predictions, chunk by chunk.

    In memory at a time: one day of the log and each user's newest `past_views` rows.
    """
    surroundings = encoder.surroundings(dataset)
    for views, log in chunks_with_past(dataset, encoder):
        yield views, encoder.predict(views, log, surroundings)


def chunks_with_past(
    dataset: DatasetFolder, encoder: SkipEncoder, chunk_rows: int = CHUNK_ROWS
) -> Iterator[tuple[pl.DataFrame, HistoryLog]]:
    """Rows with duration_ms > 0 in time order, each chunk with a log that holds its own rows and all that it needs."""
    tail: pl.DataFrame | None = None
    for file in dataset.interaction_files():
        day = with_grid(scan_parquet([file]).filter(pl.col("duration_ms") > 0), dataset)
        for views in _cut(day.sort("time_ms", maintain_order=True).collect(), chunk_rows):
            rows = views.select(*_KNOWN_COLUMNS, *encoder.past_columns)
            log = HistoryLog.of(rows if tail is None else pl.concat([tail, rows]), encoder.past_columns)
            yield views, log
            tail = log.tail(encoder.past_views, int(views["time_ms"][-1])).select(rows.columns)


def score_frame(views: pl.DataFrame, predicted: SkipPrediction) -> pl.DataFrame:
    """user_id, item_id, time_ms, scores: stay probabilities of an exit distribution, else the scores as they are."""
    values = predicted.stay() if isinstance(predicted, ExitPrediction) else predicted.scores
    return views.select(*KEY).with_columns(_lists(values, predicted.lengths))


def check_grid(frozen: FrozenEncoder, dataset: DatasetFolder) -> None:
    """:raises DataError: the dataset is cut otherwise than the encoder's."""
    if frozen.meta.segment_ms != dataset.meta.segment_ms:
        raise DataError(
            dataset.path, "is cut into other segments than the encoder's", found=f"{dataset.meta.segment_ms} ms",
            expected=f"{frozen.meta.segment_ms} ms", fix="read it again with that --segment-ms, or fit anew",
        )  # fmt: skip


def _cut(rows: pl.DataFrame, chunk_rows: int) -> Iterator[pl.DataFrame]:
    """Pieces of about `chunk_rows` rows; rows of one time stay together."""
    times, start = rows["time_ms"].to_numpy(), 0
    while start < rows.height:
        end = min(start + chunk_rows, rows.height)
        end = int(np.searchsorted(times, times[end - 1], side="right"))
        yield rows[start:end]
        start = end


def _lists(values: npt.NDArray[np.floating], lengths: npt.NDArray[np.integer]) -> pl.Series:
    inside = np.arange(values.shape[1]) < lengths[:, None]
    flat = pl.Series("scores", values[inside].astype(np.float32))
    row = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    listed = pl.DataFrame({"row": row, "scores": flat}).group_by("row", maintain_order=True).agg("scores")
    return listed["scores"]
