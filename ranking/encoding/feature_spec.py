"""The feature spec of a run: its ids, bags, dense values and sequences, and what a missing value means."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from segrec.records import Config
from segrec.tables import IdSettings

Missing = Literal["reject", "impute"]
Unseen = Literal["reject", "share"]
"share: ids that train did not hold share one row; reject: the run stops and names the impression."
Side = Literal["impression", "user", "item"]
Transform = Literal["none", "log1p", "log_age_days"]
"log_age_days: log(1 + days from the column's date to the impression)."

KEY_OF: dict[Side, str] = {"user": "user_id", "item": "item_id"}


class IdFeature(Config):
    """One id a row, with an embedding of its own: code 0 = missing, 1 = unseen, known ids from 2 on."""

    name: str
    column: str
    side: Side = "impression"
    min_count: PositiveInt = 1
    "Ids seen less often in train share the unseen row; counted in impressions, for side features in users or items."
    buckets: PositiveInt | None = None
    "Numeric columns: so many quantile buckets, fitted on train, are the ids."
    missing: Missing = "impute"
    unseen: Unseen = "share"
    coding: IdSettings = IdSettings()


class BagFeature(Config):
    """Several ids a row, pooled: a list column, or text with a separator."""

    name: str
    column: str
    side: Side = "item"
    separator: str = ","
    min_count: PositiveInt = 1
    missing: Missing = "impute"
    unseen: Unseen = "share"
    coding: IdSettings = IdSettings()


class DenseFeature(Config):
    """A number, standardised by train's mean and deviation; `impute`: mean where missing, and an indicator column."""

    name: str
    column: str
    side: Side = "impression"
    transform: Transform = "none"
    missing: Missing = "impute"


class SequenceFeature(Config):
    """What a user met before: one column of past events, oldest first; codes and table are those of `id_feature`."""

    name: str
    column: str
    id_feature: str


class HistoryConfig(Config):
    """Past events of the impression's user, as of the impression."""

    length: NonNegativeInt | None = None
    "Newest events kept; 0 = no histories; null = as the ranker needs it."
    columns: tuple[str, ...] | None = None
    "Id features whose values the past events show; null = item_id and author_id, as far as the run has them."
    events: str = "all"
    "all impressions, or the name of a flag: only those where it is set (is_click, long_view)."
    max_age_days: PositiveFloat | None = None
    "Events that ended longer ago are left out."


Feature = IdFeature | BagFeature | DenseFeature


class FeatureSpec(Config):
    """All features of a run; stored with it as features/spec.yaml."""

    ids: tuple[IdFeature, ...]
    bags: tuple[BagFeature, ...] = ()
    dense: tuple[DenseFeature, ...] = ()
    sequences: tuple[SequenceFeature, ...] = ()
    history: HistoryConfig = HistoryConfig()
    "Which past events `sequences` show."

    @property
    def coded(self) -> list[IdFeature | BagFeature]:
        """Features with a table: ids, then bags."""
        return [*self.ids, *self.bags]

    @property
    def sparse_names(self) -> tuple[str, ...]:
        """Ids, then bags, then sequences: the keys of a batch's codes."""
        return tuple(feature.name for feature in (*self.coded, *self.sequences))

    @property
    def all(self) -> list[Feature]:
        """Ids, bags, dense."""
        return [*self.ids, *self.bags, *self.dense]
