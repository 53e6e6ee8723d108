"""How rows start: from one seed a table, in whole-table order, in place, whatever the plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from segrec.records import ConfigError
from segrec.tables.specs import TableSpec

_BLOCK_ROWS = 16_384


@torch.no_grad()
def start_tables(state: Mapping[str, Any], specs: Sequence[TableSpec], seed: int) -> None:
    """Fills the tables inside `state` (whole or sharded tensors by name, `...TABLE.weight`) in place.

    A block of rows is drawn on the CPU from (seed, table name, block): no table is ever held twice, and a
    process skips the blocks of rows that it does not own.

    :raises ConfigError: a table without a spec, or a spec without a table.
    """
    for spec, weight in matched(table_weights(state), specs):
        for shard, (row, column) in local_shards(weight):
            _start_shard(shard, row, column, spec, seed)


def drawn_rows(spec: TableSpec, seed: int, draw: str, count: int) -> Tensor:
    """`count` rows (count, dim) as a table of `spec` starts with, drawn from (seed, table name, draw)."""
    return _fill(torch.empty(count, spec.dim), spec, _seed_of(seed, spec.name, draw))


def table_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    """The tables among named tensors, by table name.

    :raises ConfigError: one name stands for two tables.
    """
    weights: dict[str, Any] = {}
    for key, value in state.items():
        parts = key.split(".")
        if len(parts) >= 3 and parts[-1] == "weight" and parts[-3] in ("embedding_bags", "embeddings"):
            if parts[-2] in weights:
                raise ConfigError(f"table name {parts[-2]!r} occurs twice in the module; rename one")
            weights[parts[-2]] = value
    return weights


def matched(weights: Mapping[str, Any], specs: Sequence[TableSpec]) -> list[tuple[TableSpec, Any]]:
    """Each spec with its table.

    :raises ConfigError: a table without a spec, a spec without a table, or two specs of one name.
    """
    known = {spec.name: spec for spec in specs}
    if len(known) != len(specs):
        raise ConfigError("two TableSpecs have one name; table names must be unique in a module")
    for name in sorted(weights.keys() ^ known.keys()):
        side = "has no TableSpec" if name in weights else "is not in the module"
        raise ConfigError(f"table {name!r} {side} (tables: {', '.join(sorted(weights)) or 'none'})")
    return [(spec, weights[name]) for name, spec in known.items()]


def local_shards(weight: Any) -> list[tuple[Tensor, tuple[int, ...]]]:
    """This process's parts of a table (or of a vector a row), live, each with its (row, column) offset in the whole."""
    if not hasattr(weight, "local_shards"):
        return [(weight, (0, 0))]
    return [(shard.tensor, tuple(shard.metadata.shard_offsets)) for shard in weight.local_shards()]


def _start_shard(shard: Tensor, row: int, column: int, spec: TableSpec, seed: int) -> None:
    for start, block in _blocks(spec, seed, row, row + shard.shape[0]):
        first, last = max(start, row), min(start + len(block), row + shard.shape[0])
        part = block[first - start : last - start]
        if spec.dtype == "int8":  # never cut by columns: scale and bias belong to the whole row
            part = torch.ops.fbgemm.FloatToFused8BitRowwiseQuantized(part)
        shard[first - row : last - row].copy_(part[:, column : column + shard.shape[1]])


def _blocks(spec: TableSpec, seed: int, first_row: int, end_row: int) -> Iterator[tuple[int, Tensor]]:
    buffer = torch.empty(min(_BLOCK_ROWS, spec.rows), spec.dim)
    for number in range(first_row // _BLOCK_ROWS, -(-end_row // _BLOCK_ROWS)):
        start = number * _BLOCK_ROWS
        block = _fill(buffer, spec, _seed_of(seed, spec.name, str(number)))
        yield start, block[: min(_BLOCK_ROWS, spec.rows - start)]


def _fill(rows: Tensor, spec: TableSpec, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if spec.init_uniform is not None:
        return rows.uniform_(-spec.init_uniform, spec.init_uniform, generator=generator)
    return rows.normal_(0.0, spec.start_std, generator=generator)


def _seed_of(seed: int, table: str, draw: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{table}/{draw}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
