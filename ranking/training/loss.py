"""The rankers' loss."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from segrec.metrics.log_loss import CLIP
from segrec.tables import world_size


def binary_cross_entropy(logits: Tensor, labels: Tensor, global_rows: int, weights: Tensor | None = None) -> Tensor:
    """Sum over this process's rows of -w (y log p + (1 - y) log(1 - p)), p = sigmoid(logit), over the global rows.

    logits, labels, weights: (B,). The sum is multiplied by the number of processes, because gradients are averaged
    over them: any split of the global batch takes the same step. A process without rows gives 0 with a live graph.
    """
    losses = functional.binary_cross_entropy_with_logits(logits, labels, weight=weights, reduction="sum")
    return losses * (world_size() / global_rows)


def mean_cross_entropy(
    rates: npt.NDArray[np.floating], probabilities: npt.NDArray[np.floating], weights: npt.NDArray[np.floating] | None
) -> float:
    """Weighted mean of -(y log p + (1 - y) log(1 - p)) in nats over rates y in [0, 1]; all (n,), n > 0.

    With the number of trials as weight it is the binomial log loss of one trial. p is clipped as in
    `segrec.metrics.log_loss`.
    """
    p = np.clip(probabilities.astype(np.float64), CLIP, 1 - CLIP)
    losses = -(rates * np.log(p) + (1 - rates) * np.log1p(-p))
    return float(np.average(losses, weights=weights))
