"""From a dataset to the feature spec: which of its columns a ranker sees, and as what."""

from __future__ import annotations

import re
from collections.abc import Callable

import polars as pl
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from ranking.encoding.feature_columns import check_columns
from ranking.encoding.feature_spec import (
    BagFeature,
    DenseFeature,
    Feature,
    FeatureSpec,
    HistoryConfig,
    IdFeature,
    Missing,
    Side,
    Transform,
    Unseen,
)
from ranking.encoding.history_features import sequence_features
from ranking.rows.row_context import ROOM_AGE, RowContext
from segrec.records import Config, DataError, DatasetFolder
from segrec.records.interactions import ID_COLUMNS, REQUIRED

_MONTH_AVERAGE = re.compile(
    r"^month_average_|^(show|play|valid_play|long_time_play|short_time_play|complete_play)_(cnt|user_num)$"
)
"Averages over a whole month, the future included, by the names that the reader or the publisher gives them."
ROOM_TIMES = ("start_ms", "end_ms", "duration_ms", "split")
"Of items that are live rooms: the age at the impression is a feature, the room's end and length are the future."
_NEITHER = ("time_ms", "duration_ms", "split", "is_random", "segment")
"Columns that are neither features nor outcomes."
_ISO_DATE = r"^\d{4}-\d{2}-\d{2}"
_SKEWED_AT = 30.0
"A column of counts whose largest value is so many times its median is taken as log(1 + x)."


class FeatureConfig(Config):
    """How the spec is made from a dataset. The defaults take every column known before the impression."""

    only: tuple[str, ...] | None = None
    "Features to use, by name; null = all."
    without: tuple[str, ...] = ()
    "Features to leave out."
    allow_leaks: tuple[str, ...] = ()
    "Columns that tell the outcome or the future (same-row feedback, month averages), asked for by name."
    min_count: PositiveInt = 1
    "Of user, item, author and side ids with many values."
    max_categories: PositiveInt = 500
    "Whole-number columns with at most so many different values are ids, else dense."
    duration_buckets: PositiveInt = 20
    "Of the video's duration, or of the live room's age."
    dense_buckets: NonNegativeInt | None = None
    "Dense columns are ids of so many quantile buckets too (NAME_bucket); 0 = not; null = as the ranker needs it."
    label_rates: bool = True
    "Positive rates and row counts of ids with many values in earlier train rows, as dense features."
    rate_strength: PositiveFloat = 10.0
    "How many rows at the base rate are mixed into an id's rate."
    history: HistoryConfig = HistoryConfig()
    missing: dict[str, Missing] = {}
    "Policy of single features; the others impute."
    unseen: dict[str, Unseen] = {}
    "Policy of ids that train did not hold (or too rarely: min_count), by feature; the others share a row."


def build_spec(dataset: DatasetFolder, config: FeatureConfig) -> FeatureSpec:
    """The features of `dataset` under `config`.

    :raises DataError: a feature is unknown, tells the outcome or the future, cannot be a history, or nothing is left.
    """
    known = _impression_features(dataset, config) + _side_features(dataset, config)
    known = _with_leaks(dataset, known, config)
    _check_known(dataset, [feature.name for feature in known], config)
    kept = [
        feature.model_copy(update=_policies(dataset, feature, config))
        for feature in known
        if feature.name not in config.without and (config.only is None or feature.name in config.only)
    ]
    if not any(isinstance(feature, IdFeature) for feature in kept):
        raise DataError(dataset.path, "no id feature is left", fix="keep at least one in features.only / without")
    ids = (*(feature for feature in kept if isinstance(feature, IdFeature)), *_bucketed(kept, config.dense_buckets))
    others = [feature for feature in kept if not isinstance(feature, IdFeature)]
    spec = FeatureSpec(
        ids=ids,
        bags=tuple(feature for feature in others if isinstance(feature, BagFeature)),
        dense=tuple(feature for feature in others if isinstance(feature, DenseFeature)),
        sequences=sequence_features(dataset, config.history, ids, others),
        history=config.history,
    )
    check_columns(dataset, spec)
    return spec


