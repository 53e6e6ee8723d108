"""What a label's rate alone predicts: by video length or room age, by item, by user; the plain baselines of a table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.features import durations_known
from ranking.rows.row_context import ROOM_AGE, RowContext
from ranking.targets.labels import SingleLabel
from segrec.records import KEY, DatasetFolder, segment_count

STRENGTH = 20.0
"An id's rate is shrunk to the overall rate as if so many average rows came on top."
LENGTH, AGE = "length", "room_age"

_MINUTE_MS = 60_000


def position_prior(dataset: DatasetFolder) -> str:
    """The plainest prior, which an oracle's lift is counted from: by length, in live rooms by age."""
    return LENGTH if durations_known(dataset) else AGE


def prior_probabilities(
    dataset: DatasetFolder, label: SingleLabel, rows: pl.DataFrame
) -> dict[str, npt.NDArray[np.float64]]:
    """Predictions (n,) of each prior for `rows` (those of an `Outcomes`): train's shrunk means of the label,

    (its sum + STRENGTH * its mean) / (impressions + STRENGTH) of the same length in segments, item or user. Where items
    are live rooms, which have no length and are seldom seen in train: of the same age (floor(log2(1 + minutes))),
    streamer, room or user.
    """
    columns = list(dict.fromkeys([*KEY, "author_id", "duration_ms", *label.columns]))
    known = dataset.interactions(["train"]).filter(label.known()).select(columns).collect(engine="streaming")
    labels = pl.Series("label", label.values(known).astype(np.float64))
    seen, asked = _keyed(dataset, known).with_columns(labels), _keyed(dataset, rows)
    return {name: _rate_of(name, seen, asked, label.mean) for name in asked.columns}


def _rate_of(name: str, seen: pl.DataFrame, asked: pl.DataFrame, mean: float) -> npt.NDArray[np.float64]:
    rates = seen.group_by(name).agg(rate=(pl.col("label").sum() + STRENGTH * mean) / (pl.len() + STRENGTH))
    joined = asked.select(name).join(rates, on=name, how="left", maintain_order="left")
    return joined["rate"].fill_null(mean).to_numpy().astype(np.float64)


def _keyed(dataset: DatasetFolder, rows: pl.DataFrame) -> pl.DataFrame:
    """One column a prior, named as in metric rows: what its rate is taken by."""
    of_item = pl.col("item_id").alias("item_shrunk"), pl.col("user_id").alias("user_shrunk")
    if durations_known(dataset):
        return rows.select(segment_count(dataset.meta.segment_ms).alias(LENGTH), *of_item)
    aged = RowContext.of(dataset).added(rows.lazy()).collect()
    age = (pl.col(ROOM_AGE) / _MINUTE_MS).log1p() / np.log(2) if ROOM_AGE in aged.columns else pl.lit(0.0)
    return aged.select(age.floor().cast(pl.Int32).alias(AGE), pl.col("author_id").alias("author_shrunk"), *of_item)
