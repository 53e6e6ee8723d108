"""A loss whose parts are watched beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LossParts:
    """What one step minimises, and what it is made of: events and the history of validations name each part."""

    total: Tensor
    "Scalar with a live graph."
    parts: Mapping[str, Tensor]
    "Scalars by name, unweighted; the same names at each step."