def _policies(dataset: DatasetFolder, feature: Feature, config: FeatureConfig) -> dict[str, str]:
    """Fields of the feature that the config sets."""
    policies: dict[str, str] = {"missing": config.missing.get(feature.name, feature.missing)}
    if feature.name in config.unseen:
        if isinstance(feature, DenseFeature) or (isinstance(feature, IdFeature) and feature.buckets):
            raise DataError(
                dataset.path, f"features.unseen names {feature.name!r}, a number: every value of it has a place",
                fix="name an id or a bag",
            )  # fmt: skip
        policies["unseen"] = config.unseen[feature.name]
    return policies


def _bucketed(kept: list[Feature], buckets: int | None) -> list[IdFeature]:
    """Dense columns as ids, but for dates and what is cut into buckets already."""
    cut = {feature.column for feature in kept if isinstance(feature, IdFeature)}
    return [
        IdFeature(name=f"{feature.name}_bucket", column=feature.column, side=feature.side, buckets=buckets)
        for feature in kept
        if isinstance(feature, DenseFeature) and feature.transform != "log_age_days" and feature.column not in cut
        if buckets
    ]


def durations_known(dataset: DatasetFolder) -> bool:
    """Whether items have a duration: live rooms have none while they run."""
    rows = dataset.interactions()
    if "duration_ms" not in rows.collect_schema():
        return False
    return bool(rows.select(pl.col("duration_ms").is_not_null().any()).collect(engine="streaming").item())


def _impression_features(dataset: DatasetFolder, config: FeatureConfig) -> list[Feature]:
    schema = dataset.interactions().collect_schema()
    found: list[Feature] = [
        IdFeature(name=name, column=name, min_count=config.min_count) for name in ID_COLUMNS if name in schema
    ]
    found.append(IdFeature(name="hour", column="hour"))
    if durations_known(dataset):
        found.append(IdFeature(name="duration", column="duration_ms", buckets=config.duration_buckets))
        found.append(DenseFeature(name="log_duration", column="duration_ms", transform="log1p", missing="reject"))
    if ROOM_AGE in RowContext.of(dataset).names:
        found.append(IdFeature(name="room_age", column=ROOM_AGE, buckets=config.duration_buckets))
        found.append(DenseFeature(name="log_room_age", column=ROOM_AGE, transform="log1p"))
    train = dataset.interactions(["train"])
    for column in dataset.meta.context:
        if column in schema and column not in ("hour", *ID_COLUMNS, *REQUIRED):
            values = train.select(pl.col(column).unique()).collect(engine="streaming").to_series()
            found.extend(_feature_of(values, "impression", config))
    return found


def _side_features(dataset: DatasetFolder, config: FeatureConfig) -> list[Feature]:
    found: list[Feature] = []
    taken = {*dataset.interactions().collect_schema().names(), *ROOM_TIMES}
    sides: tuple[tuple[Side, Callable[[], pl.DataFrame | None], list[str]], ...] = (
        ("user", dataset.users, dataset.meta.user_features),
        ("item", dataset.items, dataset.meta.item_features),
    )
    for side, read, names in sides:
        frame = read()
        if frame is None:
            continue
        for column in names:
            if column in frame.columns and column not in taken and not _MONTH_AVERAGE.search(column):
                found.extend(_feature_of(frame[column], side, config))
        taken |= set(names)
    return found


def _feature_of(values: pl.Series, side: Side, config: FeatureConfig) -> list[Feature]:
    """The feature that a column makes by its type and values; none where it has a single value."""
    name, distinct = values.name, values.drop_nulls().n_unique() if not values.dtype.is_nested() else 2
    if distinct + (values.null_count() > 0) < 2:
        return []
    if values.dtype.is_nested():
        return [BagFeature(name=name, column=name, side=side)] if _holds_ids(values.dtype) else []
    if _is_date(values):
        return [DenseFeature(name=f"{name}_age", column=name, side=side, transform="log_age_days")]
    if values.dtype == pl.String and values.str.contains(",", literal=True).any() and not _is_range(values):
        return [BagFeature(name=name, column=name, side=side)]
    if values.dtype.is_numeric() and (distinct > config.max_categories or not _is_whole(values)):
        transform: Transform = "log1p" if _is_skewed(values) else "none"
        if not _looks_like_id(name):
            return [DenseFeature(name=name, column=name, side=side, transform=transform)]
    many = distinct > 100
    return [IdFeature(name=name, column=name, side=side, min_count=config.min_count if many else 1)]


