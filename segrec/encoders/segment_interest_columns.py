"""Context and side features: few distinct values as codes, numbers and dates as dense columns, the rest left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import DatasetFolder
from segrec.segments.content import VectorRows
from segrec.segments.views import grid_width
from segrec.tables import Vocabulary

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
Side = Literal["view", "user", "item"]
Form = Literal["category", "number", "date"]

MAX_CATEGORIES = 100
"A column of more distinct values is a number or a date, or is left out: as codes it would be learned by heart."
MIN_COUNT = 10
"Values of fewer training views look unseen."
VIEW_NAMES = ("hour", "log_duration", "last_segment_share")
"Dense columns that every dataset has."

_MS_A_DAY = 86_400_000


@dataclass(frozen=True)
class Surroundings:
    """What a dataset knows beside its impressions: side features, and where the segment vectors lie."""

    users: pl.DataFrame | None
    items: pl.DataFrame | None
    vectors: VectorRows | None
    segment_ms: int

    @classmethod
    def of(cls, dataset: DatasetFolder, vectors: str | None) -> Self:
        """Read once; `vectors` names the segment vectors, None for none."""
        segment_ms, rows = dataset.meta.segment_ms, None
        if vectors is not None:
            rows = VectorRows.of(dataset.vectors(vectors), grid_width(segment_ms))
        users, items = dataset.users(), dataset.items()
        return cls(_one_row_each(users, "user_id"), _one_row_each(items, "item_id"), rows, segment_ms)

    def column(self, views: pl.DataFrame, side: Side, name: str) -> pl.Series:
        """A side feature of each view, in the order of `views`; null where the id has no row."""
        if side == "view" and name in views.columns:
            return views[name]
        table, key = (self.users, "user_id") if side == "user" else (self.items, "item_id")
        if side == "view" or table is None or name not in table.columns:
            return pl.Series(name, [None] * views.height, dtype=pl.Int64)
        return views.select(key).join(table.select(key, name), on=key, how="left", maintain_order="left")[name]


@dataclass(frozen=True)
class SideColumn:
    """One column: codes (0 missing, 1 unseen, 2.. known) for a category, else one dense number."""

    side: Side
    name: str
    form: Form
    vocabulary: Vocabulary | None = None
    "Of a category."

    @classmethod
    def fit(cls, side: Side, values: pl.Series) -> Self | None:
        """From the training views' values; None when the column is no use: constant, or too many categories."""
        if values.dtype.is_nested() or values.drop_nulls().n_unique() < 2:
            return None
        if values.dtype == pl.String and _as_days(values).null_count() <= 0.5 * len(values):
            return cls(side, values.name, "date")
        categories = Vocabulary.fit(_as_category(values), 1)
        if len(categories.ids) <= MAX_CATEGORIES:
            return cls(side, values.name, "category", Vocabulary.fit(_as_category(values), MIN_COUNT))
        if values.dtype.is_numeric() and not values.name.endswith("_id"):
            return cls(side, values.name, "number")
        return None

    def codes(self, values: pl.Series) -> IntArray:
        """(n,) codes of a category."""
        assert self.vocabulary is not None
        return self.vocabulary.encode(_as_category(values).cast(self.vocabulary.ids.dtype))

    def numbers(self, values: pl.Series, times: npt.NDArray[np.int64]) -> FloatArray:
        """(n,) sign(x) log(1 + |x|) of a number, log(1 + age in days) of a date; NaN where unknown."""
        if self.form == "date":
            days = _as_days(values).cast(pl.Float64).to_numpy()
            return np.asarray(np.log1p(np.maximum(times / _MS_A_DAY - days, 0.0)), dtype=np.float32)
        plain = values.cast(pl.Float64, strict=False).to_numpy()
        return np.asarray(np.sign(plain) * np.log1p(np.abs(plain)), dtype=np.float32)

    @property
    def feature(self) -> str:
        """Its name among the tables' features: side and name."""
        return f"{self.side}_{self.name}"

    def plain(self) -> dict[str, Any]:
        """As JSON values: what `of_plain` reads."""
        known = None if self.vocabulary is None else self.vocabulary.to_frame().to_dict(as_series=False)
        return {"side": self.side, "name": self.name, "form": self.form, "values": known}

    @classmethod
    def of_plain(cls, value: Mapping[str, Any]) -> Self:
        """From what `plain` gave."""
        known = value["values"]
        vocabulary = None if known is None else Vocabulary.from_frame(_vocabulary_frame(known), value["name"])
        return cls(value["side"], value["name"], value["form"], vocabulary)


