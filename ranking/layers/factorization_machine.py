"""The second-order term of a factorization machine."""

from __future__ import annotations

from torch import Tensor


def pairwise_interactions(vectors_FK: Tensor) -> Tensor:
    """sum_{f<g} <e_f, e_g> = 1/2 sum_k [(sum_f e_fk)^2 - sum_f e_fk^2] (Rendle, ICDM 2010, lemma 3.1).

    Input (..., F, k), output (...).
    """
    sums = vectors_FK.sum(dim=-2)
    return 0.5 * (sums.square() - vectors_FK.square().sum(dim=-2)).sum(dim=-1)
