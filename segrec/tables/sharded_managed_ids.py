"""Managed ids on CUDA: TorchRec's managed collisions inside the tables, sharded with them; no remapper in front."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchrec.modules.embedding_configs import BaseEmbeddingConfig
from torchrec.modules.embedding_modules import EmbeddingBagCollection, EmbeddingCollection
from torchrec.modules.mc_embedding_modules import (
    ManagedCollisionEmbeddingBagCollection,
    ManagedCollisionEmbeddingCollection,
)
from torchrec.modules.mc_modules import ManagedCollisionCollection, MCHManagedCollisionModule
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedJaggedTensor, KeyedTensor

from segrec.tables.managed_ids import POLICIES
from segrec.tables.processes import world_size
from segrec.tables.specs import TableSpec

KEY_RANGE = 2**62
"Keys are hashed evenly into [0, 2^62): row-wise shards divide this range."
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_ROUNDS = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
"splitmix64's constants as signed numbers."


class PooledTables(nn.Module):
    """Plain tables and managed ones as one collection: KeyedJaggedTensor -> KeyedTensor by feature name."""

    def __init__(
        self, plain: EmbeddingBagCollection | None, managed: EmbeddingBagCollection, specs: Sequence[TableSpec]
    ) -> None:
        super().__init__()
        self.plain = plain
        ids = _managed_collection(specs, managed.embedding_bag_configs(), managed.device)
        self.managed = ManagedCollisionEmbeddingBagCollection(managed, ids, allow_in_place_embed_weight_update=True)

    def forward(self, features: KeyedJaggedTensor) -> KeyedTensor:
        """Features of both, plain ones first."""
        parts = [self.managed(features)[0]]
        if self.plain is not None:
            parts.insert(0, self.plain(features))
        found = {name: part[name] for part in parts for name in part.keys()}  # noqa: SIM118 (a KeyedTensor is no dict)
        widths = [value.shape[1] for value in found.values()]
        return KeyedTensor(list(found), widths, torch.cat(list(found.values()), dim=1))


class SequenceTables(nn.Module):
    """Plain and managed tables without pooling as one collection: KeyedJaggedTensor -> JaggedTensor by feature name."""

    def __init__(
        self, plain: EmbeddingCollection | None, managed: EmbeddingCollection, specs: Sequence[TableSpec]
    ) -> None:
        super().__init__()
        self.plain = plain
        ids = _managed_collection(specs, managed.embedding_configs(), managed.device)
        self.managed = ManagedCollisionEmbeddingCollection(managed, ids, allow_in_place_embed_weight_update=True)

    def forward(self, features: KeyedJaggedTensor) -> dict[str, JaggedTensor]:
        """Features of both."""
        found: dict[str, JaggedTensor] = {} if self.plain is None else dict(self.plain(features))
        return {**found, **self.managed(features)[0]}


def starting(spec: TableSpec) -> Callable[[Tensor], Tensor]:
    """What TorchRec calls with evicted rows: they start as all rows do."""

    def start(rows: Tensor) -> Tensor:
        if spec.init_uniform is not None:
            return nn.init.uniform_(rows, -spec.init_uniform, spec.init_uniform)
        return nn.init.normal_(rows, 0.0, spec.start_std)

    return start


def hashed_keys(keys: Tensor, size: int) -> Tensor:
    """Keys (n,) int64 -> [0, size), evenly: `id_codes.mixed` with seed 0, of signed numbers, on any device."""
    x = keys + _GAMMA
    for shift, factor in _ROUNDS:
        x = (x ^ _shifted(x, shift)) * factor
    hashes: Tensor = ((x ^ _shifted(x, 31)) & (2**63 - 1)) % size
    return hashes


def _shifted(x: Tensor, by: int) -> Tensor:
    """Right shift that fills with zeros."""
    shifted: Tensor = (x >> by) & (2 ** (64 - by) - 1)
    return shifted


def _managed_collection(
    specs: Sequence[TableSpec], configs: Sequence[BaseEmbeddingConfig], device: torch.device
) -> ManagedCollisionCollection:
    modules = {}
    for spec in specs:
        assert spec.managed is not None
        modules[spec.name] = MCHManagedCollisionModule(
            zch_size=spec.rows,
            device=device,
            eviction_policy=POLICIES[spec.managed.eviction](),
            eviction_interval=spec.managed.every,
            input_hash_size=KEY_RANGE,
            input_hash_func=hashed_keys,
            buckets=world_size(),
        )
    return ManagedCollisionCollection(managed_collision_modules=modules, embedding_configs=configs)
