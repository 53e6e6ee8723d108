"""Copies of a live dataset folder with something changed: for tests of what an encoder may look at."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from segrec.records import DatasetFolder, write_segment_vectors
from segrec.segments.rooms import Rooms

_KEPT = ("item_id", "segment", "start_ms", "end_ms")


def changed_after(dataset: DatasetFolder, path: Path, time_ms: int, seed: int = 1) -> DatasetFolder:
    """Everything that is not yet known at `time_ms` is made anew: counts, rates and vectors of segments that end later,
    and rates (with trials that are no counters) of segments that ended before but are known only later.
    """
    generator, meta = np.random.default_rng(seed), dataset.meta
    shutil.copytree(dataset.path, path)
    frame = _read(dataset)
    later = pl.col("end_ms") > time_ms
    delays = {rate.trials: rate.known_after_ms for rate in meta.rates.values() if rate.trials not in meta.counters}
    delays |= {name: rate.known_after_ms for name, rate in meta.rates.items()}
    changed = []
    for name in frame.columns:
        if name in _KEPT or not frame.schema[name].is_numeric():
            continue
        delay = delays.get(name, 0)
        other = generator.random(frame.height) if name in meta.rates else generator.integers(1, 500, frame.height)
        fresh = pl.Series(name, other).cast(frame.schema[name])
        changed.append(pl.when(later if not delay else pl.col("end_ms") + delay > time_ms).then(fresh).otherwise(name))
    _write(path, frame.with_columns(**{name.meta.output_name(): name for name in changed}))
    for name in dataset.vector_names():
        _change_vectors(dataset, path, name, frame.filter(later), generator)
    return DatasetFolder.open(path)


def with_streamers(dataset: DatasetFolder, path: Path, author_ids: Sequence[int | None]) -> DatasetFolder:
    """The rooms' streamers are `author_ids` in turn."""
    shutil.copytree(dataset.path, path)
    items = dataset.items()
    assert items is not None
    authors = [author_ids[place % len(author_ids)] for place in range(items.height)]
    items.with_columns(author_id=pl.Series(authors, dtype=pl.Int64)).write_parquet(path / "items.parquet")
    return DatasetFolder.open(path)


def without_vectors(dataset: DatasetFolder, path: Path, every: int) -> DatasetFolder:
    """Every `every`-th segment of a room has no vectors."""
    shutil.copytree(dataset.path, path)
    for name in dataset.vector_names():
        file = path / "segments" / name / "index.parquet"
        pl.read_parquet(file).filter(pl.col("segment") % every != 0).write_parquet(file)
    return DatasetFolder.open(path)


def some_rooms(rooms: Rooms, places: Sequence[int], segments: int | None = None) -> Rooms:
    """The rooms at `places`, in that order, each cut to its first `segments`."""
    parts = [rooms.frame[rooms.offsets[place] : rooms.offsets[place + 1]] for place in places]
    parts = parts if segments is None else [part.head(segments) for part in parts]
    ends = np.cumsum([part.height for part in parts])
    return Rooms(rooms.dataset, pl.concat(parts), np.concatenate([[0], ends]).astype(np.int64))


def _read(dataset: DatasetFolder) -> pl.DataFrame:
    segments = dataset.segments()
    assert segments is not None
    return segments.collect()


def _write(path: Path, frame: pl.DataFrame) -> None:
    for file in (path / "segments").glob("*.parquet"):
        file.unlink()
    frame.write_parquet(path / "segments" / "part-00000.parquet")


def _change_vectors(
    dataset: DatasetFolder, path: Path, name: str, later: pl.DataFrame, generator: np.random.Generator
) -> None:
    vectors = dataset.vectors(name)
    index, matrix = vectors.index(), np.array(vectors.matrix)
    rows = index.join(later, on=["item_id", "segment"], how="semi")["row"].to_numpy()
    matrix[rows] = generator.normal(size=(len(rows), matrix.shape[1])) * 3
    folder = path / "segments" / name
    shutil.rmtree(folder)
    settings: dict[str, Any] = {"dtype": vectors.meta.dtype, "model": vectors.meta.model}
    write_segment_vectors(folder, index.sort("row"), [matrix], dim=vectors.meta.dim, **settings)
