"""Who answers in a highlight table: simple predictors, a made world's oracle, fitted encoders, files of scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from segrec.encoders.live_priors import MINUS_POSITION, LivePriors
from segrec.highlight_evaluation.task import FloatArray, HighlightTask
from segrec.records import DataError
from segrec.segments.rooms import Rooms

ORACLE, ORACLE_RATE = "oracle", "oracle_rate"
SEGMENT_KEY = ("item_id", "segment")
TRUTH_KEY = ("item_id", "end_ms")


@dataclass(frozen=True)
class Answer:
    """What one model says about the tested segments."""

    model: str
    scores: FloatArray
    "(N,)"
    is_rate: bool
    "True: a score is a predicted rate, so that calibration is measured."
    seed: int | None = None
    challenger: bool = False
    "True: compared with the simple predictors."


def simple_answers(task: HighlightTask) -> Iterator[Answer]:
    """The simple predictors, which stand in every table."""
    priors = LivePriors.fit(task.everything, task.rate, task.shift)
    for name, predicted in priors.predictions().items():
        yield Answer(name, task.tested_rows(predicted), is_rate=name != MINUS_POSITION)


def oracle_answers(task: HighlightTask) -> Iterator[Answer]:
    """A made world's truth; nothing for real data.

    oracle: what is expected of the target by one who knows this segment's true state. oracle_rate (shift 1): the true
    rate of the target itself, which nobody can know before it begins.

    :raises DataError: the truth lacks this rate, or a measured segment.
    """
    truth = task.dataset.segment_truth()
    if truth is None:
        return
    column = f"{task.rate}_next" if task.shift else task.rate
    yield Answer(ORACLE, _true(task, truth, column), is_rate=True)
    if task.shift:
        own = _true(task, truth, task.rate, everywhere=True)
        yield Answer(ORACLE_RATE, _of_next(own, task.tested), is_rate=True)


def _true(task: HighlightTask, truth: pl.DataFrame, column: str, *, everywhere: bool = False) -> FloatArray:
    where = task.dataset.path / "truth_segments.parquet"
    if column not in truth.columns:
        raise DataError(where, f"column {column!r} is missing", found=", ".join(truth.columns), fix="read again")
    keys = task.tested.frame.select(TRUTH_KEY)
    known = truth.select(*(pl.col(key).cast(keys.schema[key]) for key in TRUTH_KEY), pl.col(column).cast(float))
    joined = keys.join(known, on=list(TRUTH_KEY), how="left", maintain_order="left", validate="m:1")
    found: FloatArray = joined[column].fill_null(float("nan")).to_numpy()
    missing = int((np.isnan(found) & (everywhere | task.counted)).sum())
    if missing:
        raise DataError(
            where, f"knows no {column} of some segments", found=f"{missing:,} of {len(found):,} missing",
            fix="read the made world again",
        )  # fmt: skip
    return np.nan_to_num(found)


def _of_next(values: FloatArray, rooms: Rooms) -> FloatArray:
    """Each value of the next segment of the run, the last one's own."""
    moved = np.append(values[1:], values[-1:])
    last = rooms.run_offsets[1:] - 1
    moved[last] = values[last]
    return moved


def score_file(path: Path) -> pl.DataFrame:
    """item_id, segment, score of somebody's Parquet file (a live score table, predictions.parquet of a ranker run).

    :raises DataError: not Parquet, or a column is missing.
    """
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            path, "cannot be read as Parquet", found=str(error).splitlines()[0],
            expected="columns item_id, segment, score",
        ) from None  # fmt: skip
    missing = [name for name in (*SEGMENT_KEY, "score") if name not in frame.columns]
    if missing:
        raise DataError(
            path, f"column {missing[0]!r} is missing", found=", ".join(frame.columns),
            expected="item_id, segment, score", fix="rename its columns",
        )  # fmt: skip
    return frame.select(*SEGMENT_KEY, "score")


def scores_of(frame: pl.DataFrame, keys: pl.DataFrame, path: Path) -> FloatArray:
    """(N,) scores of the segments `keys` (item_id, segment), from a frame of item_id, segment, score.

    :raises DataError: a segment without a score, twice in the file, or with one that is no finite number.
    """
    try:
        given = frame.select(
            pl.col("item_id").cast(keys.schema["item_id"]), pl.col("segment").cast(keys.schema["segment"]),
            pl.col("score").cast(float),
        )  # fmt: skip
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise DataError(path, "has columns of other types than the dataset", found=reason) from None
    twice = given.height - given.select(SEGMENT_KEY).n_unique()
    if twice:
        raise DataError(path, "has segments more than once", found=f"{twice:,} rows too many", fix="keep one row each")
    joined = keys.join(given, on=list(SEGMENT_KEY), how="left", maintain_order="left")
    scores: FloatArray = joined["score"].fill_null(float("nan")).to_numpy()
    bad = int((~np.isfinite(scores)).sum())
    if bad:
        first = keys.row(int(np.argmin(np.isfinite(scores))))
        raise DataError(
            path, "lacks finite scores of tested segments", found=f"{bad:,} of {len(scores):,} missing",
            expected=f"a score of each, e.g. of (item_id, segment) = {first}", fix="score all segments of the split",
        )  # fmt: skip
    return scores
