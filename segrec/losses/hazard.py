"""Discrete-time hazards: a view ends in segment s with probability h_s, given that s was reached."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def hazard_loss(logits_T: Tensor, view_T: Tensor, position_T: Tensor, lengths_B: Tensor, exits_B: Tensor) -> Tensor:
    """Mean over views of - log P(what happened), in nats; h = sigmoid(logit).

    Exit in s: log h_s + sum_{k<s} log(1 - h_k). Watched to the end (exit = length): sum_{k<N} log(1 - h_k), so full
    views count. Segments after the exit say nothing, nor does padding.
    """
    exit_T = exits_B[view_T]
    reached_T = (position_T <= exit_T) & (position_T < lengths_B[view_T])
    losses_T = F.softplus(torch.where(position_T == exit_T, -logits_T, logits_T))
    return torch.where(reached_T, losses_T, 0.0).sum() / max(lengths_B.numel(), 1)
