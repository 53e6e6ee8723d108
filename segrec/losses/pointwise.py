"""Losses that look at one segment at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def watched_loss(scores_T: Tensor, view_T: Tensor, position_T: Tensor, lengths_B: Tensor, exits_B: Tensor) -> Tensor:
    """Binary cross-entropy of "watched" (1 before the skip, 0 at it), the ablation of SegMM's Fig. 4.

    Mean over the labelled segments of skipped views; segments after the skip have no label, and views watched to the
    end no skip. With no skipped view the loss is 0.
    """
    exit_T = exits_B[view_T]
    labelled_T = (exits_B < lengths_B)[view_T] & (position_T <= exit_T)
    losses_T = F.softplus(torch.where(position_T == exit_T, scores_T, -scores_T))
    return torch.where(labelled_T, losses_T, 0.0).sum() / labelled_T.sum().clamp(min=1)
