"""Placebos of live score tables: one row a segment of a room, which impressions find by time."""

from __future__ import annotations

import numpy as np
import polars as pl

from segrec.records import DatasetFolder, ScoreTable

_ROW = ["item_id", "segment", "end_ms"]


def shuffled_in_rooms(table: ScoreTable, seed: int) -> pl.DataFrame:
    """Each room's scores in random order over its segments: the room's level is left, its later segments' included."""
    frame = _frame(table)
    order = np.lexsort((np.random.default_rng(seed).random(frame.height), frame["item_id"].rank("dense").to_numpy()))
    return frame.with_columns(frame["score"].gather(order))


def position_in_rooms(table: ScoreTable, dataset: DatasetFolder) -> pl.DataFrame:
    """The mean score of train rooms at that segment number; beyond their longest, their last mean."""
    frame = _frame(table)
    rooms = dataset.items()
    train = frame if rooms is None else frame.join(rooms.filter(pl.col("split") == "train"), on="item_id", how="semi")
    means = train.group_by("segment").agg(pl.col("score").mean()).sort("segment")
    found = frame.select(_ROW).join(means, on="segment", how="left", maintain_order="left")
    return found.with_columns(pl.col("score").fill_null(means["score"].last() if means.height else 0.0))


def popularity_in_rooms(table: ScoreTable, dataset: DatasetFolder) -> pl.DataFrame:
    """log(1 + impressions of the room before the segment's end), of whatever split: clicks are not looked at."""
    frame = _frame(table)
    shown = dataset.interactions().select("item_id", "time_ms").collect(engine="streaming").sort("time_ms")
    shown = shown.with_columns(shown=pl.int_range(1, pl.len() + 1).over("item_id"))
    asked = frame.select(_ROW).with_row_index("at").sort("end_ms")
    found = asked.join_asof(
        shown, left_on="end_ms", right_on="time_ms", by="item_id", allow_exact_matches=False, check_sortedness=False
    )
    return found.sort("at").select(*_ROW, score=pl.col("shown").fill_null(0).cast(pl.Float64).log1p())


def _frame(table: ScoreTable) -> pl.DataFrame:
    return table.frame().select(*_ROW, "score").collect().sort("item_id", "end_ms")
