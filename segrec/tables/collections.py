"""Table specs to TorchRec collections: bags (pooled) and sequences (one row an id)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torchrec.modules.embedding_configs import DataType, EmbeddingBagConfig, EmbeddingConfig, PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection, EmbeddingCollection

from segrec.records import ConfigError
from segrec.tables.sharded_managed_ids import PooledTables, SequenceTables, starting
from segrec.tables.specs import TableSpec, check_names
from segrec.tables.starting import start_tables

_C = TypeVar("_C", bound=torch.nn.Module)
_DATA_TYPES = {"fp32": DataType.FP32, "fp16": DataType.FP16, "bf16": DataType.BF16, "int8": DataType.INT8}
_POOLINGS = {"sum": PoolingType.SUM, "mean": PoolingType.MEAN}


def bags(
    specs: Sequence[TableSpec], device: torch.device | str = "meta", seed: int = 0
) -> EmbeddingBagCollection | PooledTables:
    """Tables whose bags are pooled: KeyedJaggedTensor -> KeyedTensor; take features from it by name.

    :param device: "meta" (nothing is allocated) when `distribute` comes next; else rows start here, from `seed`.
    :raises ConfigError: pooling "none", or a name or feature that occurs twice.
    """
    check_names(specs)
    for spec in specs:
        if spec.pooling == "none":
            raise ConfigError(f"table {spec.name!r} has pooling 'none' among bags; choose 'sum' or 'mean'")
    plain, managed = _apart(specs)
    with torch.random.fork_rng(devices=[]):
        if not managed:
            return _started(_bags(specs, device), specs, torch.device(device), seed)
        both = PooledTables(_bags(plain, device) if plain else None, _bags(managed, device), managed)
    return _started(both, specs, torch.device(device), seed)


def sequences(
    specs: Sequence[TableSpec], device: torch.device | str = "meta", seed: int = 0
) -> EmbeddingCollection | SequenceTables:
    """Tables without pooling: KeyedJaggedTensor -> one JaggedTensor a feature.

    :param device: "meta" (nothing is allocated) when `distribute` comes next; else rows start here, from `seed`.
    :raises ConfigError: another pooling, tables of different widths, or a name or feature that occurs twice.
    """
    check_names(specs)
    for spec in specs:
        if spec.pooling != "none":
            raise ConfigError(f"table {spec.name!r} has pooling {spec.pooling!r} among sequences; choose 'none'")
        if spec.dim != specs[0].dim:
            raise ConfigError(
                f"sequence tables must share one width: {specs[0].name!r} has dim {specs[0].dim}, {spec.name!r} has "
                f"{spec.dim}; put them into two collections"
            )
    plain, managed = _apart(specs)
    with torch.random.fork_rng(devices=[]):
        if not managed:
            return _started(_sequences(specs, device), specs, torch.device(device), seed)
        both = SequenceTables(_sequences(plain, device) if plain else None, _sequences(managed, device), managed)
    return _started(both, specs, torch.device(device), seed)


def _apart(specs: Sequence[TableSpec]) -> tuple[list[TableSpec], list[TableSpec]]:
    """Plain tables, and those whose ids TorchRec manages inside them."""
    managed = [spec for spec in specs if spec.managed is not None and spec.managed.sharded]
    return [spec for spec in specs if spec not in managed], managed


def _bags(specs: Sequence[TableSpec], device: torch.device | str) -> EmbeddingBagCollection:
    configs = [EmbeddingBagConfig(**_settings(spec), pooling=_POOLINGS[spec.pooling]) for spec in specs]
    return EmbeddingBagCollection(tables=configs, device=torch.device(device))


def _sequences(specs: Sequence[TableSpec], device: torch.device | str) -> EmbeddingCollection:
    configs = [EmbeddingConfig(**_settings(spec)) for spec in specs]
    return EmbeddingCollection(tables=configs, device=torch.device(device))


def _settings(spec: TableSpec) -> dict[str, Any]:
    return {
        "num_embeddings": spec.rows,
        "embedding_dim": spec.dim,
        "name": spec.name,
        "feature_names": list(spec.features),
        "data_type": _DATA_TYPES[spec.dtype],
        "init_fn": starting(spec) if spec.managed is not None and spec.managed.sharded else _leave,
    }


def _started(collection: _C, specs: Sequence[TableSpec], device: torch.device, seed: int) -> _C:
    if device.type != "meta":
        start_tables(collection.state_dict(), specs, seed)
    return collection


def _leave(weight: Tensor) -> Tensor:
    """Leaves rows as they are: `start_tables` fills them."""
    return weight
