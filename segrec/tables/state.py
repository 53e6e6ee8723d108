"""The state of modules with TorchRec tables by plain names: live (sharded, for checkpoints) and whole (for export)."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchrec.distributed.model_parallel import DistributedModelParallel

from segrec.tables.processes import world_size
from segrec.tables.starting import local_shards


def live_state(module: nn.Module, prefix: str = "") -> dict[str, Any]:
    """Parameters and buffers by the names of the undistributed module; writing into a value changes the module.

    Tables are ShardedTensors. Unlike `state_dict` it also names tables right when a distributed module
    lies inside another one.
    """
    if isinstance(module, DistributedModelParallel):
        return {prefix + key: value for key, value in module.state_dict().items()}
    if not any(isinstance(part, DistributedModelParallel) for part in module.modules()):
        return dict(module.state_dict(prefix=prefix))
    state: dict[str, Any] = {}
    module._save_to_state_dict(state, prefix, keep_vars=False)
    for name, child in module.named_children():
        state.update(live_state(child, f"{prefix}{name}."))
    return state


def fused_state(module: nn.Module) -> dict[str, Any]:
    """State of the tables' optimizers (those applied in the backward pass), live, by `TABLE_PARAMETER/STATE`."""
    state: dict[str, Any] = {}
    for path, part in module.named_modules():
        if isinstance(part, DistributedModelParallel):
            prefix = f"{path}." if path else ""
            for parameter, values in part.fused_optimizer.state_dict()["state"].items():
                state.update({f"{prefix}{parameter}/{name}": value for name, value in values.items()})
    return state


@torch.no_grad()
def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights on the CPU, tables unsharded, by plain names: for freezing and export.

    Every process gets all of it; all must call. Load it into the undistributed module with `load_state_dict`.
    """
    return {key: _whole(value) for key, value in live_state(module).items()}


def _whole(value: Any) -> Tensor:
    if not hasattr(value, "local_shards"):
        copied: Tensor = value.detach().to("cpu", copy=True)
        return copied
    whole = torch.zeros(value.size(), dtype=value.dtype)
    for shard, offsets in local_shards(value):
        place = tuple(slice(start, start + size) for start, size in zip(offsets, shard.shape, strict=True))
        whole[place] = shard.cpu()
    if world_size() > 1:
        dist.all_reduce(whole.view(torch.uint8))  # bytes: each belongs to one process, the others add zero
    return whole
