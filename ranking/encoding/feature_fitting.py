"""What encoding needs to know of the train rows: vocabularies, bucket edges and scaling of single features."""

from __future__ import annotations

import numpy as np
import polars as pl

from ranking.encoding.column_values import (
    days,
    id_values,
    lists_of,
    log_age_expression,
    numbers,
    quantile_edges,
    transform,
    transformed,
)
from ranking.encoding.feature_spec import KEY_OF, BagFeature, DenseFeature, IdFeature, Side
from ranking.rows.row_context import RowContext
from segrec.records import DatasetFolder
from segrec.tables import Vocabulary

Sides = dict[str, pl.DataFrame]
"Rows of users and items, by side."

_AGE = "age"


def train_sides(dataset: DatasetFolder, seen: dict[str, Vocabulary]) -> Sides:
    """Side rows of the users and items that train shows."""
    frames = {"user": dataset.users(), "item": dataset.items()}
    return {
        side: frame.filter(pl.col(KEY_OF[side]).is_in(seen[KEY_OF[side]].ids.implode()))  # type: ignore[index]
        for side, frame in frames.items()
        if frame is not None
    }


def train_vocabulary(context: RowContext, column: str) -> Vocabulary:
    """All ids of an impression column in train, with how often each occurs."""
    return vocabulary_of(context.rows(["train"], [column]), column)


def vocabulary_of(rows: pl.LazyFrame, column: str) -> Vocabulary:
    """All ids of `column`, with how often each occurs."""
    counted = rows.group_by(column).agg(pl.len().alias("count")).collect(engine="streaming").drop_nulls()
    ids = id_values(counted[column]).rename("id")
    kept = pl.DataFrame({"id": ids, "count": counted["count"].cast(pl.UInt32)}).drop_nulls().sort("id")
    return Vocabulary(kept["id"], kept["count"])


def frequent(vocabulary: Vocabulary, min_count: int) -> Vocabulary:
    """The ids that occur at least `min_count` times."""
    kept = vocabulary.counts >= min_count
    return Vocabulary(vocabulary.ids.filter(kept), vocabulary.counts.filter(kept))


def _rows(context: RowContext, sides: Sides, side: Side, column: str) -> pl.LazyFrame:
    return context.rows(["train"], [column]) if side == "impression" else sides[side].lazy()


def fit_vocabulary(context: RowContext, sides: Sides, feature: IdFeature | BagFeature) -> Vocabulary:
    """The vocabulary of a side feature or of a bag."""
    rows = _rows(context, sides, feature.side, feature.column)
    values = rows.select(feature.column).collect(engine="streaming").to_series()
    if isinstance(feature, BagFeature):
        values = lists_of(values, feature).explode(empty_as_null=True)
    return Vocabulary.fit(id_values(values), feature.min_count)


def fit_edges(context: RowContext, sides: Sides, feature: IdFeature) -> tuple[float, ...]:
    """Inner edges of the feature's quantile buckets."""
    assert feature.buckets is not None
    rows = _rows(context, sides, feature.side, feature.column)
    counted = rows.group_by(feature.column).agg(pl.len().alias("count")).collect(engine="streaming")
    counted = counted.with_columns(numbers(counted[feature.column])).drop_nulls().sort(feature.column)
    return quantile_edges(counted[feature.column].to_numpy(), counted["count"].to_numpy(), feature.buckets)


def fit_scaling(context: RowContext, sides: Sides, feature: DenseFeature) -> tuple[float, float]:
    """Mean and deviation of the feature after its transform; deviation 1 where there is no spread."""
    if feature.transform == "log_age_days":
        values = _train_ages(context, sides, feature)
        moments = values.select(_AGE).select(mean=pl.col(_AGE).mean(), std=pl.col(_AGE).std())
    elif feature.side == "impression":
        expression = transform(pl.col(feature.column).cast(pl.Float64).fill_nan(None), feature)
        rows = context.rows(["train"], [feature.column])
        moments = rows.select(mean=expression.mean(), std=expression.std())
    else:
        series = transformed(sides[feature.side][feature.column], feature)
        moments = pl.LazyFrame({"mean": [series.mean()], "std": [series.std()]})
    mean, deviation = moments.collect(engine="streaming").row(0)
    mean = 0.0 if mean is None else float(mean)
    return mean, float(deviation) if deviation and np.isfinite(deviation) and deviation > 1e-12 else 1.0


def _train_ages(context: RowContext, sides: Sides, feature: DenseFeature) -> pl.LazyFrame:
    key = KEY_OF[feature.side]
    side = sides[feature.side]
    dates = pl.DataFrame({key: side[key], "since": days(side[feature.column])})
    rows = context.rows(["train"], [key, "day"])
    return rows.join(dates.lazy(), on=key, how="left").select(log_age_expression("day", "since").alias(_AGE))
