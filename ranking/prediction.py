"""Run + dataset + split -> predictions, by the weights in the run folder."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ranking.opened_run import OpenedRun
from ranking.training.shared_prediction import predicted
from segrec.records import KEY, DatasetFolder, RunFolder, ScoreTable, Split
from segrec.tables import join_processes


def predict(
    run: RunFolder | Path | str, dataset: DatasetFolder, split: Split = "test", *, scores: ScoreTable | None = None
) -> pl.DataFrame:
    """One row an impression of `split` that has the run's label, oldest day first.

    Columns: user_id, item_id, time_ms, label (0 / 1), prediction (probability), user_warm, item_warm (whether train
    of the run had that user, that item).

    :param scores: another score table than the run's own: a placebo, or the scores of another dataset.
    :raises DataError: not a ranker's run, features that the dataset lacks, a score table that is missing, has
        changed since the run, or was fitted on these rows.
    """
    opened = OpenedRun.of(run, scores)
    stream, device = opened.stream(dataset, [split]), opened.config.torch_device()
    join_processes(device)
    found = predicted(opened.model(stream.source.dense_names).module.to(device), stream, device)
    seen = opened.data.features.seen
    return (
        stream.keys()
        .select(KEY)
        .with_columns(
            pl.Series("label", found.labels.astype("int8")),
            pl.Series("prediction", found.probabilities),
            pl.col("user_id").is_in(seen["user_id"].ids.implode()).alias("user_warm"),
            pl.col("item_id").is_in(seen["item_id"].ids.implode()).alias("item_warm"),
        )
    )
