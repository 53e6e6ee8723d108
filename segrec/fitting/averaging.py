"""The mean over a global batch, whose rows may lie unevenly on the processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from segrec.tables.processes import world_size


def global_mean(total: Tensor, count: Tensor | int) -> Tensor:
    """`total` (this process's sum, scalar, live graph) / number of rows on all processes.

    The result is times the number of processes, because DistributedDataParallel and TorchRec average gradients
    over them: then 1 and N processes take the same step. A process without rows passes 0 and a total of 0 that
    still hangs on the parameters. Nothing counted anywhere: 0.
    """
    processes = world_size()
    if processes == 1 and isinstance(count, int):
        return total / max(count, 1)
    counted = torch.as_tensor(count, dtype=total.dtype, device=total.device).detach().clone()
    if processes > 1:
        dist.all_reduce(counted)
    return total * processes / counted.clamp(min=1)
