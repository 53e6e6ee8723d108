"""Score tables without what the scores claim to know: the same rows, but shuffled, position-only, popularity-only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from ranking.measures.live_placebos import popularity_in_rooms, position_in_rooms, shuffled_in_rooms
from segrec.records import KEY, DatasetFolder, ScoreTable, write_score_table

Placebo = Literal["shuffled", "position", "popularity"]
PLACEBOS: tuple[Placebo, ...] = ("shuffled", "position", "popularity")

STRENGTH = 20.0
"A (length, position) mean is shrunk to the position's as if so many rows of that mean came on top."
_ROWS_AT_ONCE = 200_000

_Change = Callable[[pl.DataFrame], pl.Series]
"Frame with `scores` lists -> new lists, row by row."


def placebo_name(model: str, placebo: Placebo) -> str:
    """What metric rows call a model that was given placebo scores."""
    return f"{model}+placebo_{placebo}"


def write_placebo(
    table: ScoreTable, dataset: DatasetFolder, placebo: Placebo, out: Path, *, seed: int = 0
) -> ScoreTable:
    """Writes the placebo of `table` to `out`: the same rows, and lists of the same lengths.

    - shuffled: each list's own scores in random order: what is left is the level, not where the interest lies.
    - position: the mean score of that (number of segments, segment) over the table's train rows, shrunk to the
      segment's mean: what is left is what position alone tells.
    - popularity: log(1 + train impressions of the item before this one), the same for all segments: what is left is
      that some items are shown more. Content tables have no time: all of train counts.

    Of live tables: each room's scores shuffled over its segments; the mean of train rooms at the segment's number;
    log(1 + impressions of the room before the segment's end).

    :raises DataError: `out` cannot be written.
    """
    frames = (
        _live(table, dataset, placebo, seed) if table.meta.form == "live" else _lists_of(table, dataset, placebo, seed)
    )
    told = f"{table.meta.encoder_hash} {placebo} {seed}"
    meta = table.meta.model_copy(
        update={
            "kind": "relevance" if placebo == "popularity" else table.meta.kind,
            "encoder": placebo_name(table.meta.encoder, placebo),
            "encoder_hash": hashlib.sha256(told.encode()).hexdigest(),
        }
    )
    write_score_table(out, frames, meta)
    return ScoreTable.open(out)


def _live(table: ScoreTable, dataset: DatasetFolder, placebo: Placebo, seed: int) -> Iterator[pl.DataFrame]:
    if placebo == "shuffled":
        yield shuffled_in_rooms(table, seed)
    else:
        yield position_in_rooms(table, dataset) if placebo == "position" else popularity_in_rooms(table, dataset)


def _lists_of(table: ScoreTable, dataset: DatasetFolder, placebo: Placebo, seed: int) -> Iterator[pl.DataFrame]:
    change = _changes(table, dataset, placebo, seed)
    content = table.meta.form == "content"
    return (_changed(frame, change, content) for frame in _frames(table))


def _frames(table: ScoreTable) -> Iterator[pl.DataFrame]:
    """The table in blocks, one row a list; content tables at once, one row an item."""
    if table.meta.form == "content":
        ordered = table.frame().sort("item_id", "segment")
        yield ordered.group_by("item_id", maintain_order=True).agg("segment", scores="score").collect()
        return
    for batch in pq.ParquetFile(table.path).iter_batches(_ROWS_AT_ONCE):
        block = pl.from_arrow(batch)
        assert isinstance(block, pl.DataFrame)
        yield block


def _changed(frame: pl.DataFrame, change: _Change, content: bool) -> pl.DataFrame:
    made = frame.with_columns(change(frame).alias("scores"))
    return made.explode("segment", "scores").rename({"scores": "score"}) if content else made


def _changes(table: ScoreTable, dataset: DatasetFolder, placebo: Placebo, seed: int) -> _Change:
    if placebo == "shuffled":
        generator = np.random.default_rng(seed)
        return lambda frame: _shuffled(frame["scores"], generator)
    if placebo == "position":
        curve = _mean_curve(table, dataset)
        return lambda frame: _from_curve(frame["scores"], curve)
    counted = _train_counts(dataset)
    return lambda frame: _popularity(frame, counted)


def _shuffled(scores: pl.Series, generator: np.random.Generator) -> pl.Series:
    """Each list's values in an order of its own."""
    flat = _flat(scores)
    order = np.lexsort((generator.random(flat.height), flat["row"].to_numpy()))
    return _lists(flat.select("row", value=flat["value"].gather(order)), len(scores))


def _mean_curve(table: ScoreTable, dataset: DatasetFolder) -> pl.DataFrame:
    """length, place, mean: over the train rows of a personal table, over all items of a content table."""
    if table.meta.form == "content":
        lists = table.frame().sort("item_id", "segment").group_by("item_id").agg(scores="score")
    else:
        train = dataset.interactions(["train"]).select(KEY).unique()
        lists = table.frame().join(train, on=list(KEY), how="semi")
    flat = lists.select("scores", length=pl.col("scores").list.len(), place=pl.int_ranges(pl.col("scores").list.len()))
    flat = flat.filter(pl.col("length") > 0).explode("scores", "place")
    summed = flat.group_by("length", "place").agg(total=pl.col("scores").cast(pl.Float64).sum(), count=pl.len())
    curve = summed.collect(engine="streaming").sort("length", "place")
    at_place = pl.col("total").sum().over("place") / pl.col("count").sum().over("place")
    return curve.with_columns(at_place=at_place).select(
        "length",
        "place",
        "at_place",
        mean=(pl.col("total") + STRENGTH * pl.col("at_place")) / (pl.col("count") + STRENGTH),
    )


def _from_curve(scores: pl.Series, curve: pl.DataFrame) -> pl.Series:
    """The curve's value at each place; of an unknown length the place's mean, of an unknown place the last one's."""
    at_place = curve.group_by("place").agg(pl.col("at_place").first()).sort("place")
    flat = _flat(scores).join(
        curve.select("length", "place", "mean"), on=["length", "place"], how="left", maintain_order="left"
    )
    flat = flat.join(at_place, on="place", how="left", maintain_order="left")
    last = at_place["at_place"].last() if at_place.height else 0.0
    return _lists(flat.select("row", value=pl.coalesce("mean", "at_place", pl.lit(last))), len(scores))


def _train_counts(dataset: DatasetFolder) -> pl.DataFrame:
    """item_id, time_ms, shown: how often the item had been shown in train up to then, its own row included."""
    train = dataset.interactions(["train"]).select("item_id", "time_ms").collect(engine="streaming").sort("time_ms")
    return train.with_columns(shown=pl.int_range(1, pl.len() + 1).over("item_id"))


def _popularity(frame: pl.DataFrame, counted: pl.DataFrame) -> pl.Series:
    if "time_ms" in frame.columns:
        asked = frame.select("item_id", "time_ms").with_row_index("at").sort("time_ms")
        found = asked.join_asof(counted, on="time_ms", by="item_id", allow_exact_matches=False, check_sortedness=False)
        shown = found.sort("at")["shown"]
    else:
        total = counted.group_by("item_id").agg(pl.col("shown").max())
        shown = frame.select("item_id").join(total, on="item_id", how="left", maintain_order="left")["shown"]
    level = shown.fill_null(0).cast(pl.Float64).log1p().rename("level")
    repeated = pl.DataFrame({"scores": frame["scores"], "level": level})
    return repeated.select(pl.col("level").repeat_by(pl.col("scores").list.len())).to_series()


def _flat(scores: pl.Series) -> pl.DataFrame:
    """row, length, place, value: one row a segment, lists without segments left out."""
    length = pl.col("value").list.len()
    rows = scores.rename("value").to_frame().with_row_index("row").filter(length > 0)
    return rows.with_columns(length=length, place=pl.int_ranges(length)).explode("value", "place")


def _lists(flat: pl.DataFrame, rows: int) -> pl.Series:
    """Values gathered into one list a row again; rows without segments get an empty one."""
    gathered = flat.group_by("row", maintain_order=True).agg("value")
    every = pl.DataFrame({"row": pl.int_range(rows, dtype=pl.UInt32, eager=True)})
    lists = every.join(gathered, on="row", how="left", maintain_order="left")["value"]
    return lists.fill_null(pl.Series([[]], dtype=lists.dtype).first())
