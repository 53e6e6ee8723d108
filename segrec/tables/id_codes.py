"""Ids to table rows without a fixed vocabulary: hashed into so many rows, or kept as they are for `ManagedIds`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, NonNegativeInt, model_validator

from segrec.records import Config, ConfigError
from segrec.tables.vocabulary import FIRST_KNOWN, MISSING, as_ids

IdKind = Literal["vocabulary", "hash", "managed"]

MISSING_KEY = int(np.iinfo(np.int64).min)
"Stands for a missing id among raw keys."
_LARGEST_KEY = int(np.iinfo(np.int64).max)
"TorchRec marks free rows with it."


class IdSettings(Config):
    """How the ids of a column become rows of its table."""

    ids: IdKind = "vocabulary"
    """vocabulary: train's ids, a row each. hash: each id by its hash, several may share a row. managed: ids get rows as
    they come, and rare or old ones lose theirs when none is left."""
    rows: Annotated[int, Field(ge=4)] | None = None
    "Of the table, missing and unseen included: needed by `hash` and `managed`, a vocabulary has its own number."
    hash_seed: NonNegativeInt = 0
    "Another seed makes other ids meet."

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.ids == "vocabulary") != (self.rows is None):
            needs = "counts its own rows; leave rows out" if self.ids == "vocabulary" else "needs rows"
            raise ValueError(f"ids={self.ids} {needs}")
        return self


class IdCodes(Protocol):
    """What turns a column of ids into codes."""

    @property
    def size(self) -> int:
        """Rows that the table needs."""

    @property
    def missing(self) -> int:
        """The code of a missing id."""

    def encode(self, values: pl.Series) -> npt.NDArray[np.int64]:
        """Codes (n,) of `values`."""


@dataclass(frozen=True)
class HashedIds:
    """Each id has the row of its hash: 0 = missing, 2 .. rows - 1; no id is unseen, row 1 stays unused."""

    rows: int
    seed: int = 0

    @property
    def size(self) -> int:
        """Rows of the table."""
        return self.rows

    @property
    def missing(self) -> int:
        """The code of a missing id."""
        return MISSING

    def encode(self, values: pl.Series) -> npt.NDArray[np.int64]:
        """Codes (n,), the same on every machine and in every process.

        :raises ConfigError: values that are no ids.
        """
        plain = as_ids(values)
        codes = (mixed(_plain_hash(plain), self.seed) % np.uint64(self.rows - FIRST_KNOWN)).astype(np.int64)
        codes += FIRST_KNOWN
        codes[plain.is_null().to_numpy()] = MISSING
        return codes


@dataclass(frozen=True)
class RawKeys:
    """64-bit keys for `ManagedIds`, which gives them rows: numbers as they are, texts by their hash (>= 0)."""

    rows: int

    @property
    def size(self) -> int:
        """Rows of the table, not of the keys."""
        return self.rows

    @property
    def missing(self) -> int:
        """The key of a missing id."""
        return MISSING_KEY

    def encode(self, values: pl.Series) -> npt.NDArray[np.int64]:
        """Keys (n,).

        :raises ConfigError: values that are no ids, or one of the two outermost 64-bit numbers.
        """
        plain = as_ids(values)
        keys = _plain_hash(plain).view(np.int64)
        if plain.dtype == pl.String:
            keys = keys & np.int64(_LARGEST_KEY >> 1)
        present = ~plain.is_null().to_numpy()
        if ((keys == MISSING_KEY) | (keys == _LARGEST_KEY))[present].any():
            raise ConfigError(
                f"column {values.name!r} holds {MISSING_KEY} or {_LARGEST_KEY}, which managed ids keep for themselves; "
                "use ids=hash"
            )
        return np.where(present, keys, MISSING_KEY)


def id_codes(settings: IdSettings) -> HashedIds | RawKeys:
    """The codes of a column without a vocabulary.

    :raises ValueError: `settings` want a vocabulary, which is fitted.
    """
    if settings.ids == "vocabulary" or settings.rows is None:
        raise ValueError("a vocabulary is fitted on rows: Vocabulary.fit")
    return HashedIds(settings.rows, settings.hash_seed) if settings.ids == "hash" else RawKeys(settings.rows)


def mixed(hashes: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """splitmix64 (Steele, Lea & Flood, OOPSLA 2014) of hashes + seed * golden gamma: a bijection of 64-bit numbers."""
    with np.errstate(over="ignore"):
        x = hashes + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: npt.NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return out


def _plain_hash(ids: pl.Series) -> npt.NDArray[np.uint64]:
    """Numbers as their bits, texts as the first 8 bytes of their BLAKE2b; 0 where missing."""
    if ids.dtype != pl.String:
        return ids.fill_null(0).to_numpy().astype(np.int64).view(np.uint64)
    distinct = ids.unique().drop_nulls()
    hashes = pl.Series("hash", [_of_text(text) for text in distinct], dtype=pl.UInt64)
    table = pl.DataFrame({"id": distinct, "hash": hashes})
    found = ids.rename("id").to_frame().join(table, on="id", how="left", maintain_order="left")["hash"]
    return found.fill_null(0).to_numpy().astype(np.uint64)


def _of_text(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
