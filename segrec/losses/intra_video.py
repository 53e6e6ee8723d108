"""The intra-video loss of SegMM: inside one view, every other segment should score above the skipped one.

Legend: B views, T their segments, one view after the other; a view may be padded: its padding never counts, except
in the released loss.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossScope = Literal["valid", "watched", "all40_bprmax"]


def intra_video_loss(
    scores_T: Tensor,
    view_T: Tensor,
    position_T: Tensor,
    lengths_B: Tensor,
    exits_B: Tensor,
    *,
    scope: LossScope = "valid",
) -> Tensor:
    """Mean over skipped views of - sum_{j != y} ln sigmoid(p_j - p_y) (SegMM, section 4.4).

    `valid`: j runs over the video's own segments; `watched`: over the segments before the skip. Views watched to the
    end hold no skip and do not count. `all40_bprmax` is the authors' released loss, see `released_loss`; it needs
    batches of a fixed number of slots. With no skipped view the loss is 0 (with a gradient of 0).
    """
    if scope == "all40_bprmax":
        slots = scores_T.numel() // max(lengths_B.numel(), 1)
        return released_loss(scores_T.view(-1, slots), exits_B)
    skipped_B = exits_B < lengths_B
    exit_T = exits_B[view_T]
    is_skip_T = position_T == exit_T
    skip_score_B = torch.zeros_like(lengths_B, dtype=scores_T.dtype).index_add(
        0, view_T, torch.where(is_skip_T, scores_T, 0.0)
    )
    counted_T = skipped_B[view_T] & ((position_T < exit_T) if scope == "watched" else ~is_skip_T)
    counted_T &= position_T < lengths_B[view_T]
    losses_T = -F.logsigmoid(scores_T - skip_score_B[view_T])
    return torch.where(counted_T, losses_T, 0.0).sum() / skipped_B.sum().clamp(min=1)


def released_loss(scores_BS: Tensor, exits_B: Tensor) -> Tensor:
    """The authors' code (compute_interest_BPR_all): a BPR-max over all S slots, padding included.

    w = softmax of the other slots' scores; loss = - mean log sum_j w_j sigmoid(p_j - p_y), the sum clamped to
    [1e-8, 1 - 1e-8]. A view watched to the end has the first padding slot as its "skip"; without one it is left out.
    """
    kept = exits_B < scores_BS.shape[1]
    scores_KS, exits_K1 = scores_BS[kept], exits_B[kept].unsqueeze(1)
    if scores_KS.shape[0] == 0:
        return scores_BS.sum() * 0.0
    own_KS = torch.zeros_like(scores_KS, dtype=torch.bool).scatter_(1, exits_K1, True)
    weights_KS = scores_KS.masked_fill(own_KS, -torch.inf).softmax(dim=1)
    wins_KS = torch.sigmoid(scores_KS - scores_KS.gather(1, exits_K1))
    return -(weights_KS * wins_KS).sum(dim=1).clamp(1e-8, 1 - 1e-8).log().mean()
