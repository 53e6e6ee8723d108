"""Context and side features as codes: few distinct values by vocabulary, many numbers by quantile buckets."""

from __future__ import annotations

from collections.abc import Sequence
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
Side = Literal["view", "user", "item"]

MAX_CATEGORIES = 64
"A number column with more distinct values than this is cut into buckets."
BUCKETS = 16
MIN_COUNT = 20
"Rarer values of a string column look unseen."


@dataclass(frozen=True)
class Surroundings:
    """What a dataset knows beside its impressions: side features, and where the segment vectors lie."""

    users: pl.DataFrame | None
    items: pl.DataFrame | None
    vectors: VectorRows | None

    @classmethod
    def of(cls, dataset: DatasetFolder, vectors: str | None) -> Self:
        """Read once; `vectors` names the segment vectors, None for none."""
        rows = None
        if vectors is not None:
            rows = VectorRows.of(dataset.vectors(vectors), grid_width(dataset.meta.segment_ms))
        return cls(dataset.users(), dataset.items(), rows)

    def column(self, views: pl.DataFrame, side: Side, name: str) -> pl.Series:
        """A side feature of each view, in the order of `views`; null where the id has no row."""
        if side == "view":
            return views[name]
        table, key = (self.users, "user_id") if side == "user" else (self.items, "item_id")
        if table is None or name not in table.columns:
            return pl.Series(name, [None] * views.height, dtype=pl.Int64)
        sides = table.select(key, name).unique(key, keep="first", maintain_order=True)
        return views.select(key).join(sides, on=key, how="left", maintain_order="left")[name]


@dataclass(frozen=True)
class ColumnCodes:
    """One column's codes: 0 missing, 1 unseen, 2.. known values or buckets."""

    side: Side
    name: str
    vocabulary: Vocabulary | None
    edges: npt.NDArray[np.float64]
    "Upper ends of the buckets, ascending; empty with a vocabulary."

    @classmethod
    def fit(cls, side: Side, values: pl.Series) -> Self:
        """From the training views' values."""
        if values.dtype.is_numeric() and values.drop_nulls().n_unique() > MAX_CATEGORIES:
            known = values.cast(pl.Float64).drop_nulls().drop_nans().to_numpy()
            quantiles = np.quantile(known, np.linspace(0, 1, BUCKETS + 1)[1:-1])
            return cls(side, values.name, None, np.unique(quantiles))
        return cls(side, values.name, Vocabulary.fit(_as_category(values), MIN_COUNT), np.empty(0))

    def encode(self, values: pl.Series) -> IntArray:
        """(n,) codes."""
        if self.vocabulary is not None:
            return self.vocabulary.encode(_as_category(values).cast(self.vocabulary.ids.dtype))
        numbers = values.cast(pl.Float64, strict=False).to_numpy()
        return np.where(np.isnan(numbers), 0, 2 + np.searchsorted(self.edges, numbers, side="left"))

    def plain(self) -> dict[str, Any]:
        """As JSON values: what `of_plain` reads."""
        known = None if self.vocabulary is None else self.vocabulary.to_frame().to_dict(as_series=False)
        return {"side": self.side, "name": self.name, "values": known, "edges": self.edges.tolist()}

    @classmethod
    def of_plain(cls, value: Mapping[str, Any]) -> Self:
        """From what `plain` gave."""
        known = value["values"]
        vocabulary = None if known is None else Vocabulary.from_frame(_vocabulary_frame(known), value["name"])
        return cls(value["side"], value["name"], vocabulary, np.array(value["edges"], dtype=np.float64))

    @property
    def feature(self) -> str:
        """The column's name among the tables' features: side and name."""
        return f"{self.side}_{self.name}"

    @property
    def size(self) -> int:
        """Rows that a table needs."""
        return self.vocabulary.size if self.vocabulary is not None else len(self.edges) + 3


@dataclass(frozen=True)
class SideColumns:
    """All context and side columns of a model."""

    columns: Sequence[ColumnCodes]

    @classmethod
    def fit(cls, dataset: DatasetFolder, views: pl.DataFrame, surroundings: Surroundings) -> Self:
        """The dataset's context columns, the hour, and its user and item features."""
        meta = dataset.meta
        context = [name for name in dict.fromkeys([*meta.context, "hour", "n_segments"]) if name in views.columns]
        asked: list[tuple[Side, str]] = [("view", name) for name in context]
        asked += [("user", name) for name in meta.user_features] + [("item", name) for name in meta.item_features]
        fitted = []
        for side, name in asked:
            values = surroundings.column(views, side, name)
            if not values.dtype.is_nested() and values.drop_nulls().n_unique() > 1:
                fitted.append(ColumnCodes.fit(side, values))
        return cls(fitted)

    def encode(self, views: pl.DataFrame, surroundings: Surroundings) -> dict[str, IntArray]:
        """(V,) codes by feature."""
        return {
            column.feature: column.encode(surroundings.column(views, column.side, column.name))
            for column in self.columns
        }

    def plain(self) -> list[dict[str, Any]]:
        """As JSON values: what `of_plain` reads."""
        return [column.plain() for column in self.columns]

    @classmethod
    def of_plain(cls, values: Sequence[Mapping[str, Any]]) -> Self:
        """From what `plain` gave."""
        return cls([ColumnCodes.of_plain(value) for value in values])


def _as_category(values: pl.Series) -> pl.Series:
    """Numbers that are whole as Int64, all else as strings; NaN is missing."""
    if values.dtype.is_float():
        whole = values.fill_nan(None)
        if (whole.drop_nulls() % 1 == 0).all():
            return whole.cast(pl.Int64, strict=False)
        return whole.cast(pl.String)
    if values.dtype.is_integer() or values.dtype == pl.Boolean:
        return values.cast(pl.Int64)
    return values.cast(pl.String)


def _vocabulary_frame(known: Mapping[str, Any]) -> pl.DataFrame:
    text = any(isinstance(value, str) for value in known["id"])
    return pl.DataFrame(known, schema_overrides={"id": pl.String if text else pl.Int64})
