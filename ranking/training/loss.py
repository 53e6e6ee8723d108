"""The rankers' loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from segrec.tables import world_size


def binary_cross_entropy(logits: Tensor, labels: Tensor, global_rows: int, weights: Tensor | None = None) -> Tensor:
    """Sum over this process's rows of -w (y log p + (1 - y) log(1 - p)), p = sigmoid(logit), over the global rows.

    logits, labels, weights: (B,). The sum is multiplied by the number of processes, because gradients are averaged
    over them: any split of the global batch takes the same step. A process without rows gives 0 with a live graph.
    """
    losses = functional.binary_cross_entropy_with_logits(logits, labels, weight=weights, reduction="sum")
    return losses * (world_size() / global_rows)
