"""DIEN's two recurrent layers: interests behind a user's past events, and how they moved towards one target."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ranking.layers.feature_embedding import Histories
from ranking.layers.target_attention import masked_softmax


class Evolved(NamedTuple):
    """Interests of B rows."""

    states: Tensor
    "s (B, T, C): the interest after each event."
    final: Tensor
    "z (B, C): after the last event; 0 for a row without any."


class InterestEvolution(nn.Module):
    """s = GRU(h), alpha = softmax_t(s_t^T W a) over a row's events, z = AUGRU(s, alpha) (Zhou et al., DIEN, AAAI 2019).

    Padding follows the events, where alpha is 0: there z stays as it is, so the last z is that of the true last event.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.extraction = nn.GRU(width, width, batch_first=True)
        self.turn = nn.Linear(width, width, bias=False)
        "W"
        self.evolution = AttentionalGru(width)

    def forward(self, histories: Histories) -> Evolved:
        """Histories -> (B, T, C), (B, C)"""
        states, _ = self.extraction(histories.past)
        scores = (states @ self.turn(histories.target)[:, :, None].to(states.dtype)).squeeze(-1)
        weights = masked_softmax(scores, histories.valid)
        return Evolved(states, self.evolution(states, weights))


class AttentionalGru(nn.Module):
    """AUGRU, a GRU whose update gate is scaled by attention (DIEN, "Interest Evolving Layer"); z_0 = 0:

    r = sigmoid(W_r s_t + U_r z_{t-1}), u = alpha_t sigmoid(W_u s_t + U_u z_{t-1}), n = tanh(W_n s_t + r * U_n z_{t-1}),
    z_t = (1 - u) z_{t-1} + u n; a bias with each product. The products with s are taken for all t at once.

    Input (B, T, C) and (B, T); output (B, C): z_T.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.entering = nn.Linear(width, 3 * width)
        "W_r, W_u, W_n, one below the other."
        self.staying = nn.Linear(width, 3 * width)
        "U_r, U_u, U_n"

    def forward(self, events: Tensor, weights: Tensor) -> Tensor:
        """(B, T, C), (B, T) -> (B, C)"""
        width = events.shape[-1]
        state = weights.new_zeros(events.shape[0], width)
        for entering, weight in zip(self.entering(events).unbind(1), weights[..., None].unbind(1), strict=True):
            staying = self.staying(state)
            reset, update = torch.sigmoid(entering[:, : 2 * width] + staying[:, : 2 * width]).chunk(2, dim=1)
            candidate = torch.tanh(entering[:, 2 * width :] + reset * staying[:, 2 * width :])
            state = state + weight * update * (candidate - state)
        return state
