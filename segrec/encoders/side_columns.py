"""Context and side features as plain numbers for trees: one float column each, NaN where unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import DatasetFolder
from segrec.tables.vocabulary import UNSEEN, Vocabulary

_MS_A_DAY = 86_400_000


@dataclass(frozen=True)
class SideColumns:
    """Which columns, how text is coded, and the side tables they are looked up in."""

    names: tuple[str, ...]
    "Columns of `numbers`, in order."
    codes: dict[str, Vocabulary]
    "Text columns: known values get a number by their order; others are NaN."
    dates: tuple[str, ...]
    "ISO dates among the text columns: given as age in days at the time of the view."
    users: pl.DataFrame | None
    items: pl.DataFrame | None

    @classmethod
    def fit(cls, train: pl.DataFrame, dataset: DatasetFolder) -> Self:
        """Context columns, duration and hour of the views, features of `users` and `items`; text coded on `train`."""
        meta, users, items = dataset.meta, dataset.users(), dataset.items()
        context = [name for name in dict.fromkeys((*meta.context, "hour", "duration_ms")) if name in train.columns]
        kept_users = _features(users, "user_id", meta.user_features, train)
        kept_items = _features(items, "item_id", meta.item_features, train)
        joined = _joined(train, kept_users, kept_items)
        side = [name for table in (kept_users, kept_items) if table is not None for name in table.columns[1:]]
        names = tuple(name for name in (*context, *side) if _usable(joined[name]))
        text = [name for name in names if joined[name].dtype in (pl.String, pl.Categorical, pl.Enum)]
        dates = tuple(name for name in text if _are_dates(joined[name]))
        codes = {name: Vocabulary.fit(joined[name].cast(pl.String)) for name in text if name not in dates}
        return cls(names, codes, dates, kept_users, kept_items)

    def numbers(self, views: pl.DataFrame) -> npt.NDArray[np.float32]:
        """(B, len(names)) float32 of `views`, in their order."""
        joined = _joined(views, self.users, self.items)
        columns = [self._number(joined, name) for name in self.names]
        return np.stack(columns, axis=1) if columns else np.zeros((views.height, 0), dtype=np.float32)

    def _number(self, joined: pl.DataFrame, name: str) -> npt.NDArray[np.float32]:
        values = joined[name]
        if name in self.dates:
            days = values.cast(pl.String).str.to_date(strict=False).dt.epoch("d").cast(pl.Float64)
            return (joined["time_ms"] / _MS_A_DAY - days).to_numpy().astype(np.float32)
        if name in self.codes:
            code = self.codes[name].encode(values.cast(pl.String))
            return np.where(code > UNSEEN, code, np.nan).astype(np.float32)
        return values.cast(pl.Float32).fill_null(np.nan).to_numpy()


def _features(side: pl.DataFrame | None, key: str, names: list[str], views: pl.DataFrame) -> pl.DataFrame | None:
    """`key` and the features that the views do not hold themselves."""
    if side is None or key not in side.columns:
        return None
    return side.select(key, *(name for name in names if name in side.columns and name not in views.columns))


def _joined(views: pl.DataFrame, users: pl.DataFrame | None, items: pl.DataFrame | None) -> pl.DataFrame:
    joined = views
    for key, side in (("user_id", users), ("item_id", items)):
        if side is not None:
            joined = joined.join(side.unique(key), on=key, how="left", maintain_order="left")
    return joined


def _usable(values: pl.Series) -> bool:
    kind: Any = values.dtype
    return kind.is_numeric() or kind in (pl.Boolean, pl.String, pl.Categorical, pl.Enum)


def _are_dates(values: pl.Series) -> bool:
    text = values.cast(pl.String).drop_nulls()
    if text.is_empty():
        return False
    parsed = text.str.to_date(format="%Y-%m-%d", strict=False)
    return parsed.null_count() < 0.5 * len(text)