@dataclass(frozen=True)
class SideColumns:
    """All context and side columns of a model."""

    columns: Sequence[SideColumn]
    left_out: Sequence[str] = ()
    "Columns with too many categories, or that never vary."

    @classmethod
    def fit(cls, dataset: DatasetFolder, views: pl.DataFrame, surroundings: Surroundings) -> Self:
        """The dataset's context columns and its user and item features."""
        meta = dataset.meta
        asked: list[tuple[Side, str]] = [("view", name) for name in meta.context if name in views.columns]
        asked += [("user", name) for name in meta.user_features] + [("item", name) for name in meta.item_features]
        fitted, left_out = [], []
        for side, name in asked:
            column = SideColumn.fit(side, surroundings.column(views, side, name))
            if column is None:
                left_out.append(name)
            else:
                fitted.append(column)
        return cls(fitted, left_out)

    @property
    def categories(self) -> list[SideColumn]:
        """The columns that have a table."""
        return [column for column in self.columns if column.form == "category"]

    def codes(self, views: pl.DataFrame, surroundings: Surroundings) -> dict[str, IntArray]:
        """(V,) codes by feature."""
        return {
            column.feature: column.codes(surroundings.column(views, column.side, column.name))
            for column in self.categories
        }

    def dense(self, views: pl.DataFrame, surroundings: Surroundings) -> FloatArray:
        """(V, ...) VIEW_NAMES, then numbers and dates; NaN where unknown."""
        duration = views["duration_ms"].to_numpy()
        found = [
            views["hour"].to_numpy(),
            np.log(duration),
            duration % surroundings.segment_ms / surroundings.segment_ms,
        ]
        times = views["time_ms"].to_numpy()
        found += [
            column.numbers(surroundings.column(views, column.side, column.name), times)
            for column in self.columns
            if column.form != "category"
        ]
        return np.stack(found, axis=1).astype(np.float32)

    def plain(self) -> list[dict[str, Any]]:
        """As JSON values: what `of_plain` reads."""
        return [column.plain() for column in self.columns]

    @classmethod
    def of_plain(cls, values: Sequence[Mapping[str, Any]]) -> Self:
        """From what `plain` gave."""
        return cls([SideColumn.of_plain(value) for value in values])


def _one_row_each(table: pl.DataFrame | None, key: str) -> pl.DataFrame | None:
    return None if table is None else table.unique(key, keep="first", maintain_order=True)


def _as_days(values: pl.Series) -> pl.Series:
    """Days since 1970 of ISO dates, null for anything else."""
    return values.cast(pl.String).str.to_date(format="%Y-%m-%d", strict=False).dt.epoch("d")


def _as_category(values: pl.Series) -> pl.Series:
    """Whole numbers as Int64, all else as strings, of lists like "3,12" the first; NaN is missing."""
    if values.dtype.is_float():
        whole = values.fill_nan(None)
        if (whole.drop_nulls() % 1 == 0).all():
            return whole.cast(pl.Int64, strict=False)
        return whole.cast(pl.String)
    if values.dtype.is_integer() or values.dtype == pl.Boolean:
        return values.cast(pl.Int64)
    return values.cast(pl.String).str.split(",").list.first()


def _vocabulary_frame(known: Mapping[str, Any]) -> pl.DataFrame:
    text = any(isinstance(value, str) for value in known["id"])
    return pl.DataFrame(known, schema_overrides={"id": pl.String if text else pl.Int64})
