"""Run + dataset + split -> predictions, by the weights in the run folder."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ranking.rankers import find_ranker
from ranking.training.model import build_ranker
from ranking.training.ranker_data import RankerData
from ranking.training.ranker_fit import WEIGHTS, predicted
from ranking.training.ranker_run import file_hash
from segrec.records import KEY, DataError, DatasetFolder, RunFolder, ScoreTable, Split


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
    run = run if isinstance(run, RunFolder) else RunFolder.open(run, "ranker")
    if run.meta.rows == "segments":
        raise DataError(
            run.path, "was trained on segments, not on impressions", fix="measure it with `segrec evaluate highlight`"
        )
    config = find_ranker(run.meta.name).config.of(run.config)
    table = scores if scores is not None else _own_scores(run)
    if table is not None:
        table.check_usable(dataset, split)
    data = RankerData.load(run.path, config, table)
    stream = data.stream(dataset, [split], config)
    model = build_ranker(run.meta.name, config, data.features, stream.source.dense_names, device="cpu")
    _load_weights(model.module, run.path / WEIGHTS)
    device = config.torch_device()
    found = predicted(model.module.eval().to(device), stream, device)
    seen = data.features.seen
    return found.keys.select(KEY).with_columns(
        pl.Series("label", found.labels.astype("int8")),
        pl.Series("prediction", found.probabilities),
        pl.col("user_id").is_in(seen["user_id"].ids.implode()).alias("user_warm"),
        pl.col("item_id").is_in(seen["item_id"].ids.implode()).alias("item_warm"),
    )


def _own_scores(run: RunFolder) -> ScoreTable | None:
    if run.meta.scores is None:
        return None
    table = ScoreTable.open(run.meta.scores)
    if file_hash(table.path) != run.meta.scores_hash:
        raise DataError(
            table.path, f"has changed since the run {run.path}", found=file_hash(table.path)[:12],
            expected=(run.meta.scores_hash or "")[:12], fix="train again, or pass --scores",
        )  # fmt: skip
    return table


def _load_weights(module: torch.nn.Module, file: Path) -> None:
    try:
        module.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(
            file, "does not hold this ranker's weights", found=" ".join(str(error).split())[:200], fix="train again"
        ) from None
