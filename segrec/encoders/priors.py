"""Deterministic priors: where views end by chance, position, length, item and user; they stand in every skip table.

Each has `fit(views, ...)` and `predict(views) -> ExitPrediction`. Views carry n_segments and exit_segment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self, TypeVar

import numpy as np
import polars as pl

from segrec.encoders.exit_shifts import ExitTally, ExpectedExits
from segrec.encoders.exit_table import (
    FloatArray,
    HazardTable,
    IntArray,
    Outcomes,
    exits_by,
    need_columns,
    reached_by,
    shrunk_hazards,
)
from segrec.encoders.prediction import ExitPrediction, SkipModel, concatenate
from segrec.tables.vocabulary import FIRST_KNOWN, Vocabulary

LENGTH_STRENGTHS = (10.0, 30.0, 100.0, 300.0, 1000.0)
ITEM_STRENGTHS = (2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
USER_STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)

_ROWS_AT_ONCE = 100_000


class HazardPrior(ABC):
    """A prior that gives hazards; the distribution follows from them."""

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def fit(cls, views: pl.DataFrame, valid: pl.DataFrame | None = None) -> Self:
        """From training views; `valid` only chooses settings, where there are any."""

    @abstractmethod
    def hazards(self, views: pl.DataFrame) -> FloatArray:
        """(B, S) float64, S = the longest video of `views`; padding holds anything finite."""

    def predict(self, views: pl.DataFrame) -> ExitPrediction:
        """One row a view, in the order of `views`."""
        need_columns(views, ("n_segments",))
        parts = [self._predict(views[at : at + _ROWS_AT_ONCE]) for at in range(0, max(views.height, 1), _ROWS_AT_ONCE)]
        return concatenate(parts)

    def nll(self, views: pl.DataFrame) -> float:
        """Mean -log P of what happened, nats a view."""
        return float(-self.predict(views).log_likelihood(Outcomes.of(views).exits).astype(np.float64).mean())

    def _predict(self, views: pl.DataFrame) -> ExitPrediction:
        return ExitPrediction.from_hazards(np.minimum(self.hazards(views), 1.0), lengths_of(views))


Tuned = TypeVar("Tuned", bound=HazardPrior)


class RandomPrior(HazardPrior):
    """All N + 1 outcomes alike: h_s = 1 / (N + 1 - s)."""

    name = "random"

    @classmethod
    def fit(cls, views: pl.DataFrame, valid: pl.DataFrame | None = None) -> Self:
        """Nothing to learn."""
        del views, valid
        return cls()

    def hazards(self, views: pl.DataFrame) -> FloatArray:
        """(B, S): 1 / (N + 1 - s)."""
        lengths = lengths_of(views)
        left: FloatArray = lengths[:, None] + 1.0 - np.arange(int(lengths.max(initial=1)))
        return 1.0 / np.maximum(left, 1.0)


@dataclass(frozen=True)
class PositionPrior(HazardPrior):
    """One hazard a position."""

    name = "position"
    table: HazardTable

    @classmethod
    def fit(cls, views: pl.DataFrame, valid: pl.DataFrame | None = None) -> Self:
        """Counts over all views."""
        del valid
        return cls(HazardTable.by_position(Outcomes.of(views)))

    def hazards(self, views: pl.DataFrame) -> FloatArray:
        """(B, S), the same row for all."""
        return self.table.of(lengths_of(views))


@dataclass(frozen=True)
class LengthPositionPrior(HazardPrior):
    """One hazard for each (length, position), rare lengths shrunk to the position's."""

    name = "length_position"
    table: HazardTable

    @classmethod
    def fit(cls, views: pl.DataFrame, valid: pl.DataFrame | None = None, strength: float = 100.0) -> Self:
        """`strength` in views, chosen by NLL on `valid` where that is given."""
        outcomes = Outcomes.of(views)
        return tuned(lambda k: cls(HazardTable.by_length(outcomes, k)), valid, LENGTH_STRENGTHS, strength)

    def hazards(self, views: pl.DataFrame) -> FloatArray:
        """(B, S) by each view's length."""
        return self.table.of(lengths_of(views))


