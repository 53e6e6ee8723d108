"""Ids to table rows: 0 stands for a missing id, 1 for an unseen one, known ids follow in sorted order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import ConfigError, DataError

MISSING, UNSEEN, FIRST_KNOWN = 0, 1, 2


@dataclass(frozen=True)
class IdCounts:
    """How many rows held a known, an unseen, a missing id."""

    known: int
    unseen: int
    missing: int

    @property
    def rows(self) -> int:
        """All rows."""
        return self.known + self.unseen + self.missing


@dataclass(frozen=True)
class Vocabulary:
    """Fixed ids of one column. Frozen: fitting on other rows makes another vocabulary."""

    ids: pl.Series
    "Known ids, Int64 or String, sorted, unique; the id at place i has code i + 2."
    counts: pl.Series
    "UInt32: how often each was seen when fitting."

    @classmethod
    def fit(cls, values: pl.Series, min_count: int = 1) -> Self:
        """The ids that occur at least `min_count` times in `values` (nulls left out).

        :raises ConfigError: ids that are neither whole numbers nor strings, or min_count < 1.
        """
        if min_count < 1:
            raise ConfigError(f"min_count must be at least 1 (found: {min_count})")
        plain = as_ids(values).rename("id")
        counted = plain.drop_nulls().to_frame().group_by("id").agg(pl.len().cast(pl.UInt32).alias("count"))
        kept = counted.filter(pl.col("count") >= min_count).sort("id")
        return cls(kept["id"], kept["count"])

    @property
    def size(self) -> int:
        """Rows that a table needs: known ids plus missing and unseen."""
        return len(self.ids) + FIRST_KNOWN

    @property
    def missing(self) -> int:
        """The code of a missing id."""
        return MISSING

    def encode(self, values: pl.Series) -> npt.NDArray[np.int64]:
        """Codes (n,): 0 missing (null), 1 unseen, 2 .. size - 1 known.

        :raises ConfigError: values of another type than the vocabulary's.
        """
        plain = as_ids(values)
        if plain.dtype != self.ids.dtype and plain.null_count() < len(plain):
            raise ConfigError(
                f"column {values.name!r} holds {plain.dtype} (expected: {self.ids.dtype}, as when the "
                "vocabulary was fitted); cast it"
            )
        codes = (
            plain.cast(self.ids.dtype)
            .rename("id")
            .to_frame()
            .join(self._codes(), on="id", how="left", maintain_order="left")
        )
        filled = codes.select(
            pl.when(pl.col("id").is_null()).then(MISSING).otherwise(pl.col("code").fill_null(UNSEEN)).cast(pl.Int64)
        )
        return np.asarray(filled.to_series().to_numpy(), dtype=np.int64)

    def decode(self, codes: npt.NDArray[np.int64]) -> pl.Series:
        """Ids of `codes`, null for missing and unseen."""
        places = pl.Series("place", np.asarray(codes, dtype=np.int64) - FIRST_KNOWN)
        return self.ids.gather(places.set(places < 0, None)).alias("id")

    @staticmethod
    def counts_of(codes: npt.NDArray[np.int64]) -> IdCounts:
        """Known, unseen and missing among `codes`."""
        missing, unseen = int((codes == MISSING).sum()), int((codes == UNSEEN).sum())
        return IdCounts(known=codes.size - missing - unseen, unseen=unseen, missing=missing)

    def to_frame(self) -> pl.DataFrame:
        """id, code, count: one row a known id; what `from_frame` reads."""
        return pl.DataFrame({"id": self.ids, "code": self._code_column(), "count": self.counts})

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, where: str = "vocabulary") -> Self:
        """:raises DataError: not what `to_frame` wrote (columns, order, or ids that occur twice)."""
        missing = [name for name in ("id", "code", "count") if name not in frame.columns]
        if missing:
            raise DataError(
                where, f"column {missing[0]!r} is missing", found=", ".join(frame.columns), expected="id, code, count"
            )
        ids = frame["id"]
        whole = ids.null_count() == 0 and ids.is_sorted() and ids.n_unique() == len(ids)
        codes_in_order = frame["code"].cast(pl.Int64).equals(_code_range(len(ids)))
        if not whole or not codes_in_order or ids.dtype not in (pl.Int64, pl.String):
            raise DataError(where, "is not a vocabulary (ids sorted and unique, codes from 2 on)", fix="fit it again")
        return cls(ids.rename("id"), frame["count"].cast(pl.UInt32))

    def _codes(self) -> pl.DataFrame:
        return pl.DataFrame({"id": self.ids, "code": self._code_column()})

    def _code_column(self) -> pl.Series:
        return _code_range(len(self.ids))


def as_ids(values: pl.Series) -> pl.Series:
    """`values` as Int64 or String ids.

    :raises ConfigError: floats, dates, lists and the like.
    """
    if values.dtype.is_integer() or values.dtype == pl.Boolean:
        return values.cast(pl.Int64)
    if values.dtype == pl.String:
        return values
    if values.dtype in (pl.Categorical, pl.Enum):
        return values.cast(pl.String)
    if values.dtype == pl.Null:
        return values.cast(pl.Int64)
    raise ConfigError(f"column {values.name!r} holds {values.dtype} (expected ids: whole numbers or strings); cast it")


def _code_range(size: int) -> pl.Series:
    return pl.Series("code", np.arange(FIRST_KNOWN, FIRST_KNOWN + size, dtype=np.int64))