def _with_leaks(dataset: DatasetFolder, known: list[Feature], config: FeatureConfig) -> list[Feature]:
    """Adds the leaking columns asked for by name; refuses those merely listed in `only`."""
    names = {feature.name for feature in known}
    impression = dataset.interactions().collect_schema().names()
    month = {
        column: (side, frame[column])
        for side, frame in (("user", dataset.users()), ("item", dataset.items()))
        if frame is not None
        for column in frame.columns
        if _MONTH_AVERAGE.search(column)
    }
    outcomes = [name for name in impression if name not in {*names, *ID_COLUMNS, *dataset.meta.context}]
    outcomes = [name for name in outcomes if name not in _NEITHER]
    for column in config.only or ():
        if column in (*month, *outcomes) and column not in config.allow_leaks:
            kind = "an average over the whole month, future included" if column in month else "the row's own outcome"
            raise DataError(
                dataset.path,
                f"feature {column!r} is {kind}",
                fix=f"leave it out, or name it in features.allow_leaks: [{column}]",
            )
    added: list[Feature] = []
    for column in config.allow_leaks:
        if column in outcomes:
            added.append(DenseFeature(name=column, column=column))
        elif column in month:
            side: Side = "user" if month[column][0] == "user" else "item"
            skewed: Transform = "log1p" if _is_skewed(month[column][1]) else "none"
            added.append(DenseFeature(name=column, column=column, side=side, transform=skewed))
    return known + added


def _check_known(dataset: DatasetFolder, known: list[str], config: FeatureConfig) -> None:
    for field, names in (
        ("only", config.only or ()), ("without", config.without), ("missing", config.missing),
        ("unseen", config.unseen), ("allow_leaks", config.allow_leaks),
    ):  # fmt: skip
        for name in names:
            if name not in known:
                raise DataError(
                    dataset.path, f"features.{field} names {name!r}, {_why_not(dataset, name)}",
                    found=", ".join(known), fix="name one of these",
                )  # fmt: skip


def _why_not(dataset: DatasetFolder, name: str) -> str:
    """Why there is no feature `name`: columns of vectors are known, and no feature can be made of them."""
    frames = (dataset.interactions().collect_schema(), *(
        frame.schema for frame in (dataset.users(), dataset.items()) if frame is not None
    ))  # fmt: skip
    dtype = next((schema[name] for schema in frames if name in schema), None)
    if dtype is not None and dtype.is_nested() and not _holds_ids(dtype):
        return f"a column of {dtype}: a feature is one value a row, or a list of ids"
    return "which the dataset does not offer"


def _holds_ids(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.List) and bool(dtype.inner.is_integer() or dtype.inner == pl.String)


def _is_date(values: pl.Series) -> bool:
    if values.dtype in (pl.Date, pl.Datetime):
        return True
    return values.dtype == pl.String and bool(values.drop_nulls().str.contains(_ISO_DATE).all())


def _is_range(values: pl.Series) -> bool:
    """Texts like '(250,500]' hold a comma and are one value all the same."""
    with_comma = values.drop_nulls().filter(values.drop_nulls().str.contains(",", literal=True))
    return bool(with_comma.str.contains(r"^[\[(].*[\])]$").any())


def _is_whole(values: pl.Series) -> bool:
    return bool(values.dtype.is_integer() or (values.drop_nulls() % 1 == 0).all())


def _is_skewed(values: pl.Series) -> bool:
    known = values.drop_nulls().drop_nans() if values.dtype.is_float() else values.drop_nulls()
    if known.is_empty() or float(known.min()) < 0:  # type: ignore[arg-type]
        return False
    return float(known.max()) > _SKEWED_AT * max(float(known.median()), 1.0)  # type: ignore[arg-type]


def _looks_like_id(name: str) -> bool:
    return name.endswith("_id") or name.startswith("onehot")
