"""Losses that ask whether the segments of one sample stand in the right order.

Legend: B samples (windows of one room), n segments.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

PairKind = Literal["L0", "L1", "L2", "L3"]
PairReduction = Literal["mean", "sum"]


def pairwise_loss(
    scores_Bn: Tensor,
    targets_Bn: Tensor,
    valid_Bn: Tensor | None = None,
    *,
    kind: PairKind = "L1",
    sigma: float = 10.0,
    reduction: PairReduction = "mean",
) -> Tensor:
    """Mean (or sum) over the kept pairs of log(1 + exp(-sigma (s_i - s_j))) (ContentCTR section 3.4, KuaiHL Eq. 5).

    Pairs are (i, j) of one sample with y_i > y_j, both valid, both targets known (not NaN). With ds = s_i - s_j and
    dy = y_i - y_j, `L0` keeps all of them, `L1` those with ds <= dy (the boundary: a pair further apart than its
    targets is left alone), `L2` those with ds <= 0, `L3` those with 0 < ds < dy. Which pairs are kept has no gradient.
    Scores are probabilities, for dy to be on their scale. With no pair kept the loss is 0 (with a gradient of 0).

    :raises ValueError: unequal shapes, an unknown kind or reduction, sigma not above 0.
    """
    if scores_Bn.ndim != 2 or scores_Bn.shape != targets_Bn.shape:
        raise ValueError(
            f"scores and targets must both be (B, n) (found {tuple(scores_Bn.shape)}, {tuple(targets_Bn.shape)})"
        )
    if kind not in get_args(PairKind) or reduction not in get_args(PairReduction) or sigma <= 0:
        raise ValueError(
            f"kind must be one of {get_args(PairKind)}, reduction one of {get_args(PairReduction)}, sigma above 0 "
            f"(found {kind!r}, {reduction!r}, {sigma})"
        )
    known_Bn = ~targets_Bn.isnan() if valid_Bn is None else valid_Bn & ~targets_Bn.isnan()
    scores_Bn = torch.where(known_Bn, scores_Bn, 0.0)
    ds_Bnn = scores_Bn.unsqueeze(2) - scores_Bn.unsqueeze(1)
    dy_Bnn = targets_Bn.unsqueeze(2) - targets_Bn.unsqueeze(1)
    kept_Bnn = (dy_Bnn > 0) & _inside(ds_Bnn.detach(), dy_Bnn, kind) & known_Bn.unsqueeze(2) & known_Bn.unsqueeze(1)
    total = torch.where(kept_Bnn, -F.logsigmoid(sigma * ds_Bnn), 0.0).sum()
    return total / kept_Bnn.sum().clamp(min=1) if reduction == "mean" else total


def _inside(ds_Bnn: Tensor, dy_Bnn: Tensor, kind: PairKind) -> Tensor:
    """Which pairs lie on the side of the boundary that `kind` counts."""
    if kind == "L0":
        return torch.ones_like(ds_Bnn, dtype=torch.bool)
    if kind == "L1":
        return ds_Bnn <= dy_Bnn
    if kind == "L2":
        return ds_Bnn <= 0
    return (ds_Bnn > 0) & (ds_Bnn < dy_Bnn)
