"""Protocol `kuailive_m3`: the highlight benchmark of KuaiLive-M3, one step ahead, its own labels, split and metrics.

Each metric is computed per room on its positions, then averaged plainly; a room where it is undefined is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from segrec.encoders.live_priors import LAST_VALUE, MINUS_POSITION, ROOM_MEAN
from segrec.highlight_evaluation.answers import Answer, score_file, scores_of
from segrec.highlight_evaluation.runs import Asked
from segrec.highlight_evaluation.sums import Measured, Ratio
from segrec.highlight_evaluation.tables import Entry, highlight_rows
from segrec.highlight_evaluation.task import FloatArray, known_split
from segrec.metrics.average_precision import average_precision, f1_of_better_half
from segrec.metrics.kendall import kendall_tau
from segrec.metrics.kendall_pairs import kendall_of_differences
from segrec.metrics.rank_correlation import spearman
from segrec.records import DataError, DatasetFolder, MetricRow
from segrec.segments.m3_highlight import M3Positions, M3Rooms
from segrec.segments.rooms import IntArray, Rooms

PROTOCOL = "kuailive_m3"
CHANCE = "chance"
"The same score everywhere: what ranking blindly gets."
PAIR_DELTAS = (0.2, 0.4)


def m3_table(dataset: DatasetFolder, runs: Sequence[str], *, split: str = "test", seed: int = 0) -> list[MetricRow]:
    """Metric rows of runs (RUN or NAME=FILE.parquet) on the benchmark's rooms of `split`.

    :raises ConfigError: an unknown split.
    :raises DataError: a run or file that does not fit, or was trained on rooms as new as the measured ones.
    """
    asked = known_split(split)
    opened = [Asked.open(run, dataset, asked) for run in runs]
    positions = M3Rooms.of(dataset).positions(asked)
    if len(positions.offsets) < 2:
        raise DataError(dataset.path, f"has no {asked} room of the benchmark", fix="read a longer log")
    answers = [*m3_simple_answers(positions), *(_answer(one, positions, dataset) for one in opened)]
    entries = [Entry(one.model, one.seed, one.challenger, m3_measures(one.scores, positions)) for one in answers]
    rooms = np.ones(len(positions.offsets) - 1, dtype=bool)
    return highlight_rows(entries, rooms, split=asked, cohort="all", seed=seed)


def m3_measures(scores: FloatArray, positions: M3Positions) -> Measured:
    """mAP, F1@50%, spearman, tau_room (their Kendall d0.0) and kendall_pairs@0.2, @0.4 of scores (P,)."""
    binary, score, offsets = positions.binary, positions.score, positions.offsets
    found = {
        "mAP": average_precision(binary, scores, offsets),
        "F1@50%": f1_of_better_half(binary, scores, offsets),
        "spearman": spearman(scores, score, offsets),
        "tau_room": kendall_tau(scores, score, offsets),
    }
    for delta in PAIR_DELTAS:
        found[f"kendall_pairs@{delta:g}"] = kendall_of_differences(scores, score, offsets, delta)
    return {(PROTOCOL, name): _mean_over_rooms(values, offsets) for name, values in found.items()}


def m3_simple_answers(positions: M3Positions) -> Iterator[Answer]:
    """minus_position, the score of segment t itself, its mean over the room so far, and chance.

    The latter two know the whole room's minimum and maximum, as the benchmark's labels do.
    """
    rooms, rows = positions.rooms, positions.rows
    running = np.append(0.0, rooms.score.cumsum())
    first = rooms.offsets[rooms.room[rows]]
    mean = (running[rows + 1] - running[first]) / (rows + 1 - first)
    for name, scores in (
        (MINUS_POSITION, -rooms.place[rows]),
        (LAST_VALUE, rooms.score[rows]),
        (ROOM_MEAN, mean),
        (CHANCE, np.zeros(len(rows))),
    ):
        yield Answer(name, scores.astype(np.float64), is_rate=False)


def _mean_over_rooms(values: Tensor, offsets: IntArray) -> Ratio:
    per_room = values.numpy()
    there = ~np.isnan(per_room)
    return Ratio(np.where(there, per_room, 0.0), there.astype(np.float64), int(np.diff(offsets)[there].sum()))


def _answer(asked: Asked, positions: M3Positions, dataset: DatasetFolder) -> Answer:
    _check_trained_before(asked, positions)
    if asked.file is not None:
        scores = scores_of(score_file(asked.file), positions.keys, asked.file)
    else:
        assert asked.encoder is not None
        rooms = Rooms.of(dataset)
        predicted = rooms.frame.select("item_id", "segment").with_columns(score=asked.encoder.predict(rooms, dataset))
        scores = scores_of(predicted, positions.keys, asked.where)
    return Answer(asked.model, scores, is_rate=False, seed=asked.seed, challenger=True)


def _check_trained_before(asked: Asked, positions: M3Positions) -> None:
    first = int(positions.rooms.frame["start_ms"].to_numpy()[positions.rows].min())
    if asked.trained_until_ms is not None and asked.trained_until_ms >= first:
        raise DataError(
            asked.where, "was trained on rooms as new as the measured ones of this protocol's own split",
            found=f"until {asked.trained_until_ms}, first measured segment at {first}",
            fix="fit an encoder of the benchmark (highlight_*), or read the dataset with an earlier --valid-from",
        )  # fmt: skip
