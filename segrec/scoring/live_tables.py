"""Scores of all segments of live rooms, as the rows of a score table."""

from __future__ import annotations

import polars as pl

from segrec.encoders.encoder import LiveEncoder
from segrec.freezing import FrozenEncoder
from segrec.scoring.cross_fitting import cross_fitted_rooms
from segrec.segments.rooms import Rooms


def live_score_frame(encoder: LiveEncoder, frozen: FrozenEncoder, rooms: Rooms, folds: int | None) -> pl.DataFrame:
    """item_id, segment, end_ms, score: every segment of `rooms`; with `folds`, train rooms out of fold.

    :raises DataError: (with `folds`) another dataset or too few train rooms.
    """
    scores = (
        encoder.predict(rooms, rooms.dataset) if folds is None else cross_fitted_rooms(encoder, frozen, rooms, folds)
    )
    return rooms.frame.select("item_id", "segment", "end_ms").with_columns(score=pl.Series(scores, dtype=pl.Float32))
