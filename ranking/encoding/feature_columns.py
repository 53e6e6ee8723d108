"""Whether a dataset has the columns of a feature spec, each of a kind that its feature can be made of."""

from __future__ import annotations

import polars as pl

from ranking.encoding.feature_spec import KEY_OF, BagFeature, Feature, FeatureSpec, Side
from ranking.rows.row_context import RowContext
from segrec.records import DataError, DatasetFolder, scan_parquet


def check_columns(dataset: DatasetFolder, spec: FeatureSpec) -> None:
    """:raises DataError: a side table or a column is missing, or holds lists where a feature is one value a row."""
    impressions = dataset.interactions().collect_schema()
    schemas: dict[Side, pl.Schema] = {"impression": impressions}
    for side, key in KEY_OF.items():
        file = dataset.path / f"{side}s.parquet"
        if file.is_file() and key in impressions:
            schemas[side] = scan_parquet([file]).collect_schema()
    added = RowContext.of(dataset).names
    for feature in spec.all:
        if feature.side == "impression" and feature.column in added:
            continue
        if feature.side not in schemas:
            raise DataError(
                dataset.path, f"has no {feature.side}s.parquet, but this run uses {feature.name!r} of it",
                fix="read the source with its side features, or leave them out (features.without)",
            )  # fmt: skip
        if feature.column not in schemas[feature.side]:
            raise DataError(
                dataset.path, f"{_table(feature)} lack column {feature.column!r}, a feature of this run",
                found=", ".join(schemas[feature.side]),
                fix="read the source with it, or leave it out (features.without)",
            )  # fmt: skip
        _check_scalar(dataset, feature, schemas[feature.side][feature.column])
    for coded in spec.coded:
        if coded.unseen == "reject" and coded.coding.ids != "vocabulary":
            raise DataError(
                dataset.path, f"feature {coded.name!r} refuses unseen ids, and its table takes any",
                found=f"ids={coded.coding.ids}", expected="ids=vocabulary", fix="choose one of the two",
            )  # fmt: skip


def _check_scalar(dataset: DatasetFolder, feature: Feature, dtype: pl.DataType) -> None:
    """:raises DataError: an id or a number out of a column of lists."""
    if dtype.is_nested() and not isinstance(feature, BagFeature):
        raise DataError(
            dataset.path, f"feature {feature.name!r} is one value a row, and column {feature.column!r} holds several",
            found=str(dtype), expected="an id or a number",
            fix="leave it out (features.without), or read the source with one value a row",
        )  # fmt: skip


def _table(feature: Feature) -> str:
    return "interactions" if feature.side == "impression" else f"{feature.side}s"
