"""Out-of-fold scores: each block of train rows is scored by an encoder that never saw that block."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from segrec.encoders.encoder import SkipEncoder, Withheld
from segrec.encoders.encoder_runs import thaw_skip
from segrec.encoders.prediction import SkipPrediction
from segrec.freezing import FrozenEncoder
from segrec.records import ConfigError, DataError, DatasetFolder
from segrec.scoring.batch import chunks_with_past


def cross_fitted_chunks(
    frozen: FrozenEncoder, dataset: DatasetFolder, folds: int
) -> Iterator[tuple[pl.DataFrame, SkipPrediction]]:
    """As `scored_chunks`, train rows by refits with the run's config, one for each of `folds` blocks of time.

    A refit sees nothing of its block: neither as rows to learn nor as anybody's past. As the past of later rows the
    block counts when they are scored, as it would in use.

    :raises ConfigError: folds < 2.
    :raises DataError: the encoder was fitted on another dataset, or there are fewer train rows than folds.
    """
    blocks = time_blocks_of(dataset, folds)
    if frozen.meta.dataset_fingerprint != dataset.meta.fingerprint:
        raise DataError(
            frozen.folder, "was fitted on another dataset: its train rows cannot be cross-fitted",
            found=frozen.meta.dataset_fingerprint[:12], expected=dataset.meta.fingerprint[:12],
            fix="score without --cross-fit, or fit an encoder on this dataset",
        )  # fmt: skip
    encoders = [thaw_skip(frozen), *_refits(frozen, dataset, blocks)]
    surroundings = encoders[0].surroundings(dataset)
    for views, log in chunks_with_past(dataset, encoders[0]):
        chosen = _encoder_of(views, blocks)
        for number in np.unique(chosen):
            part = views.filter(pl.Series(chosen == number))
            yield part, encoders[number].predict(part, log, surroundings)


def time_blocks_of(dataset: DatasetFolder, folds: int) -> list[Withheld]:
    """Train rows cut by time into `folds` blocks of about equal size; rows of one time stay together.

    :raises ConfigError: folds < 2.
    :raises DataError: too few train rows.
    """
    if folds < 2:
        raise ConfigError(f"--cross-fit needs at least 2 folds (found: {folds})")
    rows = dataset.interactions(["train"]).filter(pl.col("duration_ms") > 0)
    times = np.sort(rows.select("time_ms").collect()["time_ms"].to_numpy())
    edges = times[np.arange(1, folds) * len(times) // folds] if len(times) else times
    if len(times) < folds or len(np.unique([times[0], *edges])) < folds:
        raise DataError(dataset.path, f"has too few train rows for {folds} folds", found=len(times), fix="use fewer")
    starts = [int(times[0]), *(int(edge) for edge in edges)]
    ends = [*starts[1:], int(times[-1]) + 1]
    return [Withheld(start, end) for start, end in zip(starts, ends, strict=True)]


def _refits(frozen: FrozenEncoder, dataset: DatasetFolder, blocks: Sequence[Withheld]) -> list[SkipEncoder]:
    kind = type(thaw_skip(frozen))
    config = kind.Config.checked(frozen.meta.config)
    refits: list[SkipEncoder] = []
    for block in blocks:
        with tempfile.TemporaryDirectory(prefix="segrec-cross-fit-") as folder:
            refits.append(kind.fit(config, dataset, Path(folder), block)[0])
    return refits


def _encoder_of(views: pl.DataFrame, blocks: Sequence[Withheld]) -> np.ndarray:
    """(V,) 0 = the full encoder, 1 + k = the refit without block k."""
    starts = np.array([block.from_ms for block in blocks])
    block = np.searchsorted(starts, views["time_ms"].to_numpy(), side="right")
    return np.where((views["split"] == "train").to_numpy(), block, 0)
