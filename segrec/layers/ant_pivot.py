"""AntPivot, made causal: segments in chunks, a pivot a chunk, pivots that look at one another (arXiv 2206.04888).

The published network is bidirectional and chunks a whole room by the root of its length. Here nothing looks ahead: the
GRU runs forward, the gate's convolution sees the past, its global state is the running mean, a segment meets the pivots
of FINISHED chunks only, and chunks have a fixed size (the final length of a live room is unknown).

Legend: B rooms of n segments, D width, c chunk size, K chunks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GATE_KERNEL = 15


class AntPivot(nn.Module):
    """Logits of the two inside gates, initial and final; the score of a segment is sqrt(sigmoid(first) sigmoid(last)).

    Runs twice, the second time with chunks shifted by half their size; features are concatenated, gates averaged.
    """

    def __init__(
        self, inputs: int, width: int, *, heads: int, chunk: int, blocks: int = 3, dropout: float = 0.4
    ) -> None:
        super().__init__()
        self.chunk = chunk
        self.project = nn.Linear(inputs, width)
        self.gru = nn.GRU(width, width, num_layers=2, batch_first=True, dropout=dropout)
        self.initial = _InitialGate(width, dropout)
        self.blocks = nn.ModuleList(_PivotBlock(width, heads, dropout) for _ in range(blocks))
        self.internal = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 1))
        "Shared by the blocks and by both passes."
        self.final = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 1))

    def forward(self, inputs_BnI: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n, I) -> (initial, final), each (B, n); padding behind a room changes nothing before it."""
        projected = self.project(inputs_BnI)
        states = self.gru(projected)[0]
        initial = self.initial(states)
        passes = [self._pass(states, initial, shift) for shift in (0, self.chunk // 2)]
        features = torch.cat([found for found, _ in passes], dim=-1)
        gates = torch.stack([gate for _, gate in passes]).mean(dim=0)
        return initial, self.final(features).squeeze(-1) + gates

    def _pass(self, states: Tensor, initial: Tensor, shift: int) -> tuple[Tensor, Tensor]:
        """Features (B, n, D) and the mean internal gate (B, n) of one way of chunking."""
        n = states.shape[1]
        behind = -(n + shift) % self.chunk
        tokens = _chunked(states, shift, behind, self.chunk)
        gate = F.pad(initial, (shift, behind), value=-1e4).view(len(initial), -1, self.chunk)
        pivots = (torch.softmax(gate, dim=-1).unsqueeze(-1) * tokens).sum(dim=2)
        mean = _running_mean(states, shift, behind, self.chunk)
        inside = (gate > -1e4).unsqueeze(-1)
        gates = []
        for block in self.blocks:
            tokens, before = block(tokens, pivots, inside.squeeze(-1))
            internal = self.internal(torch.cat([tokens, before.unsqueeze(2).expand_as(tokens), mean], dim=-1))
            weights = torch.softmax(internal.masked_fill(~inside, -1e4), dim=2)
            pivots = pivots + (weights * tokens).sum(dim=2)
            gates.append(internal.squeeze(-1).flatten(1)[:, shift : shift + n])
        return tokens.flatten(1, 2)[:, shift : shift + n], torch.stack(gates).mean(dim=0)


class _InitialGate(nn.Module):
    """From [x, depthwise convolution over the past, running mean]."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.around = nn.Conv1d(width, width, GATE_KERNEL, groups=width)
        self.out = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 1))

    def forward(self, states: Tensor) -> Tensor:
        """(B, n, D) -> (B, n)."""
        past = self.around(F.pad(states.transpose(1, 2), (GATE_KERNEL - 1, 0))).transpose(1, 2)
        places = torch.arange(1, states.shape[1] + 1, device=states.device, dtype=states.dtype)
        mean = states.cumsum(dim=1) / places[:, None]
        logits: Tensor = self.out(torch.cat([states, past, mean], dim=-1)).squeeze(-1)
        return logits


class _PivotBlock(nn.Module):
    """Pivots of finished chunks look at one another; each chunk then reads [the newest of them, its own past]."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(width))
        "Stands for the pivot before the first chunk."
        self.among_pivots = nn.ModuleList(_causal_layer(width, heads, dropout) for _ in range(2))
        self.in_chunk = nn.ModuleList(_causal_layer(width, heads, dropout) for _ in range(2))

    def forward(self, tokens_BKcD: Tensor, pivots_BKD: Tensor, inside_BKc: Tensor) -> tuple[Tensor, Tensor]:
        """New tokens (B, K, c, D), and the pivot that each chunk began with (B, K, D): that of the chunks before it."""
        rooms, chunks, size, width = tokens_BKcD.shape
        before = torch.cat([self.start.expand(rooms, 1, width), pivots_BKD[:, :-1]], dim=1)
        hidden = _later(chunks, tokens_BKcD.device)
        for layer in self.among_pivots:
            before = layer(before, src_mask=hidden)
        read = torch.cat([before.unsqueeze(2), tokens_BKcD], dim=2).flatten(0, 1)
        hidden, padding = _later(size + 1, tokens_BKcD.device), F.pad(~inside_BKc.flatten(0, 1), (1, 0))
        for layer in self.in_chunk:
            read = layer(read, src_mask=hidden, src_key_padding_mask=padding)
        return read[:, 1:].reshape(rooms, chunks, size, width), before


def _running_mean(states: Tensor, shift: int, behind: int, chunk: int) -> Tensor:
    """(B, K, c, D) mean of the segments so far."""
    places = torch.arange(1, states.shape[1] + 1, device=states.device, dtype=states.dtype)
    mean = states.cumsum(dim=1) / places[:, None]
    return _chunked(mean, shift, behind, chunk)


def _chunked(states: Tensor, shift: int, behind: int, chunk: int) -> Tensor:
    """(B, n, D) -> (B, K, c, D), zeros before and behind."""
    return F.pad(states, (0, 0, shift, behind)).view(len(states), -1, chunk, states.shape[2])


def _later(n: int, device: torch.device) -> Tensor:
    """(n, n) True where a place must not look: ahead."""
    return torch.ones(n, n, dtype=torch.bool, device=device).triu(1)


def _causal_layer(width: int, heads: int, dropout: float) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, batch_first=True, norm_first=True)
