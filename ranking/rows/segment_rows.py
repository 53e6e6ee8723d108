"""The segments of live rooms as rows for rankers: a dataset folder whose interactions are segments, not impressions."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ranking.rows.lagged_counts import Columns, lagged_columns, own_columns
from ranking.targets.labels import TARGET, TRIALS
from segrec.records import SPLITS, DatasetFolder
from segrec.segments.rooms import Rooms


def write_segment_rows(dataset: DatasetFolder, folder: Path, *, rate: str, shift: int, leak: bool) -> DatasetFolder:
    """One row a segment of each room of `dataset`, sorted by time_ms: what predicts its rate, and the rate.

    Columns: item_id (the room), author_id (the streamer), segment, time_ms (when the prediction is made: shift 0 at
    the segment's start, for its own rate; shift 1 at its end, for the next one's), split (of the room), the columns of
    `lagged_columns` (with `leak` those of `own_columns` too) as context, TARGET and TRIALS (null = unknown).

    :raises DataError: no live rooms, or no rate of that name.
    """
    rooms = Rooms.of(dataset)
    target = rooms.target(rate, shift)
    inputs: Columns = lagged_columns(rooms, shift) | (own_columns(rooms, shift) if leak else {})
    time_ms = rooms.end_ms if shift else rooms.start_ms
    rows = rooms.frame.select("item_id", "author_id", "segment", "split").with_columns(
        pl.Series("time_ms", time_ms),
        *(pl.Series(name, values) for name, values in inputs.items()),
        pl.Series(TARGET, target.values),
        pl.Series(TRIALS, target.trials),
    )
    rows = rows.with_columns(pl.col(*inputs, TARGET, TRIALS).fill_nan(None)).sort("time_ms", "item_id", "segment")
    day = folder / "interactions" / "day=all"
    day.mkdir(parents=True)
    rows.write_parquet(day / "part-00000.parquet")
    return _described(dataset, folder, rows, list(inputs))


def _described(dataset: DatasetFolder, folder: Path, rows: pl.DataFrame, context: list[str]) -> DatasetFolder:
    items = dataset.items()
    assert items is not None
    items.write_parquet(folder / "items.parquet")
    counts = dict(rows["split"].value_counts().iter_rows())
    meta = dataset.meta.model_copy(
        update={
            "rows": {split: counts.get(split, 0) for split in SPLITS}, "context": context, "flags": [],
            "user_features": [], "segments": {},
        }
    )  # fmt: skip
    (folder / "dataset.json").write_text(meta.model_dump_json(indent=1), encoding="utf-8")
    return DatasetFolder.open(folder)