@dataclass(frozen=True)
class IdPrior(HazardPrior):
    """An id's own counts of where its views ended, shrunk to a table; unseen ids get the table's hazards."""

    key: ClassVar[str]
    strengths: ClassVar[Sequence[float]]
    ids: Vocabulary
    exits: FloatArray
    "(n, W), rows as the vocabulary's codes; rows 0 and 1 are empty."
    reached: FloatArray
    "(n, W)"
    table: HazardTable
    strength: float
    "Views' worth of trust in the table."

    @classmethod
    def fit(cls, views: pl.DataFrame, valid: pl.DataFrame | None = None, strength: float | None = None) -> Self:
        """`strength` in views: as given, else chosen by NLL on `valid`, else the middle of the tried ones."""
        need_columns(views, (cls.key,))
        outcomes, ids = Outcomes.of(views), Vocabulary.fit(views[cls.key])
        codes, width = ids.encode(views[cls.key]), outcomes.width
        exits, reached = (count(codes, outcomes, ids.size, width) for count in (exits_by, reached_by))
        exits[:FIRST_KNOWN], reached[:FIRST_KNOWN] = 0.0, 0.0
        first = strength if strength is not None else cls.strengths[len(cls.strengths) // 2]
        prior = cls(ids, exits, reached, cls.base_table(views, valid), first)
        return tuned(
            lambda k: replace(prior, strength=k), valid if strength is None else None, cls.strengths, prior.strength
        )

    @classmethod
    @abstractmethod
    def base_table(cls, views: pl.DataFrame, valid: pl.DataFrame | None) -> HazardTable:
        """What the counts are shrunk to."""

    def hazards(self, views: pl.DataFrame) -> FloatArray:
        """(B, S) counts of each view's id and the table's hazards of its length, joined."""
        need_columns(views, (self.key,))
        base, codes = self.table.of(lengths_of(views)), self.ids.encode(views[self.key])
        exits, reached = (_to_width(counts[codes], base.shape[1]) for counts in (self.exits, self.reached))
        return shrunk_hazards(exits, reached, base, self.strength)


class _OwnCountsPrior(IdPrior):
    """An id's own counts with one view's worth of the position prior, so that nothing is impossible."""

    strengths = (1.0,)

    @classmethod
    def base_table(cls, views: pl.DataFrame, valid: pl.DataFrame | None) -> HazardTable:
        del valid
        return PositionPrior.fit(views).table


class ItemPrior(_OwnCountsPrior):
    """The item's own counts."""

    name, key = "item", "item_id"


class UserPrior(_OwnCountsPrior):
    """The user's own counts by position."""

    name, key = "user", "user_id"


class ItemShrunkPrior(IdPrior):
    """The item's exit counts shrunk to its (length, position) prior: the prior to beat."""

    name, key, strengths = "item_shrunk", "item_id", ITEM_STRENGTHS

    @classmethod
    def base_table(cls, views: pl.DataFrame, valid: pl.DataFrame | None) -> HazardTable:
        """(length, position)."""
        return LengthPositionPrior.fit(views, valid).table


@dataclass(frozen=True)
class UserShrunkPrior(HazardPrior):
    """(length, position) hazards, their logits moved by the user's own exits by band (see `exit_shifts`)."""

    name = "user_shrunk"
    ids: Vocabulary
    tally: ExitTally
    "By user and band, rows as the vocabulary's codes."
    expected: ExpectedExits
    strength: float
    "Variance's worth of trust in a shift of 0."

    @classmethod
    def fit(cls, views: pl.DataFrame, valid: pl.DataFrame | None = None, strength: float | None = None) -> Self:
        """`strength` as given, else chosen by NLL on `valid`, else the middle of the tried ones."""
        need_columns(views, ("user_id",))
        ids, outcomes = Vocabulary.fit(views["user_id"]), Outcomes.of(views)
        expected = ExpectedExits(LengthPositionPrior.fit(views, valid).table)
        tally = expected.by_band(ids.encode(views["user_id"]), outcomes, ids.size)
        chosen_on, middle = (valid, USER_STRENGTHS[len(USER_STRENGTHS) // 2]) if strength is None else (None, strength)
        return tuned(lambda k: cls(ids, tally, expected, k), chosen_on, USER_STRENGTHS, middle)

    def hazards(self, views: pl.DataFrame) -> FloatArray:
        """(B, S) hazards of (length, position), moved by each user's shifts; unseen users are not moved."""
        need_columns(views, ("user_id",))
        shifts = self.tally.shifts(self.strength)
        shifts[:FIRST_KNOWN] = 0.0
        return self.expected.shifted(lengths_of(views), shifts[self.ids.encode(views["user_id"])])


def tuned(
    build: Callable[[float], Tuned], valid: pl.DataFrame | None, strengths: Sequence[float], default: float
) -> Tuned:
    """`build(strength)` with the least NLL on `valid`; with `default` when there is nothing to choose by."""
    if valid is None or valid.is_empty() or len(strengths) == 1:
        return build(default)
    return min((build(strength) for strength in strengths), key=lambda prior: prior.nll(valid))


PRIORS: tuple[type[HazardPrior], ...] = (
    RandomPrior, PositionPrior, LengthPositionPrior, UserPrior, ItemPrior, UserShrunkPrior, ItemShrunkPrior,
)  # fmt: skip
"All priors of a skip table, weakest first."


def deterministic_priors(train: pl.DataFrame, valid: pl.DataFrame | None) -> list[SkipModel]:
    """All priors of a skip table; strengths chosen on `valid`."""
    return [prior.fit(train, valid) for prior in PRIORS]


def lengths_of(views: pl.DataFrame) -> IntArray:
    """(B,) n_segments as int64."""
    return np.asarray(views["n_segments"].to_numpy(), dtype=np.int64)


def _to_width(values: FloatArray, width: int) -> FloatArray:
    """(B, W) cut or padded with zeros to (B, width), float64."""
    kept = values[:, :width].astype(np.float64)
    return np.pad(kept, ((0, 0), (0, width - kept.shape[1])))
