"""A module with tables -> the same module under DistributedModelParallel, its optimizers in the backward pass."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from fbgemm_gpu.split_table_batched_embeddings_ops_training import WeightDecayMode
from torch import nn
from torch.distributed.optim.apply_optimizer_in_backward import _apply_optimizer_in_backward
from torchrec.distributed.comm import get_local_size
from torchrec.distributed.embedding import EmbeddingCollectionSharder
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import PlannerError
from torchrec.distributed.types import ShardingPlan
from torchrec.optim import SGD, Adagrad, Adam, RowWiseAdagrad

from segrec.records import ConfigError
from segrec.tables.fresh_rows import connect_managed_ids
from segrec.tables.processes import ensure_process_group
from segrec.tables.specs import TableSpec, check_supported
from segrec.tables.starting import matched, start_tables, table_weights

_OPTIMIZERS = {"rowwise_adagrad": RowWiseAdagrad, "adagrad": Adagrad, "sgd": SGD, "adam": Adam}
_RESERVED_SHARE = 0.15
"Share of memory that the planner leaves to the dense part and to batches."


def distribute(
    module: nn.Module, specs: Sequence[TableSpec], seed: int, device: torch.device | str = "cpu"
) -> DistributedModelParallel:
    """`module` with its tables sharded, started from `seed`, and updated in the backward pass.

    Build the collections inside on the device "meta": their rows are then allocated once, here. Works at one
    process (a group of one is set up when none is there) and under torchrun; the dense part is data parallel.

    :raises ConfigError: a table without a spec or a shard, one that the device cannot train, or too little memory.
    """
    device = torch.device(device)
    _hush()
    check_supported(specs, device.type)
    _apply_optimizers(module, specs)
    ensure_process_group(device)
    sharders = [EmbeddingBagCollectionSharder(), EmbeddingCollectionSharder()]
    plan = _plan(module, specs, sharders, device)
    _check_all_planned(plan, specs)
    world = dist.get_world_size()
    with _quiet():
        distributed = DistributedModelParallel(
            module, device=device, plan=plan, sharders=sharders, init_data_parallel=world > 1
        )
    if world == 1:
        distributed.module.to(device)
    start_tables(distributed.state_dict(), specs, seed)
    connect_managed_ids(distributed, specs, seed)
    return distributed


def plan_text(module: nn.Module) -> str:
    """Where each table lies: name, rows, width, type of sharding, kernel, processes, bytes of the weights."""
    lines = [("table", "rows", "dim", "dtype", "sharding", "kernel", "processes", "MiB")]
    for part in module.modules():
        if not isinstance(part, DistributedModelParallel):
            continue
        weights = table_weights(part.state_dict())
        for tables in part.plan.plan.values():
            for name, sharding in tables.items():
                weight = weights[name]
                rows, dim = weight.size()
                mib = rows * dim * weight.dtype.itemsize / 2**20
                ranks = ",".join(map(str, sharding.ranks or ()))
                kind = str(weight.dtype).removeprefix("torch.")
                line = (name, str(rows), str(dim), kind, sharding.sharding_type, sharding.compute_kernel, ranks)
                lines.append((*line, f"{mib:.1f}"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _apply_optimizers(module: nn.Module, specs: Sequence[TableSpec]) -> None:
    for spec, weight in matched(table_weights(dict(module.named_parameters())), specs):
        settings: dict[str, Any] = {"lr": spec.learning_rate}
        if spec.weight_decay > 0:  # without the mode the kernel ignores the decay
            settings |= {"weight_decay": spec.weight_decay, "weight_decay_mode": WeightDecayMode.L2}
        if spec.optimizer != "sgd":
            settings["eps"] = spec.eps
        _apply_optimizer_in_backward(_OPTIMIZERS[spec.optimizer], [weight], settings)


def _plan(module: nn.Module, specs: Sequence[TableSpec], sharders: list[Any], device: torch.device) -> ShardingPlan:
    world = dist.get_world_size()
    local = get_local_size(world) if world > 1 else 1
    needed, available = sum(spec.bytes for spec in specs), _memory(device, local)
    ways = ["table_wise"] if world == 1 else None
    constraints = {spec.name: ParameterConstraints(sharding_types=ways, compute_kernels=["fused"]) for spec in specs}
    with _quiet():
        caps = {"hbm_cap": available} if device.type == "cuda" else {"ddr_cap": available}
        planner = EmbeddingShardingPlanner(
            topology=Topology(world_size=world, local_world_size=local, compute_device=device.type, **caps),
            storage_reservation=FixedPercentageStorageReservation(_RESERVED_SHARE),
            constraints=constraints,
        )
        try:
            return planner.collective_plan(module, sharders, dist.group.WORLD)
        except PlannerError as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"no plan places the tables: they need {needed / 2**30:.2f} GiB, {world} process(es) have "
                f"{available / 2**30:.2f} GiB each ({reason}); use fewer rows, a smaller dim, fp16 or more processes"
            ) from None


def _check_all_planned(plan: ShardingPlan, specs: Sequence[TableSpec]) -> None:
    planned = {name: sharding for tables in plan.plan.values() for name, sharding in tables.items()}
    for spec in specs:
        sharding = planned.get(spec.name)
        shards = [] if sharding is None or sharding.sharding_spec is None else sharding.sharding_spec.shards
        placed = sum(shard.shard_sizes[0] * shard.shard_sizes[1] for shard in shards)
        if placed != spec.rows * spec.dim:
            raise ConfigError(
                f"table {spec.name!r}: the plan places {placed} of {spec.rows * spec.dim} values; it must be inside "
                "a collection made by segrec.tables.bags or sequences"
            )


def _memory(device: torch.device, local_processes: int) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // local_processes


def _hush() -> None:
    """Silences notes that TorchRec's own calls draw from torch: none is the user's business."""
    for note in ("Please use DTensor instead", "`broadcast_buffers` is deprecated"):
        warnings.filterwarnings("ignore", message=note, category=FutureWarning)
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)


@contextmanager
def _quiet() -> Iterator[None]:
    """TorchRec warns about each sharding that a constraint rules out: the plan says what was chosen."""
    logger = logging.getLogger("torchrec")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
