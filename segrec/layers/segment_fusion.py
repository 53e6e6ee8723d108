"""Fusion inside one segment: content tokens and the streamer's embedding -> one vector (ContentCTR, Algorithm 1).

Legend: M segments, A query tokens, K key tokens, D width, h heads.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segrec.layers.byte_dropout import ByteDropout

FusionKind = Literal[
    "perceiver",
    "self_attention_plain",
    "self_attention_input",
    "cross_attention_q",
    "cross_attention_kv",
    "cross_attention_qkv",
]


class FusionBlock(nn.Module):
    r"""One layer: h = q + MHA(LN(q), LN(kv), LN(kv)); out = h + FFN(LN(h)).

    One LayerNorm serves query and keys. `normed_residual`: the attention is added to LN(q) instead of q, as in the
    authors' code.
    """

    def __init__(
        self, width: int, heads: int, *, feedforward: int, dropout: float = 0.0, normed_residual: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.normed_residual = heads, normed_residual
        self.norm, self.inner_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.keys_values = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.inner = nn.Sequential(
            nn.Linear(width, feedforward), nn.GELU(), ByteDropout(dropout), nn.Linear(feedforward, width)
        )
        self.dropout = ByteDropout(dropout)

    def forward(self, query_MAD: Tensor, keys_MKD: Tensor) -> Tensor:
        """(M, A, D), (M, K, D) -> (M, A, D)."""
        normed = self.norm(query_MAD)
        keys, values = self.keys_values(self.norm(keys_MKD)).chunk(2, dim=-1)
        attended = F.scaled_dot_product_attention(
            self._heads(self.query(normed)), self._heads(keys), self._heads(values)
        )
        attended = attended.transpose(1, 2).flatten(2)
        kept = normed if self.normed_residual else query_MAD
        hidden = kept + self.dropout(self.out(attended))
        result: Tensor = hidden + self.dropout(self.inner(self.inner_norm(hidden)))
        return result

    def _heads(self, tokens: Tensor) -> Tensor:
        """(M, K, D) -> (M, h, K, D / h)."""
        return tokens.view(*tokens.shape[:2], self.heads, -1).transpose(1, 2)


class SegmentFusion(nn.Module):
    r"""`layers` blocks over the tokens of each segment; x_f content tokens, E_u the streamer (ContentCTR, Table 1).

    | kind | query | keys and values |
    | --- | --- | --- |
    | perceiver | x, starts as E_u | x_f and the current x |
    | self_attention_plain | x, starts as x_f | x |
    | self_attention_input | x, starts as x_f and E_u | x |
    | cross_attention_q | E_u at every layer | x, starts as x_f |
    | cross_attention_kv | x, starts as x_f | E_u at every layer (a single key: its weight is always 1) |
    | cross_attention_qkv | x, starts as E_u | x_f |

    What is left with more than one token is averaged. Without a streamer every kind is self_attention_plain, without
    content self_attention_input. `shared`: one block's weights serve all layers.
    """

    def __init__(
        self,
        kind: FusionKind,
        width: int,
        heads: int,
        layers: int,
        *,
        feedforward: int,
        dropout: float = 0.0,
        normed_residual: bool = False,
        shared: bool = False,
    ) -> None:
        super().__init__()
        self.kind: FusionKind = kind
        self.layers = layers
        self.blocks = nn.ModuleList(
            FusionBlock(width, heads, feedforward=feedforward, dropout=dropout, normed_residual=normed_residual)
            for _ in range(1 if shared else layers)
        )

    def forward(self, content_MKD: Tensor | None, streamer_M1D: Tensor | None) -> Tensor:
        """(M, K, D) content tokens and (M, 1, D) streamer, one of them may be None -> (M, D).

        :raises ValueError: neither is given.
        """
        if content_MKD is None or streamer_M1D is None:
            alone = streamer_M1D if content_MKD is None else content_MKD
            if alone is None:
                raise ValueError("a segment needs content tokens or a streamer (found: neither)")
            return self._self_attention(alone)
        if self.kind == "self_attention_plain":
            return self._self_attention(content_MKD)
        if self.kind == "self_attention_input":
            return self._self_attention(torch.cat([content_MKD, streamer_M1D], dim=1))
        return self._cross_attention(content_MKD, streamer_M1D)

    def _self_attention(self, tokens: Tensor) -> Tensor:
        for layer in range(self.layers):
            tokens = self._block(layer)(tokens, tokens)
        return tokens.mean(dim=1)

    def _cross_attention(self, content: Tensor, streamer: Tensor) -> Tensor:
        state = content if self.kind in ("cross_attention_q", "cross_attention_kv") else streamer
        for layer in range(self.layers):
            block = self._block(layer)
            if self.kind == "perceiver":
                state = block(state, torch.cat([content, state], dim=1))
            elif self.kind == "cross_attention_q":
                state = block(streamer, state)
            elif self.kind == "cross_attention_kv":
                state = block(state, streamer)
            else:
                state = block(state, content)
        return state.mean(dim=1)

    def _block(self, layer: int) -> nn.Module:
        return self.blocks[layer % len(self.blocks)]
