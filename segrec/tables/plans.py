"""Plans as files: plan.txt to read, plan.json to read again; a plan taken from a file is checked, not planned anew."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt, PositiveInt, ValidationError
from torch import nn
from torch.distributed._shard.metadata import ShardMetadata
from torchrec.distributed.comm import get_local_size
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.sharding_plan import placement
from torchrec.distributed.types import (
    CacheParams,
    EmbeddingModuleShardingPlan,
    EnumerableShardingSpec,
    ParameterSharding,
    ShardingPlan,
)

from segrec.records import Config, ConfigError, DataError
from segrec.tables.processes import world_size
from segrec.tables.specs import TableSpec
from segrec.tables.starting import table_weights

_COLUMNS = ("table", "rows", "dim", "dtype", "sharding", "kernel", "processes", "MiB")
_ANEW = "leave sharding.plan out to plan anew"


class PlannedShard(Config):
    """Rows and columns of a table that lie on one process."""

    process: NonNegativeInt
    row: NonNegativeInt
    column: NonNegativeInt
    rows: NonNegativeInt
    "0 where a table has fewer rows than there are processes."
    columns: PositiveInt


class PlannedTable(Config):
    """One table of a plan."""

    module: str
    "Where its collection is, by the names of the undistributed module."
    table: str
    rows: PositiveInt
    dim: PositiveInt
    dtype: str
    sharding: str
    kernel: str
    ranks: tuple[NonNegativeInt, ...]
    shards: tuple[PlannedShard, ...]

    @property
    def mib(self) -> float:
        """Of the weights."""
        return self.rows * self.dim * {"float32": 4, "uint8": 1}.get(self.dtype, 2) / 2**20


class StoredPlan(Config):
    """plan.json."""

    processes: PositiveInt
    tables: tuple[PlannedTable, ...]


def plan_of(module: nn.Module) -> StoredPlan:
    """Where each table inside `module` lies, by name."""
    tables = sorted(_tables(module), key=lambda table: table.table)
    return StoredPlan(processes=world_size(), tables=tuple(tables))


def plan_text(module: nn.Module) -> str:
    """Where each table lies, the largest first: name, rows, width, sharding, kernel, processes, size of the weights."""
    lines: list[tuple[str, ...]] = [_COLUMNS]
    for table in sorted(plan_of(module).tables, key=lambda table: -table.mib):
        ranks = ",".join(map(str, table.ranks))
        told = (table.table, table.rows, table.dim, table.dtype, table.sharding, table.kernel, ranks)
        lines.append((*map(str, told), f"{table.mib:.1f}"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def plan_lines(folder: Path, most: int = 8) -> list[str]:
    """The largest tables of `folder`'s plan.txt under its head, and how many more there are."""
    lines = (folder / "plan.txt").read_text(encoding="utf-8").splitlines()
    left = len(lines) - 1 - most
    return lines if left < 2 else [*lines[: most + 1], f"and {left} smaller ones: {folder / 'plan.txt'}"]


def write_plan(module: nn.Module, folder: Path) -> None:
    """plan.txt and plan.json; nothing where the module has no tables."""
    plan = plan_of(module)
    if plan.tables:
        (folder / "plan.txt").write_text(plan_text(module) + "\n", encoding="utf-8")
        (folder / "plan.json").write_text(plan.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_plan(file: str | Path, specs: Sequence[TableSpec], processes: int, device_type: str) -> ShardingPlan:
    """The plan in `file` for `processes`.

    :raises DataError: the file is missing or no plan.
    :raises ConfigError: it was made for another number of processes, or for other tables.
    """
    try:
        stored = StoredPlan.model_validate(json.loads(Path(file).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(file, "is no plan", found=reason, expected="a run's plan.json", fix=_ANEW) from None
    if stored.processes != processes:
        raise ConfigError(
            f"sharding.plan: {file} places tables on {stored.processes} process(es) (now: {processes}); {_ANEW}"
        )
    wanted = {spec.name: (spec.rows, spec.dim) for spec in specs}
    held = {table.table: (table.rows, table.dim) for table in stored.tables}
    for name in sorted(wanted.keys() | held.keys()):
        if wanted.get(name) != held.get(name):
            raise ConfigError(
                f"sharding.plan: {file} has table {name!r} as {_size(held.get(name))}, this run as "
                f"{_size(wanted.get(name))}; {_ANEW}"
            )
    plans: dict[str, EmbeddingModuleShardingPlan] = {}
    by_name = {spec.name: spec for spec in specs}
    for table in stored.tables:
        sharding = _sharding(table, by_name[table.table], device_type)
        plans.setdefault(table.module, EmbeddingModuleShardingPlan())[table.table] = sharding
    return ShardingPlan(plan=dict(plans))


def _tables(module: nn.Module) -> Iterator[PlannedTable]:
    for part in module.modules():
        if not isinstance(part, DistributedModelParallel):
            continue
        weights = table_weights(part.state_dict())
        for path, tables in part.plan.plan.items():
            for name, sharding in tables.items():
                weight = weights[name]
                rows, dim = weight.size()
                yield PlannedTable(
                    module=path, table=name, rows=rows, dim=dim, dtype=str(weight.dtype).removeprefix("torch."),
                    sharding=sharding.sharding_type, kernel=sharding.compute_kernel, ranks=tuple(sharding.ranks or ()),
                    shards=tuple(_shards(sharding)),
                )  # fmt: skip


def _shards(sharding: ParameterSharding) -> Iterator[PlannedShard]:
    found: Any = sharding.sharding_spec
    for shard in found.shards if found is not None else ():
        (row, column), (rows, columns) = shard.shard_offsets, shard.shard_sizes
        yield PlannedShard(process=shard.placement.rank(), row=row, column=column, rows=rows, columns=columns)


def _sharding(table: PlannedTable, spec: TableSpec, device_type: str) -> ParameterSharding:
    local = get_local_size(world_size())
    return ParameterSharding(
        sharding_type=table.sharding,
        compute_kernel=table.kernel,
        ranks=list(table.ranks),
        sharding_spec=EnumerableShardingSpec(
            [
                ShardMetadata(
                    shard_offsets=[shard.row, shard.column],
                    shard_sizes=[shard.rows, shard.columns],
                    placement=placement(device_type, shard.process, local),
                )
                for shard in table.shards
            ]
        ),
        cache_params=CacheParams(load_factor=spec.cache_share) if table.kernel.endswith("caching") else None,
    )


def _size(size: tuple[int, int] | None) -> str:
    return "none" if size is None else f"{size[0]} x {size[1]}"
