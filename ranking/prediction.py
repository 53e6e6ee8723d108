"""Run + dataset + split -> predictions, by the weights in the run folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.opened_run import OpenedRun
from ranking.targets.labels import AnyLabel, EffectiveViewLabel, FlagLabel, JointLabel, SingleLabel
from ranking.training.shared_prediction import Predicted, predicted
from segrec.records import KEY, DatasetFolder, RunFolder, ScoreTable, Split
from segrec.tables import join_processes


def predict(
    run: RunFolder | Path | str, dataset: DatasetFolder, split: Split = "test", *, scores: ScoreTable | None = None
) -> pl.DataFrame:
    """One row an impression of `split` that has the run's label (or one of its labels), oldest day first.

    Columns: user_id, item_id, time_ms, label, prediction (see `answer_columns`), user_warm, item_warm (whether train
    of the run had that user, that item).

    :param scores: another score table than the run's own: a placebo, or the scores of another dataset.
    :raises DataError: not a ranker's run, features that the dataset lacks, a score table that is missing, has
        changed since the run, or was fitted on these rows.
    """
    opened = OpenedRun.of(run, scores)
    stream, device = opened.stream(dataset, [split]), opened.config.torch_device()
    join_processes(device)
    found = predicted(opened.model().module.to(device), stream, device, sharded=False)
    seen = opened.data.features.seen
    return (
        stream.keys()
        .select(KEY)
        .with_columns(
            *answer_columns(opened.data.label, found),
            pl.col("user_id").is_in(seen["user_id"].ids.implode()).alias("user_warm"),
            pl.col("item_id").is_in(seen["item_id"].ids.implode()).alias("item_warm"),
        )
    )


def answer_columns(label: AnyLabel, found: Predicted) -> list[pl.Series]:
    """label and prediction; of several labels label_NAME and prediction_NAME for each, null where a row lacks it.

    A label is 0 or 1 and its prediction a probability; a watch time is in seconds, a watch share in [0, 1], and their
    predictions are expectations.
    """
    if not isinstance(label, JointLabel):
        return _answers_of(label, found.logits, found.labels, "")
    return [
        column
        for place, task in enumerate(label.tasks)
        for column in _answers_of(task, found.logits[:, place], found.labels[:, place], f"_{task.name}")
    ]


def binary_answers(
    found: pl.DataFrame, label: str
) -> Iterator[tuple[str, npt.NDArray[np.int8], npt.NDArray[np.float64]]]:
    """(name, labels, probabilities) of each label of `predict`'s columns that is 0 or 1, over the rows that have it.

    :param label: the name where there is one label only.
    """
    for column in found.columns:
        if column.startswith("label") and found.schema[column] == pl.Int8:
            known = found.drop_nulls(column)
            name = column.removeprefix("label").removeprefix("_")
            probabilities = known[column.replace("label", "prediction", 1)]
            yield name or label, known[column].to_numpy(), probabilities.to_numpy()


def _answers_of(
    label: SingleLabel, logits: npt.NDArray[np.float64], labels: npt.NDArray[np.float32], ending: str
) -> list[pl.Series]:
    kind = pl.Int8 if isinstance(label, FlagLabel | EffectiveViewLabel) else pl.Float32
    known = pl.Series(f"label{ending}", labels).fill_nan(None).cast(kind)
    return [known, pl.Series(f"prediction{ending}", label.answers(np.ascontiguousarray(logits)))]
