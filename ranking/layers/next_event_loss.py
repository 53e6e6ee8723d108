"""DIEN's auxiliary loss: the interest after an event tells the next event from one of somebody else."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def next_event_loss(states: Tensor, past: Tensor, valid: Tensor) -> Tensor:
    """Mean over rows of mean_t -[log sigmoid(<s_t, h_{t+1}>) + log(1 - sigmoid(<s_t, n_t>))] (DIEN, AAAI 2019).

    n_t is an event of another row of the batch, drawn by torch's generator; where it is equal to h_{t+1} (the same
    ids), or no other row has an event, its term is left out. Rows with fewer than two events count 0. The paper sums
    over t; a mean keeps the weight of the loss apart from the length of histories (the published code takes one too).

    states, past (B, T, C), valid (B, T); output scalar, 0 with a live graph when B is 0 or no row has two events.
    """
    pairs = valid[:, 1:]
    before, after = states[:, :-1].float(), past[:, 1:].float()
    drawn, found = events_of_others(valid)
    drawn, found = drawn[:, 1:], found[:, None] & pairs
    negative = past.flatten(0, 1).index_select(0, drawn.flatten()).view_as(after).float()
    told_apart = found & (negative != after).any(dim=-1)
    losses = functional.softplus(-(before * after).sum(dim=-1)) * pairs
    losses = losses + functional.softplus((before * negative).sum(dim=-1)) * told_apart
    by_row = losses.sum(dim=1) / pairs.sum(dim=1).clamp(min=1)
    return by_row.sum() / max(len(by_row), 1)


def events_of_others(valid: Tensor) -> tuple[Tensor, Tensor]:
    """For each place an event of another row, all with equal chance.

    valid (B, T), True at the first places of each row; output (B, T) int64, places in the flattened (B * T), and (B,)
    whether other rows have any event (else the place means nothing).
    """
    rows, longest = valid.shape
    lengths = valid.sum(dim=1)
    ends = lengths.cumsum(dim=0)
    starts, others = ends - lengths, lengths.sum() - lengths
    draws = torch.rand(rows, longest, device=valid.device) * others[:, None]
    drawn = torch.minimum(draws.long(), (others - 1).clamp(min=0)[:, None])
    drawn = drawn + lengths[:, None] * (drawn >= starts[:, None])
    row = torch.searchsorted(ends, drawn, right=True).clamp(max=max(rows - 1, 0))
    place = (drawn - starts[row]).clamp(min=0, max=longest - 1)
    return row * longest + place, others > 0
