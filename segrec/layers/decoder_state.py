"""What a causal decoder remembers of running sequences: a ring of keys and values a layer, in preallocated slots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

_CACHED_BYTES = 2**21
"Keys and values gathered from rings at a time: about what stays in a core's own caches."


@dataclass(frozen=True)
class DecoderState:
    """Slot s holds one run; its row n lies at place n % window of the ring, so nothing is ever moved."""

    ring: Tensor
    "(slots, layers, window, 2, d): keys and values side by side, so that one look-up finds both."
    seen: Tensor
    "(slots,) rows of the run so far."

    @classmethod
    def empty(
        cls, slots: int, layers: int, window: int, width: int, *,
        dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
    ) -> Self:  # fmt: skip
        """`dtype` float16 halves the memory; scores then differ in the third digit."""
        return cls(
            torch.zeros((slots, layers, window, 2, width), dtype=dtype, device=device),
            torch.zeros(slots, dtype=torch.int64, device=device),
        )

    @property
    def window(self) -> int:
        """Rows that a ring holds."""
        return self.ring.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return self.ring.nbytes + self.seen.nbytes

    def clear(self, slots: Tensor) -> None:
        """A new run begins in `slots`; what the rings held is not looked at any more."""
        self.seen[slots] = 0

    def ages(self) -> Tensor:
        """(2 window, window) how many rows before the coming one lies what each place holds once that one is written.

        Row p: p rows were seen; all runs that have seen `window` or more are like one that has seen less than twice
        as many. The coming row has age 0; an age above p marks a place that holds nothing of the run.
        """
        places = torch.arange(2 * self.window, device=self.seen.device)
        return (places.unsqueeze(1) - places[: self.window]) % self.window

    def turns(self, slots: Tensor) -> Tensor:
        """(M,) the row of `ages` that each of `slots` is at."""
        seen = self.seen.index_select(0, slots)
        return torch.where(seen < self.window, seen, seen % self.window + self.window)

    def write(self, layer: int, slots: Tensor, turns: Tensor, key: Tensor, value: Tensor) -> None:
        """Stores the coming row's key and value, (M, d) each."""
        place = (slots * self.ring.shape[1] + layer) * self.window + turns % self.window
        self.ring.flatten(0, 2).index_copy_(0, place, torch.stack((key, value), dim=1).to(self.ring.dtype))

    def held(self, layer: int, slots: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Keys and values that the rings of `slots` hold, (part, window, d) each, part after part of M.

        A part is so small that it stays in a core's cache, and each takes the memory of the one before.
        """
        rings, rows = self.ring.flatten(0, 1).flatten(1), slots * self.ring.shape[1] + layer
        size = len(rows)
        if rings.device.type == "cpu":
            size = min(size, max(_CACHED_BYTES // (4 * rings.shape[1]), 1))
        gathered = rings.new_empty(size, rings.shape[1])
        for first in range(0, len(rows), max(size, 1)):
            asked = rows[first : first + size]
            found = torch.index_select(rings, 0, asked, out=gathered[: len(asked)])
            both = found.view(len(asked), *self.ring.shape[2:]).to(dtype)
            yield slice(first, first + len(asked)), both[:, :, 0], both[:, :, 1]

    def advance(self, slots: Tensor) -> None:
        """The coming row of each slot has been written in all layers."""
        self.seen[slots] += 1
