"""The causal decoder over a room's segments: one network, run over windows, whole rooms, or one new segment at a time.

Legend: a run is a stretch of segments without a gap; B windows of n segments, T rows of many runs, M new segments;
d width, h heads, e = d / h.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segrec.layers.banded_attention import Band
from segrec.layers.byte_dropout import ByteDropout
from segrec.layers.decoder_state import DecoderState

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"(layer, query, key, value) -> what the queries found, all (..., d)."


class CausalLayer(nn.Module):
    """x + MHA(LN x), then x + FFN(LN x); with `normed_residual` LN x + MHA(LN x) first, as the authors' code has it."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float, *, normed_residual: bool) -> None:
        super().__init__()
        self.heads, self.normed_residual = heads, normed_residual
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Sequential(nn.Linear(width, width), ByteDropout(dropout))
        self.feedforward_norm = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward), nn.GELU(), ByteDropout(dropout), nn.Linear(feedforward, width),
            ByteDropout(dropout),
        )  # fmt: skip

    def forward(self, x: Tensor, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """(..., d) -> (..., d); `attend` says who looks at whom."""
        normed = self.attention_norm(x)
        found = attend(*self.query_key_value(normed).chunk(3, dim=-1))
        x = (normed if self.normed_residual else x) + self.attention_out(found)
        out: Tensor = x + self.feedforward(self.feedforward_norm(x))
        return out


class CausalDecoder(nn.Module):
    r"""ContentCTR, Algorithm 2, with the mask that its text means: M_ij = 0 for j <= i, -inf for j > i.

    A position sees itself and the `window` - 1 before it in its run, in each layer anew: over whole rooms layer l
    reaches l (window - 1) segments back, over windows of n <= `window` never out of the window. `relative_positions`
    adds a learned number a head and offset i - j to the logits (the paper has no positions at all). Dropout is on the
    probabilities and on both branches.

    :raises ValueError: `width` is no multiple of `heads`, or `window` < 1.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        *,
        window: int,
        feedforward: int,
        dropout: float,
        relative_positions: bool = False,
        normed_residual: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads (found: width {width}, heads {heads})")
        if window < 1:
            raise ValueError(f"window must be at least 1 (found: {window})")
        self.width, self.heads, self.window, self.dropout = width, heads, window, dropout
        self.layers = nn.ModuleList(
            CausalLayer(width, heads, feedforward, dropout, normed_residual=normed_residual) for _ in range(layers)
        )
        shape = (layers, heads, window)
        self.position_bias = nn.Parameter(torch.zeros(shape)) if relative_positions else None
        self.norm = nn.LayerNorm(width)

    def windows(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, n, d) -> (B, n, d), each window by itself; `valid` (B, n) False: padding that nobody else looks at.

        Outputs at padding are finite and mean nothing.
        """
        n = x.shape[1]
        offset = torch.arange(n, device=x.device).unsqueeze(1) - torch.arange(n, device=x.device)
        seen = (offset >= 0) & (offset < self.window)
        if valid is not None:
            seen = (seen & (valid.unsqueeze(1) | (offset == 0))).unsqueeze(1)
        plain = self.position_bias is None and valid is None and n <= self.window

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            mask = None if plain else self._mask(layer, seen, offset, query.dtype)
            query, key, value = (self._split(part).transpose(1, 2) for part in (query, key, value))
            found = F.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=plain, dropout_p=self._dropout
            )
            return found.transpose(1, 2).flatten(2)

        return self._through(x, attend)

    def banded(self, x: Tensor, run_offsets: Tensor) -> Tensor:
        """(T, d) -> (T, d), whole runs: rows run_offsets[u]:run_offsets[u + 1] of x are run u, in time order.

        Memory O(T * window).
        """
        if len(x) == 0:
            return x
        band = Band.of(run_offsets.to(x.device), self.window)

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            bias = self.position_bias
            mask = band.seen.unsqueeze(1) if bias is None else band.bias(bias[layer].to(query.dtype))
            query, key, value = (self._split(part) for part in (query, key, value))
            return band.attend(query, key, value, mask, self._dropout).flatten(1)

        return self._through(x, attend)

    @torch.no_grad()
    def step(self, x: Tensor, state: DecoderState, slots: Tensor) -> Tensor:
        """(M, d) -> (M, d): the next row of the run in each of `slots` (M different ones), O(window) work a row.

        Writes its keys and values into `state`. Equal to that row of `banded` over the whole run; no dropout, no
        gradient.
        """
        turns = state.turns(slots)
        masks, own = self._ring_masks(state, x.dtype).index_select(1, turns), self._own_places(x)

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            state.write(layer, slots, turns, key, value)
            queries, mask = query.unsqueeze(1) * own, masks[layer % len(masks)]
            found = self._split(torch.empty_like(query))
            for part, keys, values in state.held(layer, slots, query.dtype):
                weights = torch.baddbmm(mask[part], queries[part], keys.transpose(1, 2)).softmax(dim=-1)
                of_all = self._split(torch.bmm(weights, values))
                found[part] = of_all.diagonal(dim1=1, dim2=2).transpose(1, 2)
            return found.flatten(1)

        out = self._through(x, attend)
        state.advance(slots)
        return out

    def new_state(
        self, slots: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> DecoderState:
        """Room for `slots` runs at once."""
        return DecoderState.empty(slots, len(self.layers), self.window, self.width, dtype=dtype, device=device)

    @property
    def _dropout(self) -> float:
        return self.dropout if self.training else 0.0

    def _through(self, x: Tensor, attend: Attend) -> Tensor:
        for number, layer in enumerate(self.layers):
            x = layer(x, lambda query, key, value, number=number: attend(number, query, key, value))
        normed: Tensor = self.norm(x)
        return normed

    def _split(self, rows: Tensor) -> Tensor:
        """(..., d) -> (..., h, e)."""
        return rows.view(*rows.shape[:-1], self.heads, self.width // self.heads)

    def _mask(self, layer: int, seen: Tensor, offset: Tensor, dtype: torch.dtype) -> Tensor:
        """`seen` as it is, or with the layer's bias by `offset` (q, k) as a float mask."""
        if self.position_bias is None:
            return seen
        spread = self.position_bias[layer].to(dtype)[:, offset.clamp(0, self.window - 1)]
        return spread.masked_fill(~seen, float("-inf"))

    def _own_places(self, x: Tensor) -> Tensor:
        """(h, d) 1 / sqrt(e) where a head has its e numbers, else 0.

        Times a query, all heads of a row find their keys in one matrix product: for a single query that takes less
        time than h small ones, the zeros included.
        """
        width = self.width // self.heads
        places: Tensor = torch.eye(self.heads, dtype=x.dtype, device=x.device).repeat_interleave(width, dim=1)
        return places / math.sqrt(width)

    def _ring_masks(self, state: DecoderState, dtype: torch.dtype) -> Tensor:
        """(layers, 2 window, h, window), with 1 layer and 1 head where there is no bias: see `DecoderState.ages`."""
        ages = state.ages()
        empty = ages > torch.arange(len(ages), device=ages.device).unsqueeze(1)
        bias = self.position_bias
        spread = ages.new_zeros((1, 1, *ages.shape), dtype=dtype) if bias is None else bias.to(dtype)[:, :, ages]
        return spread.masked_fill(empty, float("-inf")).transpose(1, 2)
