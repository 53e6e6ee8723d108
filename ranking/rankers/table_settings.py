"""Settings of single tables, by feature: how ids become rows, width, type, optimizer, place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ranking.encoding.feature_spec import BagFeature, FeatureSpec, IdFeature
from segrec.records import ConfigError
from segrec.tables import IdSettings, ManagedRows, TableSpec
from segrec.tables.specs import Eviction, ShardingKind, TableMemory, TableOptimizer, TableType

F = TypeVar("F", IdFeature, BagFeature)


class TableOverride(IdSettings):
    """What is special about the table of one feature; null = as `table_...` and `embedding_dim` say for all."""

    eviction: Eviction = "lru"
    "Of managed ids: the least recently (lru) or least often (lfu) seen lose their rows."
    evict_every: PositiveInt = 8
    "Of managed ids: steps between two rounds in which new ids get rows."
    dim: Annotated[int, Field(gt=0, multiple_of=4)] | None = None
    dtype: TableType | None = None
    optimizer: TableOptimizer | None = None
    learning_rate: PositiveFloat | None = None
    eps: PositiveFloat | None = None
    weight_decay: NonNegativeFloat | None = None
    init_std: NonNegativeFloat | None = None
    init_uniform: PositiveFloat | None = None
    memory: TableMemory | None = None
    "CUDA: host memory, or host memory behind a cache on the device."
    cache_share: Annotated[float, Field(gt=0, le=1)] | None = None
    sharding: tuple[ShardingKind, ...] | None = None

    def applied_to(self, table: TableSpec, device_type: str = "cpu") -> TableSpec:
        """`table` with what is special; on CUDA TorchRec manages ids where the rows lie."""
        fields = ("dim", "dtype", "optimizer", "learning_rate", "eps", "weight_decay", "init_std", "init_uniform")
        given = {name: getattr(self, name) for name in (*fields, "memory", "cache_share", "sharding")}
        chosen = {name: value for name, value in given.items() if value is not None}
        if self.init_uniform is not None and self.init_std is None:
            chosen["init_std"] = None
        if self.ids == "managed":
            chosen["managed"] = ManagedRows(
                eviction=self.eviction, every=self.evict_every, sharded=device_type == "cuda"
            )
        return TableSpec.checked({**table.model_dump(), **chosen})

    @property
    def coding(self) -> IdSettings:
        """How ids become rows."""
        return IdSettings(ids=self.ids, rows=self.rows, hash_seed=self.hash_seed)


def with_codings(spec: FeatureSpec, tables: Mapping[str, TableOverride]) -> FeatureSpec:
    """`spec` with ids and bags coded as `tables` say.

    :raises ConfigError: no such feature, buckets that are no ids, unseen ids to be refused where none is unseen, or a
        bag of managed ids.
    """
    coded = {feature.name: feature for feature in spec.coded}
    for name, table in tables.items():
        if name not in coded:
            raise ConfigError(f"tables.{name}: this run has no such table (tables: {', '.join(coded)})")
        feature = coded[name]
        if isinstance(feature, IdFeature) and feature.buckets is not None and table.ids != "vocabulary":
            raise ConfigError(f"tables.{name}: ids={table.ids}, but its ids are {feature.buckets} quantile buckets")
        if feature.unseen == "reject" and table.ids != "vocabulary":
            raise ConfigError(
                f"tables.{name}: ids={table.ids} gives every id a row, and features.unseen.{name}=reject asks which "
                "ids train held; keep one of them"
            )
        if isinstance(feature, BagFeature) and table.ids == "managed":
            raise ConfigError(f"tables.{name}: ids=managed is for one id a row, and this is a bag; use ids=hash")
    return spec.model_copy(
        update={
            "ids": tuple(_coded(feature, tables) for feature in spec.ids),
            "bags": tuple(_coded(feature, tables) for feature in spec.bags),
        }
    )


def _coded(feature: F, tables: Mapping[str, TableOverride]) -> F:
    if feature.name not in tables:
        return feature
    return feature.model_copy(update={"coding": tables[feature.name].coding})
