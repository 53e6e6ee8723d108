"""The loss of the KuaiLive-M3 highlight benchmark: 1.0 point + 0.5 pair + 0.3 border."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PAIR_GAP = 0.2
"Pairs whose true scores differ by more than this are ordered."
BORDER_STEP = 0.15
"A step between neighbours larger than this makes both of them a border."
PADDING = -1.0
"Score of padded places: the authors' border rule sees it, so the last place of a padded room is a border."


def one_step_highlight_loss(scores_Bn: Tensor, targets_Bn: Tensor, valid_Bn: Tensor) -> Tensor:
    """point: mean squared error over the valid places of the batch. pair: a room's mean of -log sigmoid(p_i - p_j) over
    y_i - y_j > 0.2, averaged over rooms that have such a pair. border: squared error weighted 1, plus 2 for each step
    |y_k - y_(k-1)| > 0.15 at whose side the place lies; sum(weight error^2) / sum(weight).

    :param targets_Bn: y in [0, 1]; what stands at invalid places is left aside.
    """
    targets_Bn = torch.where(valid_Bn, targets_Bn, PADDING)
    error = torch.where(valid_Bn, (scores_Bn - targets_Bn) ** 2, 0.0)
    point = error.sum() / valid_Bn.sum().clamp(min=1)
    weight = torch.where(valid_Bn, _border_weights(targets_Bn), 0.0)
    border = (weight * error).sum() / weight.sum().clamp(min=1e-12)
    return point + 0.5 * _pairs(scores_Bn, targets_Bn, valid_Bn) + 0.3 * border


def _border_weights(targets_Bn: Tensor) -> Tensor:
    steps = ((targets_Bn[:, 1:] - targets_Bn[:, :-1]).abs() > BORDER_STEP).to(targets_Bn.dtype) * 2
    return 1 + F.pad(steps, (1, 0)) + F.pad(steps, (0, 1))


def _pairs(scores_Bn: Tensor, targets_Bn: Tensor, valid_Bn: Tensor) -> Tensor:
    both = valid_Bn[:, :, None] & valid_Bn[:, None, :]
    ordered = both & (targets_Bn[:, :, None] - targets_Bn[:, None, :] > PAIR_GAP)
    cost = F.softplus(scores_Bn[:, None, :] - scores_Bn[:, :, None])
    counts = ordered.sum(dim=(1, 2))
    means = torch.where(ordered, cost, 0.0).sum(dim=(1, 2)) / counts.clamp(min=1)
    return means.sum() / (counts > 0).sum().clamp(min=1)
