"""TorchRec's planner under our settings: where each table lies, or one line that says why no plan exists."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torchrec.distributed.comm import get_local_size
from torchrec.distributed.embedding import EmbeddingCollectionSharder
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.mc_embedding import ManagedCollisionEmbeddingCollectionSharder
from torchrec.distributed.mc_embeddingbag import ManagedCollisionEmbeddingBagCollectionSharder
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import PlannerError, PlannerErrorType, Stats
from torchrec.distributed.types import CacheParams, ShardingPlan

from segrec.records import ConfigError
from segrec.tables.plans import read_plan
from segrec.tables.sharding import ShardingConfig
from segrec.tables.specs import TableMemory, TableSpec

KERNELS: dict[TableMemory, str] = {"device": "fused", "host": "fused_uvm", "uvm_caching": "fused_uvm_caching"}
PLANNER_ERRORS = (PlannerError, RuntimeError)
"RuntimeError: no kind of sharding and memory is left for a table."
_GIB = 2**30
_CPU_BAG_KINDS = ("table_wise", "column_wise", "table_column_wise")
"What FBGEMM's CPU kernels can cut pooled tables by."


def sharders() -> list[Any]:
    """Of the kinds of collections that `segrec.tables` makes."""
    return [
        EmbeddingBagCollectionSharder(),
        EmbeddingCollectionSharder(),
        ManagedCollisionEmbeddingBagCollectionSharder(),
        ManagedCollisionEmbeddingCollectionSharder(),
    ]


def plan_tables(
    module: nn.Module, specs: Sequence[TableSpec], sharding: ShardingConfig, device: torch.device
) -> ShardingPlan:
    """The plan for the processes that there are; all must call.

    :raises ConfigError: no plan places the tables on them (needed and available memory are named), settings that
        the device or the number of processes cannot serve, or a pinned plan of other tables or another number.
    """
    world = dist.get_world_size()
    check_sharding(specs, sharding, device.type)
    if sharding.plan is not None:
        return read_plan(sharding.plan, specs, world, device.type)
    local = get_local_size(world) if world > 1 else 1
    topology = _topology(sharding, device, world, local)
    planner = planner_of(specs, sharding, topology)
    with quiet():
        try:
            return planner.collective_plan(module, sharders(), dist.group.WORLD)
        except PLANNER_ERRORS as error:
            raise ConfigError(no_plan_reason(error, specs, sharding, topology)) from None


def planner_of(
    specs: Sequence[TableSpec], sharding: ShardingConfig, topology: Topology, stats: list[Stats] | None = None
) -> EmbeddingShardingPlanner:
    """TorchRec's planner for `specs` on `topology`; needs neither devices nor processes."""
    with quiet():
        return EmbeddingShardingPlanner(
            topology=topology,
            batch_size=sharding.rows_per_process,
            storage_reservation=FixedPercentageStorageReservation(sharding.reserved_share),
            constraints={spec.name: _constraints(spec, sharding, topology) for spec in specs},
            stats=stats,
        )


def no_plan_reason(error: Exception, specs: Sequence[TableSpec], sharding: ShardingConfig, topology: Topology) -> str:
    """One line: what the tables need, what there is, and what the planner said."""
    needed, largest = sum(spec.bytes for spec in specs), max(specs, key=lambda spec: spec.bytes)
    storage, processes = topology.devices[0].storage, topology.world_size
    on_cuda = topology.compute_device == "cuda"
    has = f"{(storage.hbm if on_cuda else storage.ddr) / _GIB:.2f} GiB"
    if on_cuda and {"host", "uvm_caching"} & {*sharding.memory, *(spec.memory for spec in specs)}:
        has += f" and {storage.ddr / _GIB:.2f} GiB of the host's"
    needs = (
        f"they need {needed / _GIB:.2f} GiB (the largest, {largest.name!r}, {largest.bytes / _GIB:.2f} GiB), "
        f"{processes} process(es) have {has} each, {sharding.reserved_share:.0%} of it reserved"
    )
    if not isinstance(error, PlannerError) or error.error_type == PlannerErrorType.STRICT_CONSTRAINTS:
        ways = sorted({kind for spec in specs for kind in spec.sharding or sharding.kinds})
        return (
            f"no plan places the tables on {processes} process(es) as the settings want it (sharding: "
            f"{', '.join(ways) or 'any'}): {needs}; allow more kinds of sharding or of memory"
        )
    return f"no plan places the tables: {needs}; use fewer rows, a smaller dim, fp16, host memory or more processes"


def check_sharding(specs: Sequence[TableSpec], sharding: ShardingConfig, device_type: str) -> None:
    """:raises ConfigError: the device has no such memory, or cannot cut a table as its spec wants it."""
    if device_type == "cuda":
        return
    for memory in sharding.memory:
        if memory != "device":
            raise ConfigError(f"sharding.memory: {memory!r} needs CUDA (found device: {device_type}); use [device]")
    for spec in specs:
        wanted = spec.sharding or sharding.kinds
        if spec.pooling != "none" and wanted and not set(wanted) & set(_CPU_BAG_KINDS):
            raise ConfigError(
                f"table {spec.name!r}: sharding {', '.join(wanted)} of a pooled table needs CUDA (found device: "
                f"{device_type}); add table_wise or column_wise"
            )


@contextmanager
def quiet() -> Iterator[None]:
    """TorchRec warns of each sharding that a constraint rules out, and of a topology with memory of our own naming."""
    logger = logging.getLogger("torchrec")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _constraints(spec: TableSpec, sharding: ShardingConfig, topology: Topology) -> ParameterConstraints:
    kinds = list(spec.sharding or sharding.kinds)
    if topology.compute_device == "cpu" and spec.pooling != "none" and kinds:
        kinds = [kind for kind in kinds if kind in _CPU_BAG_KINDS]
    memory = sharding.memory if spec.memory is None else (spec.memory,)
    return ParameterConstraints(
        sharding_types=_kinds(spec, kinds, topology.world_size),
        compute_kernels=[KERNELS[kind] for kind in memory],
        cache_params=CacheParams(load_factor=spec.cache_share) if "uvm_caching" in memory else None,
    )


def _kinds(spec: TableSpec, kinds: Sequence[str], processes: int) -> list[str] | None:
    if spec.managed is not None and spec.managed.sharded:
        return ["row_wise"]  # the only way that TorchRec cuts managed ids
    return ["table_wise"] if processes == 1 else list(kinds) or None


def _topology(sharding: ShardingConfig, device: torch.device, world: int, local: int) -> Topology:
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // local
    if device.type == "cuda":
        own = int(torch.cuda.get_device_properties(device).total_memory)
        caps = {"hbm_cap": _bytes(sharding.device_gib, own), "ddr_cap": _bytes(sharding.host_gib, host)}
    else:
        caps = {"ddr_cap": _bytes(sharding.device_gib, host)}
    with quiet():
        return Topology(world_size=world, local_world_size=local, compute_device=device.type, **caps)


def _bytes(gib: float | None, measured: int) -> int:
    return measured if gib is None else int(gib * _GIB)
