"""Ranks of 0/1 scores drawn by chance, in exact expectation: how the SegMM paper's position priors were measured.

Each candidate's score is 1 ("viewed") with its own probability, else 0; scores of 0 come first, ties in random order.
Let Z be the number of zeros among the other M - 1 candidates. A target of 0 takes any place 1 .. Z + 1, a target of 1
any place Z + 1 .. M. Z is a sum of independent draws, so its distribution is a product of two-term polynomials.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segrec.metrics.binary_outcomes import Values, as_tensor


@dataclass(frozen=True)
class PlaceShares:
    """How likely each target is at each place."""

    shares: Tensor
    "(R, S) float64, P(place = column + 1)."

    def hit(self, cutoff: int) -> Tensor:
        """(R,) HR@K of each view."""
        return self.shares[:, :cutoff].sum(dim=1)

    def ndcg(self, cutoff: int) -> Tensor:
        """(R,) NDCG@K of each view."""
        kept = self.shares[:, :cutoff]
        return kept @ (1.0 / torch.log2(torch.arange(2, 2 + kept.shape[1], dtype=torch.float64, device=kept.device)))


def bernoulli_places(viewed: Values, targets: Values, candidates: Values) -> PlaceShares:
    """Places of targets (R,) among the first `candidates` (R,) slots; a slot scores 1 with probability viewed (R, S).

    :raises ValueError: probabilities outside [0, 1] or NaN, a target outside its candidates.
    """
    probability = as_tensor(viewed).double()
    target, count = (as_tensor(values).to(probability.device, torch.int64) for values in (targets, candidates))
    if not bool(((probability >= 0) & (probability <= 1)).all()):
        raise ValueError("view probabilities must lie in [0, 1]")
    if bool(((target < 0) | (target >= count) | (count > probability.shape[1])).any()):
        raise ValueError(f"targets must lie in 0 .. candidates - 1, candidates in 1 .. {probability.shape[1]}")
    slots = torch.arange(probability.shape[1], device=probability.device)
    others = (slots < count[:, None]) & (slots != target[:, None])
    zeros = _zeros(torch.where(others, 1.0 - probability, 0.0))
    own = probability.gather(1, target[:, None])
    left = (count[:, None] - slots).clamp(min=1)
    first_z = zeros / (slots + 1)  # a target of 0 shares places 1 .. z + 1
    early = first_z.flip(1).cumsum(1).flip(1)
    late = (zeros / left).cumsum(1) * (slots < count[:, None])
    return PlaceShares((1.0 - own) * early + own * late)


def _zeros(chances: Tensor) -> Tensor:
    """(R, S) P(Z = z), z = 0 .. S - 1, of a sum of independent zeros with chances (R, S)."""
    counts = torch.zeros_like(chances)
    counts[:, 0] = 1.0
    for slot in range(chances.shape[1]):
        chance = chances[:, slot : slot + 1]
        moved = counts[:, :-1] * chance
        counts *= 1.0 - chance
        counts[:, 1:] += moved
    return counts
