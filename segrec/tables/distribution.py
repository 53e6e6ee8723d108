"""A module with tables -> the same module under DistributedModelParallel, its optimizers in the backward pass."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from fbgemm_gpu.split_table_batched_embeddings_ops_training import WeightDecayMode
from torch import nn
from torch.distributed.optim.apply_optimizer_in_backward import _apply_optimizer_in_backward
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.types import ShardingPlan
from torchrec.optim import SGD, Adagrad, Adam, RowWiseAdagrad

from segrec.records import ConfigError
from segrec.tables.fresh_rows import connect_managed_ids
from segrec.tables.planning import plan_tables, quiet, sharders
from segrec.tables.processes import ensure_process_group
from segrec.tables.sharding import ShardingConfig
from segrec.tables.specs import TableSpec, check_supported
from segrec.tables.starting import matched, start_tables, table_weights

_OPTIMIZERS = {"rowwise_adagrad": RowWiseAdagrad, "adagrad": Adagrad, "sgd": SGD, "adam": Adam}


def distribute(
    module: nn.Module,
    specs: Sequence[TableSpec],
    seed: int,
    device: torch.device | str = "cpu",
    sharding: ShardingConfig | None = None,
) -> DistributedModelParallel:
    """`module` with its tables sharded, started from `seed`, and updated in the backward pass.

    Build the collections inside on the device "meta": their rows are then allocated once, here. Works at one
    process (a group of one is set up when none is there) and under torchrun; the dense part is data parallel.

    :raises ConfigError: a table without a spec or a shard, one that the device cannot train, too little memory, or
        a plan that the processes cannot serve.
    """
    device = torch.device(device)
    _hush()
    check_supported(specs, device.type)
    apply_optimizers(module, specs)
    ensure_process_group(device)
    plan = plan_tables(module, specs, sharding or ShardingConfig(), device)
    _check_all_planned(plan, specs)
    world = dist.get_world_size()
    with quiet():
        distributed = DistributedModelParallel(
            module, device=device, plan=plan, sharders=sharders(), init_data_parallel=world > 1
        )
    if world == 1:
        distributed.module.to(device)
    start_tables(distributed.state_dict(), specs, seed)
    connect_managed_ids(distributed, specs, seed)
    return distributed


def apply_optimizers(module: nn.Module, specs: Sequence[TableSpec]) -> None:
    """Each table's optimizer goes into its backward pass; the planner counts its state from then on.

    :raises ConfigError: a table without a spec, or a spec without a table.
    """
    for spec, weight in matched(table_weights(dict(module.named_parameters())), specs):
        settings: dict[str, Any] = {"lr": spec.learning_rate}
        if spec.weight_decay > 0:  # without the mode the kernel ignores the decay
            settings |= {"weight_decay": spec.weight_decay, "weight_decay_mode": WeightDecayMode.L2}
        if spec.optimizer != "sgd":
            settings["eps"] = spec.eps
        _apply_optimizer_in_backward(_OPTIMIZERS[spec.optimizer], [weight], settings)


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


def _hush() -> None:
    """Silences notes that TorchRec's own calls draw from torch: none is the user's business."""
    for note in ("Please use DTensor instead", "`broadcast_buffers` is deprecated"):
        warnings.filterwarnings("ignore", message=note, category=FutureWarning)
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
