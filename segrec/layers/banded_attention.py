"""Banded causal attention over a long table of runs: memory grows with rows x window, never with rows squared.

Legend: T rows, run after run; h heads, e = width of a head; w = window; a block is c rows, its keys are those c rows
and the w - 1 before them; m blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST_BLOCK = 16
"Below this, the matrix products of a block are too small to be fast."


@dataclass(frozen=True)
class Band:
    """Who may look at whom in a table of runs, block by block; the same for all layers."""

    window: int
    block: int
    rows: int
    seen: Tensor
    "(m, c, c + w - 1) True where the query may look at the key; a query past the table looks at itself."

    @classmethod
    def of(cls, run_offsets: Tensor, window: int) -> Self:
        """`run_offsets` (U + 1,): run u = rows run_offsets[u]:run_offsets[u + 1]; all rows lie in a run."""
        rows, block, device = int(run_offsets[-1]), max(window, _LEAST_BLOCK), run_offsets.device
        blocks = -(-rows // block)
        lengths = run_offsets.diff()
        begins = torch.repeat_interleave(run_offsets[:-1], lengths, output_size=rows)
        query = torch.arange(blocks * block, device=device)
        begins = torch.cat([begins, query[rows:]]).view(blocks, block, 1)
        key = query.view(blocks, block)[:, :1] + torch.arange(1 - window, block, device=device)
        offset = query.view(blocks, block, 1) - key.unsqueeze(1)
        return cls(window, block, rows, (offset >= 0) & (offset < window) & (key.unsqueeze(1) >= begins))

    def bias(self, by_offset: Tensor) -> Tensor:
        """(m, h, c, c + w - 1) float mask: `by_offset` (h, w) where a query may look, else -inf."""
        device = self.seen.device
        offset = torch.arange(self.block, device=device).unsqueeze(1) - torch.arange(
            1 - self.window, self.block, device=device
        )
        spread = by_offset[:, offset.clamp(0, self.window - 1)]
        return spread.unsqueeze(0).masked_fill(~self.seen.unsqueeze(1), float("-inf"))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float = 0.0) -> Tensor:
        """(T, h, e) from queries, keys and values of that shape; `mask` is `seen[:, None]` or `bias(...)`."""
        blocks, heads, width = len(self.seen), query.shape[1], query.shape[2]
        after = blocks * self.block - self.rows
        queries = F.pad(query, (0, 0, 0, 0, 0, after)).view(blocks, self.block, heads, width).transpose(1, 2)
        found = F.scaled_dot_product_attention(
            queries, self._with_past(key, after), self._with_past(value, after), attn_mask=mask, dropout_p=dropout
        )
        return found.transpose(1, 2).reshape(-1, heads, width)[: self.rows]

    def _with_past(self, rows: Tensor, after: int) -> Tensor:
        """(m, h, c + w - 1, e): overlapping stretches of the padded table, a view of it."""
        padded = F.pad(rows, (0, 0, 0, 0, self.window - 1, after))
        return padded.unfold(0, self.block + self.window - 1, self.block).transpose(2, 3)
