"""Losses that ask whether the segments of one sample stand in the right order.

Legend: B samples (windows of one room), n segments.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

PairKind = Literal["L0", "L1", "L2", "L3"]
PairReduction = Literal["mean", "sum"]
PAIRS_AT_ONCE = 2**21


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
    if scores_Bn.dtype != torch.float64:
        scores_Bn = scores_Bn.float()
    total, pairs = _PairSums.apply(scores_Bn, targets_Bn, known_Bn, kind, sigma)  # type: ignore[no-untyped-call]
    loss: Tensor = total / pairs.clamp(min=1) if reduction == "mean" else total
    return loss


class _PairSums(torch.autograd.Function):
    """Sum of the kept pairs' losses and how many they are, a few samples at a time; only (B, n) stays for backward."""

    @staticmethod
    def forward(  # noqa: PLR0917 (a Function takes its inputs by position)
        ctx: Any, scores_Bn: Tensor, targets_Bn: Tensor, known_Bn: Tensor, kind: PairKind, sigma: float
    ) -> tuple[Tensor, Tensor]:
        samples = max(1, PAIRS_AT_ONCE // max(1, scores_Bn.shape[1] ** 2))
        total, pairs = scores_Bn.new_zeros(()), torch.zeros((), dtype=torch.int64, device=scores_Bn.device)
        slopes = [scores_Bn[:0]]
        for scores, targets, known in zip(
            *(torch.split(whole, samples) for whole in (scores_Bn, targets_Bn, known_Bn)), strict=True
        ):
            scores = torch.where(known, scores, 0.0)
            ds_Bnn = scores.unsqueeze(2) - scores.unsqueeze(1)
            dy_Bnn = targets.unsqueeze(2) - targets.unsqueeze(1)
            kept_Bnn = (dy_Bnn > 0) & _inside(ds_Bnn, dy_Bnn, kind) & known.unsqueeze(2) & known.unsqueeze(1)
            margin_Bnn = ds_Bnn.mul_(sigma)
            total += torch.where(kept_Bnn, -F.logsigmoid(margin_Bnn), 0.0).sum()
            pairs += kept_Bnn.sum()
            pull_Bnn = torch.where(kept_Bnn, torch.sigmoid(-margin_Bnn), 0.0)
            slopes.append((pull_Bnn.sum(dim=1) - pull_Bnn.sum(dim=2)).mul_(sigma))
        ctx.save_for_backward(torch.cat(slopes))
        ctx.mark_non_differentiable(pairs)
        return total, pairs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slopes_Bn,) = ctx.saved_tensors
        return gradient * slopes_Bn, None, None, None, None


def _inside(ds_Bnn: Tensor, dy_Bnn: Tensor, kind: PairKind) -> Tensor:
    """Which pairs lie on the side of the boundary that `kind` counts."""
    if kind == "L0":
        return torch.ones_like(ds_Bnn, dtype=torch.bool)
    if kind == "L1":
        return ds_Bnn <= dy_Bnn
    if kind == "L2":
        return ds_Bnn <= 0
    return (ds_Bnn > 0) & (ds_Bnn < dy_Bnn)
