"""Losses that look at one segment at a time."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

RateWeighting = Literal["none", "binomial"]


def watched_loss(scores_T: Tensor, view_T: Tensor, position_T: Tensor, lengths_B: Tensor, exits_B: Tensor) -> Tensor:
    """Binary cross-entropy of "watched" (1 before the skip, 0 at it), the ablation of SegMM's Fig. 4.

    Mean over the labelled segments of skipped views; segments after the skip have no label, and views watched to the
    end no skip. With no skipped view the loss is 0.
    """
    exit_T = exits_B[view_T]
    labelled_T = (exits_B < lengths_B)[view_T] & (position_T <= exit_T)
    losses_T = F.softplus(torch.where(position_T == exit_T, scores_T, -scores_T))
    return torch.where(labelled_T, losses_T, 0.0).sum() / labelled_T.sum().clamp(min=1)


def rate_loss(
    logits: Tensor,
    rates: Tensor,
    valid: Tensor | None = None,
    trials: Tensor | None = None,
    *,
    weighting: RateWeighting = "none",
    overdispersion: float = 0.0,
) -> Tensor:
    """Weighted mean over segments of - [y log s + (1 - y) log(1 - s)], s = sigmoid(logit), in nats (ContentCTR, Eq. 6).

    All tensors have one shape. A segment counts where `valid` and its rate is known (not NaN). With nothing left the
    loss is 0 (with a gradient of 0).

    `none`: each segment weighs 1, as in the papers. `binomial`: y is a share of n = `trials` draws and weighs
    n / (1 + (n - 1) rho), rho = `overdispersion` in [0, 1]. rho = 0 is the binomial likelihood per trial; rho > 0 is
    the quasi-likelihood of draws that resemble each other (variance s (1 - s) (1 + (n - 1) rho) / n), which keeps the
    largest rooms from deciding alone; rho = 1 is `none` wherever n > 0.

    :raises ValueError: unequal shapes; binomial weighting without trials; rho outside [0, 1]. Whether rates lie in
        [0, 1] is the reader's to check.
    """
    _check_rate_inputs(logits, rates, trials, weighting, overdispersion)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    known = ~rates.isnan() if valid is None else valid & ~rates.isnan()
    weights = known.to(logits.dtype)
    if weighting == "binomial" and trials is not None:
        draws = trials.to(logits.dtype).nan_to_num(0.0)
        weights = torch.where(known, draws / (1 + (draws - 1).clamp(min=0) * overdispersion), 0.0)
    losses = F.binary_cross_entropy_with_logits(
        torch.where(known, logits, 0.0), torch.where(known, rates, 0.5).to(logits.dtype), reduction="none"
    )
    total = weights.sum()
    return (losses * weights).sum() / torch.where(total > 0, total, 1.0)


def _check_rate_inputs(
    logits: Tensor, rates: Tensor, trials: Tensor | None, weighting: RateWeighting, overdispersion: float
) -> None:
    if logits.shape != rates.shape:
        raise ValueError(f"rates must have the logits' shape (found {tuple(rates.shape)}, {tuple(logits.shape)})")
    if weighting not in get_args(RateWeighting):
        raise ValueError(f"weighting must be one of {get_args(RateWeighting)} (found {weighting!r})")
    if weighting == "binomial" and (trials is None or trials.shape != logits.shape):
        found = None if trials is None else tuple(trials.shape)
        raise ValueError(f"binomial weighting needs trials of the logits' shape (found {found})")
    if not 0 <= overdispersion <= 1:
        raise ValueError(f"overdispersion must be in [0, 1] (found {overdispersion})")
