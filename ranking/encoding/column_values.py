"""Single columns: numbers, days, ids, bags and quantile buckets, each from whatever type the source gave them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.encoding.feature_spec import BagFeature, DenseFeature
from ranking.rows.encoded_rows import Bag
from segrec.tables import MISSING, IdCodes
from segrec.tables.vocabulary import as_ids


def quantile_edges(
    values: npt.NDArray[np.floating], counts: npt.NDArray[np.integer], buckets: int
) -> tuple[float, ...]:
    """Inner edges of quantile buckets of `values` (ascending, distinct) that occur `counts` times.

    A value on an edge belongs below it. Equal edges become one: there may be fewer buckets, none is empty.
    """
    if not len(values):
        return ()
    reached = np.cumsum(counts) / counts.sum()
    places = np.searchsorted(reached, np.arange(1, buckets) / buckets, side="left")
    edges = np.unique(values[np.minimum(places, len(values) - 1)])
    return tuple(float(edge) for edge in edges[edges < values[-1]])


def log_age_expression(day: str, since: str) -> pl.Expr:
    """log(1 + days from column `since` to column `day`), 0 where it lies ahead."""
    return (pl.col(day) - pl.col(since)).clip(lower_bound=0).cast(pl.Float64).log1p()


def log_age(day: pl.Series, since: pl.Series) -> pl.Series:
    """log(1 + days) from `since` to `day`, both days since 1970."""
    return pl.DataFrame({"day": day, "since": since}).select(log_age_expression("day", "since")).to_series()


def transform(values: pl.Expr, feature: DenseFeature) -> pl.Expr:
    """`values` under the feature's transform (log_age_days needs the impression: see `log_age`)."""
    return values.clip(lower_bound=0).log1p() if feature.transform == "log1p" else values


def transformed(values: pl.Series, feature: DenseFeature) -> pl.Series:
    """A column as numbers under the feature's transform; null where missing or NaN."""
    return numbers(values).to_frame("x").select(transform(pl.col("x"), feature)).to_series()


def numbers(values: pl.Series) -> pl.Series:
    """Float64; null where missing or NaN."""
    return values.cast(pl.Float64).fill_nan(None)


def id_values(values: pl.Series) -> pl.Series:
    """Ids as Int64 or String: whole floats (ids with gaps in a CSV file) become integers."""
    return as_ids(values.fill_nan(None).cast(pl.Int64) if values.dtype.is_float() else values)


def days(values: pl.Series) -> pl.Series:
    """Days since 1970 of dates, or of texts that start with one; null where there is none."""
    if values.dtype == pl.String:
        values = values.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    return values.cast(pl.Date).cast(pl.Int32)


def lists_of(values: pl.Series, feature: BagFeature) -> pl.Series:
    """A list column as it is, a text column split."""
    return values if isinstance(values.dtype, pl.List) else values.cast(pl.String).str.split(feature.separator)


def bag_codes(values: pl.Series, feature: BagFeature, vocabulary: IdCodes) -> pl.Series:
    """Lists of codes, Int32; null for an empty bag."""
    exploded = lists_of(values, feature).rename("id").to_frame().with_row_index("row").explode("id", empty_as_null=True)
    codes = pl.Series("code", vocabulary.encode(id_values(exploded["id"])).astype(np.int32))
    grouped = exploded.select("row").with_columns(codes).filter(pl.col("code") != MISSING)
    lists = grouped.group_by("row", maintain_order=True).agg("code")
    return values.to_frame("id").with_row_index("row").join(lists, on="row", how="left", maintain_order="left")["code"]


def flat_bags(lists: pl.Series) -> Bag:
    """Codes of all bags one after another and offsets (n + 1,); an empty bag holds the missing code."""
    filled = lists.fill_null(pl.Series([[MISSING]], dtype=pl.List(pl.Int32)).first())
    lengths = filled.list.len().to_numpy().astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return filled.explode().to_numpy().astype(np.int32), offsets
