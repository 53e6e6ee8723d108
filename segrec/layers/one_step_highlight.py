"""The four models of the KuaiLive-M3 highlight benchmark: from segments so far to the next one's highlight score.

Source: imgkkk574/KuaiLive-M3, commit 58e8765, folder highlight/. Legend: B rooms of n segments (padding behind), I
inputs, F statistics, D width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

HighlightBody = Literal["mlp", "gru", "causal", "hierarchical"]

LONGEST = 210
"Rows of the learned positions: rooms are cut before that."


class OneStepHighlight(nn.Module):
    """p_t = sigmoid(head(body(x_0 .. x_t))), the score of segment t + 1.

    x = Linear(I, D)(input) + P (learned positions: causal, hierarchical) + gate Linear(F, D)(statistics); gate is
    one number that starts at 0.

    - mlp: LayerNorm, ReLU, dropout of each x alone
    - gru: one-directional
    - causal: `layers` post-norm transformer layers with j <= t
    - hierarchical: one such layer with 0 <= t - j < window, then `layers` with j <= t
    """

    def __init__(
        self,
        body: HighlightBody,
        inputs: int,
        width: int,
        *,
        layers: int,
        heads: int,
        window: int,
        statistics: int = 0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.kind, self.window = body, window
        self.project = nn.Linear(inputs, width)
        self.statistics = nn.Linear(statistics, width) if statistics else None
        self.gate = nn.Parameter(torch.zeros(())) if statistics else None
        with_positions = body in ("causal", "hierarchical")
        self.positions = nn.Parameter(torch.randn(LONGEST, width)) if with_positions else None
        self.plain = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Dropout(dropout)) if body == "mlp" else None
        between = dropout if layers > 1 else 0.0
        self.gru = nn.GRU(width, width, layers, batch_first=True, dropout=between) if body == "gru" else None
        self.local = _layer(width, heads, dropout) if body == "hierarchical" else None
        self.layers = nn.ModuleList(_layer(width, heads, dropout) for _ in range(layers if with_positions else 0))
        self.head = nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, 1), nn.Sigmoid())

    def forward(self, inputs_BnI: Tensor, valid_Bn: Tensor, statistics_BnF: Tensor | None = None) -> Tensor:
        """(B, n) scores in (0, 1); 0 on padding.

        :raises ValueError: rooms longer than the learned positions, or statistics missing or not expected.
        """
        if (self.statistics is None) != (statistics_BnF is None):
            raise ValueError("statistics go together with a model that was made with statistics=F")
        states = self.project(inputs_BnI)
        if self.positions is not None:
            if inputs_BnI.shape[1] > LONGEST:
                raise ValueError(f"rooms have at most {LONGEST} segments (found: {inputs_BnI.shape[1]})")
            states = states + self.positions[: inputs_BnI.shape[1]]
        if self.statistics is not None:
            states = states + self.gate * self.statistics(statistics_BnF)
        scores: Tensor = self.head(self._through(states, valid_Bn)).squeeze(-1)
        return scores * valid_Bn

    def _through(self, states: Tensor, valid_Bn: Tensor) -> Tensor:
        if self.plain is not None:
            alone: Tensor = self.plain(states)
            return alone
        if self.gru is not None:
            found: Tensor = self.gru(states)[0]
            return found
        places = torch.arange(states.shape[1], device=states.device)
        offset = places[:, None] - places[None]
        # A padded position sees itself, so that no softmax is empty; nobody else sees it.
        alone_nn = offset == 0
        if self.local is not None:
            states = self.local(states, src_mask=self._mask(offset < self.window, offset, alone_nn, valid_Bn))
        seen = self._mask(offset >= 0, offset, alone_nn, valid_Bn)
        for layer in self.layers:
            states = layer(states, src_mask=seen)
        return states

    def _mask(self, near_nn: Tensor, offset: Tensor, alone_nn: Tensor, valid_Bn: Tensor) -> Tensor:
        """(B heads, n, n) True = hidden, as PyTorch's layers want it."""
        seen = (near_nn & (offset >= 0)) & (valid_Bn[:, None, :] | alone_nn)
        heads: int = self.layers[0].self_attn.num_heads  # type: ignore[union-attr, assignment]
        return (~seen).repeat_interleave(heads, dim=0)


def _layer(width: int, heads: int, dropout: float) -> nn.TransformerEncoderLayer:
    """Post-norm, ReLU, feed-forward 4 D."""
    return nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, batch_first=True)
