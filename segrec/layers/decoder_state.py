"""What a causal decoder remembers of running sequences: a ring of keys and values a layer, in preallocated slots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

_CACHED_BYTES = 2**20
"Keys and values gathered from rings at a time: half of a core's second-level cache, or less."


@dataclass(frozen=True)
class DecoderState:
    """Slot s holds one run; its row n lies at place n % window of the ring, so nothing is ever moved."""

    keys: Tensor
    "(slots, layers, window, d)"
    values: Tensor
    "(slots, layers, window, d)"
    seen: Tensor
    "(slots,) rows of the run so far."

    @classmethod
    def empty(
        cls, slots: int, layers: int, window: int, width: int, *,
        dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
    ) -> Self:  # fmt: skip
        """`dtype` float16 halves the memory; scores then differ in the third digit."""
        shape = (slots, layers, window, width)
        return cls(
            torch.zeros(shape, dtype=dtype, device=device),
            torch.zeros(shape, dtype=dtype, device=device),
            torch.zeros(slots, dtype=torch.int64, device=device),
        )

    @property
    def window(self) -> int:
        """Rows that a ring holds."""
        return self.keys.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return self.keys.nbytes + self.values.nbytes + self.seen.nbytes

    def clear(self, slots: Tensor) -> None:
        """A new run begins in `slots`; what the rings held is not looked at any more."""
        self.seen[slots] = 0

    def ages(self, slots: Tensor) -> Tensor:
        """(M, window) how many rows before the coming one lies what each place will hold once that one is written.

        The coming row has age 0; an age above the rows seen so far marks a place that holds nothing of this run.
        """
        return (self.seen[slots].unsqueeze(1) - torch.arange(self.window, device=slots.device)) % self.window

    def write(self, layer: int, slots: Tensor, key: Tensor, value: Tensor) -> None:
        """Stores the coming row's key and value, (M, d) each."""
        place = self.seen[slots] % self.window
        for ring, row in ((self.keys, key), (self.values, value)):
            ring[slots, layer, place] = row.to(ring.dtype)

    def held(self, layer: int, slots: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values that the rings of `slots` hold, (M, window, d) each."""
        keys, values = (ring[:, layer].index_select(0, slots).to(dtype) for ring in (self.keys, self.values))
        return keys, values

    def parts(self, rows: int) -> list[slice]:
        """Rows of a step cut so that what is gathered from the rings of one part stays in a core's cache."""
        if self.keys.device.type != "cpu":
            return [slice(0, rows)]
        size = max(_CACHED_BYTES // (2 * self.window * self.keys.shape[3] * 4), 1)
        return [slice(first, first + size) for first in range(0, rows, size)]

    def advance(self, slots: Tensor) -> None:
        """The coming row of each slot has been written in all layers."""
        self.seen[slots] += 1
