"""The ids of a feature as the log has them, with how many rows of a split hold each."""

from __future__ import annotations

import polars as pl

from ranking.encoding.column_values import id_values, lists_of
from ranking.encoding.feature_spec import KEY_OF, BagFeature, IdFeature
from ranking.rows.row_context import RowContext
from segrec.records import DatasetFolder, Split


def raw_ids(
    dataset: DatasetFolder, feature: IdFeature | BagFeature, split: Split, wanted: pl.Expr | None = None
) -> pl.DataFrame:
    """id, rows: each id of the column in `split` but missing ones; of bags, each id of each row counts.

    :param wanted: the rows that count; None = all.
    """
    context = RowContext.of(dataset)
    key = feature.column if feature.side == "impression" else KEY_OF[feature.side]
    rows = dataset.interactions([split]) if wanted is None else dataset.interactions([split]).filter(wanted)
    counted = context.added(rows, [key]).group_by(key).agg(pl.len().alias("rows")).collect(engine="streaming")
    if feature.side != "impression":
        side = dataset.users() if feature.side == "user" else dataset.items()
        assert side is not None, "encoding needs the side table"
        counted = counted.join(side.select(key, pl.col(feature.column).alias("value")), on=key)
    else:
        counted = counted.rename({key: "value"})
    if isinstance(feature, BagFeature):
        counted = counted.with_columns(lists_of(counted["value"], feature).alias("value")).explode("value")
    ids = id_values(counted["value"]).alias("id")
    return pl.DataFrame([ids, counted["rows"]]).drop_nulls().group_by("id").agg(pl.col("rows").sum()).sort("id")
