"""Out-of-fold scores: each block of train rows is scored by an encoder that never saw that block.

Rows are views (blocks by their time) or segments of live rooms (blocks by the start of their room).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.encoders.encoder import Encoder, LiveEncoder, SkipEncoder, Withheld
from segrec.encoders.prediction import SkipPrediction
from segrec.freezing import FrozenEncoder
from segrec.records import ConfigError, DataError, DatasetFolder
from segrec.scoring.batch import chunks_with_past
from segrec.segments.rooms import Rooms

AnyEncoder = TypeVar("AnyEncoder", bound=Encoder)


def cross_fitted_chunks(
    encoder: SkipEncoder, frozen: FrozenEncoder, dataset: DatasetFolder, folds: int
) -> Iterator[tuple[pl.DataFrame, SkipPrediction]]:
    """As `scored_chunks`, train rows by refits with the run's config, one for each of `folds` blocks of time.

    A refit sees nothing of its block: neither as rows to learn nor as anybody's past. As the past of later rows the
    block counts when they are scored, as it would in use.

    :raises ConfigError: folds < 2.
    :raises DataError: the encoder was fitted on another dataset, or there are fewer train rows than folds.
    """
    blocks = time_blocks_of(dataset, folds)
    encoders = [encoder, *_refits(encoder, frozen, dataset, blocks)]
    surroundings = encoder.surroundings(dataset)
    for views, log in chunks_with_past(dataset, encoder):
        chosen = model_of_rows(views["time_ms"].to_numpy(), views["split"], blocks)
        for number in np.unique(chosen):
            part = views.filter(pl.Series(chosen == number))
            yield part, encoders[number].predict(part, log, surroundings)


def cross_fitted_rooms(
    encoder: LiveEncoder, frozen: FrozenEncoder, rooms: Rooms, folds: int
) -> npt.NDArray[np.float32]:
    """(T,) scores of the segments of `rooms`, train rooms by refits, one for each of `folds` blocks of room starts.

    :raises ConfigError: folds < 2.
    :raises DataError: the encoder was fitted on another dataset, or there are fewer train rooms than folds.
    """
    blocks = room_blocks_of(rooms, folds)
    chosen = model_of_rows(_begun(rooms), rooms.frame["split"], blocks)
    scores = np.full(len(chosen), np.nan, np.float32)
    for number, one in enumerate([encoder, *_refits(encoder, frozen, rooms.dataset, blocks)]):
        scores[chosen == number] = one.predict(rooms, rooms.dataset)[chosen == number]
    return scores


def time_blocks_of(dataset: DatasetFolder, folds: int) -> list[Withheld]:
    """Train rows cut by time into `folds` blocks of about equal size; rows of one time stay together.

    :raises ConfigError: folds < 2.
    :raises DataError: too few train rows.
    """
    rows = dataset.interactions(["train"]).filter(pl.col("duration_ms") > 0)
    return _blocks(rows.select("time_ms").collect()["time_ms"].to_numpy(), folds, dataset, "rows")


def room_blocks_of(rooms: Rooms, folds: int) -> list[Withheld]:
    """Train rooms cut by their start into `folds` blocks with about as many segments; a room stays whole.

    :raises ConfigError: folds < 2.
    :raises DataError: too few train rooms.
    """
    return _blocks(_begun(rooms)[(rooms.frame["split"] == "train").to_numpy()], folds, rooms.dataset, "rooms")


def _begun(rooms: Rooms) -> npt.NDArray[np.integer]:
    """(T,) start of each segment's room."""
    return rooms.start_ms[rooms.offsets[rooms.room]]


def _blocks(times: npt.NDArray[np.integer], folds: int, dataset: DatasetFolder, noun: str) -> list[Withheld]:
    if folds < 2:
        raise ConfigError(f"--cross-fit needs at least 2 folds (found: {folds})")
    times = np.sort(times)
    edges = times[np.arange(1, folds) * len(times) // folds] if len(times) else times
    if len(times) < folds or len(np.unique([times[0], *edges])) < folds:
        found = len(np.unique(times)) if noun == "rooms" else len(times)
        raise DataError(dataset.path, f"has too few train {noun} for {folds} folds", found=found, fix="use fewer")
    starts = [int(times[0]), *(int(edge) for edge in edges)]
    ends = [*starts[1:], int(times[-1]) + 1]
    return [Withheld(start, end) for start, end in zip(starts, ends, strict=True)]


def _refits(
    encoder: AnyEncoder, frozen: FrozenEncoder, dataset: DatasetFolder, blocks: Sequence[Withheld]
) -> Iterator[AnyEncoder]:
    """One at a time, as they are asked for."""
    if frozen.meta.dataset_fingerprint != dataset.meta.fingerprint:
        raise DataError(
            frozen.folder, "was fitted on another dataset: its train rows cannot be cross-fitted",
            found=frozen.meta.dataset_fingerprint[:12], expected=dataset.meta.fingerprint[:12],
            fix="score without --cross-fit, or fit an encoder on this dataset",
        )  # fmt: skip
    config = encoder.Config.checked(frozen.meta.config)
    for block in blocks:
        with tempfile.TemporaryDirectory(prefix="segrec-cross-fit-") as folder:
            yield encoder.fit(config, dataset, Path(folder), block)[0]


def model_of_rows(
    times: npt.NDArray[np.integer], splits: pl.Series, blocks: Sequence[Withheld]
) -> npt.NDArray[np.integer]:
    """(V,) 0 = the model fitted on all of train, 1 + k = the refit without block k."""
    block = np.searchsorted([block.from_ms for block in blocks], times, side="right")
    return np.where((splits == "train").to_numpy(), block, 0)
