"""What a user's past says about one target: DIN's activation unit, and a softmax over events."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ranking.layers.activations import Activation, Dice
from ranking.layers.feature_embedding import Histories


def masked_softmax(scores_BT: Tensor, valid_BT: Tensor) -> Tensor:
    """Softmax over the valid places of each row, 0 at the others; all 0 where a row has none."""
    scores = scores_BT.float().masked_fill(~valid_BT, torch.finfo(torch.float32).min)
    return torch.softmax(scores, dim=1) * valid_BT


class TargetAttention(nn.Module):
    """sum_t alpha_t h_t, alpha_t = mlp([a, h_t, a - h_t, a * h_t]) (Zhou et al., DIN, KDD 2018, sec. 4.3).

    Without a softmax over t, as in the paper: the sum tells how strong the interest is; `softmax` normalises.
    The first layer's product is taken apart, W [a, h, a - h, a * h] = (W_1 + W_3) a + (W_2 - W_3) h + W_4 (a * h), so
    that the part of a is computed once a row.

    Input: Histories; output (B, C), 0 for a row without events.

    :param widths: hidden layers, at least one
    """

    def __init__(self, width: int, widths: Sequence[int], activation: Activation = Dice, *, softmax: bool) -> None:
        super().__init__()
        self.softmax = softmax
        self.layers = nn.ModuleList(nn.Linear(*sizes) for sizes in pairwise([4 * width, *widths]))
        self.activations = nn.ModuleList(activation(size) for size in widths)
        self.out = nn.Linear(widths[-1], 1)

    def forward(self, histories: Histories) -> Tensor:
        """(B, C)"""
        scores, valid = self.scores(histories), histories.valid
        weights = masked_softmax(scores, valid) if self.softmax else scores * valid
        return (weights[:, :, None] * histories.past).sum(dim=1)

    def scores(self, histories: Histories) -> Tensor:
        """alpha (B, T), before the mask"""
        inner = self._first(histories.target, histories.past)
        for layer, activation in zip([None, *self.layers[1:]], self.activations, strict=True):
            inner = inner if layer is None else layer(inner)
            inner = activation(inner, histories.valid) if isinstance(activation, Dice) else activation(inner)
        out: Tensor = self.out(inner).squeeze(-1)
        return out

    def _first(self, target: Tensor, past: Tensor) -> Tensor:
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        by_target, by_event, by_difference, by_product = first.weight.chunk(4, dim=1)
        of_target = functional.linear(target, by_target + by_difference, first.bias)[:, None]
        of_events = functional.linear(past, by_event - by_difference)
        return of_target + of_events + functional.linear(target[:, None] * past, by_product)
