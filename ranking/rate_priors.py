"""What a label's rate alone predicts: by video length, by item, by user; the plain baselines of a CTR table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.labels import Label
from segrec.records import DatasetFolder, segment_count

STRENGTH = 20.0
"An id's rate is shrunk to the overall rate as if so many average rows came on top."
LENGTH = "length"
PRIORS = {LENGTH: "n_segments", "item_shrunk": "item_id", "user_shrunk": "user_id"}
"Names in metric rows, and the column whose rate each predicts."


def prior_probabilities(dataset: DatasetFolder, label: Label, rows: pl.DataFrame) -> dict[str, npt.NDArray[np.float64]]:
    """Probabilities (n,) of each of `PRIORS` for `rows` (user_id, item_id, duration_ms): train's shrunk rates,

    (positives + STRENGTH * rate) / (impressions + STRENGTH) of the same length in segments, item or user.
    """
    length = segment_count(dataset.meta.segment_ms).alias(PRIORS[LENGTH])
    columns = list(dict.fromkeys(["user_id", "item_id", "duration_ms", *label.columns]))
    train = dataset.interactions(["train"]).select(columns).collect(engine="streaming")
    seen = train.select("user_id", "item_id", length, label=pl.Series(label.values(train).astype(np.float64)))
    asked = rows.select("user_id", "item_id", length)
    found = {}
    for name, column in PRIORS.items():
        rates = seen.group_by(column).agg(rate=(pl.col("label").sum() + STRENGTH * label.rate) / (pl.len() + STRENGTH))
        joined = asked.join(rates, on=column, how="left", maintain_order="left")
        found[name] = joined["rate"].fill_null(label.rate).to_numpy().astype(np.float64)
    return found
