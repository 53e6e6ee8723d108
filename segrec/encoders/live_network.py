"""The network of ContentCTR and KuaiHL: fusion inside each segment, causal decoder over time, one logit a segment.

Legend: M segments, D width, E width of vectors, F columns of what is known, B samples of n segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from segrec.encoders.live_batches import LiveBatch, SegmentInputs
from segrec.encoders.live_config import LiveConfig
from segrec.layers.causal_decoder import CausalDecoder
from segrec.layers.segment_fusion import SegmentFusion
from segrec.tables import UNSEEN, TableSpec, bags

AUTHOR = "author_id"


@dataclass(frozen=True)
class LiveShape:
    """Sizes that the dataset decides."""

    streamers: int
    "Rows of the streamers' table; 0: the streamer is no input."
    streamer_width: int
    "Width of the external streamer vectors; 0: trained rows."
    vector_widths: Mapping[str, int]
    "Of each content modality, in order."
    known_width: int
    base_logit: float
    "Log-odds of the mean rate: where scores start."
    side_logits: Sequence[float] = ()
    "The same of each side target."

    def table_specs(self, config: LiveConfig) -> list[TableSpec]:
        """The streamers' table, where rows are trained."""
        if self.streamers == 0 or self.streamer_width:
            return []
        return [
            TableSpec(
                name="streamer_table",
                rows=self.streamers,
                dim=config.width,
                features=(AUTHOR,),
                init_std=0.02,
                learning_rate=config.id_learning_rate,
            )
        ]


@dataclass(frozen=True)
class LiveOutput:
    """Logits of a batch, and what the other losses look at."""

    logits_Bn: Tensor
    tokens: Mapping[str, Tensor]
    "(M, D) projected content of each modality."
    side_BnS: Tensor | None = None
    "Logits of the side targets, in training."


class LiveNetwork(nn.Module):
    """`fuse` knows nothing of time, `decoder` nothing of content, `head` gives the logit; score = sigmoid(logit)."""

    def __init__(self, config: LiveConfig, shape: LiveShape, device: torch.device | str = "meta") -> None:
        super().__init__()
        self.config, width = config, config.width
        specs = shape.table_specs(config)
        self.tables = bags(specs, device, config.seed) if specs else None
        self.outside = _OutsideStreamers(shape.streamers, shape.streamer_width, width) if shape.streamer_width else None
        self.contents = nn.ModuleDict({name: _Token(size, width) for name, size in shape.vector_widths.items()})
        self.fusion = SegmentFusion(
            config.fusion, width, config.heads, config.fusion_layers, shared=config.share_fusion,
            normed_residual=config.normed_residual, feedforward=config.inner_width, dropout=config.dropout,
        )  # fmt: skip
        self.known = _mlp(shape.known_width, width) if shape.known_width else None
        self.alone = nn.Parameter(torch.zeros(width)) if not shape.streamers and not shape.vector_widths else None
        self.decoder = CausalDecoder(
            width, config.heads, config.layers, window=config.window, feedforward=config.inner_width,
            dropout=config.dropout, relative_positions=config.relative_positions,
            normed_residual=config.normed_residual,
        )  # fmt: skip
        if self.decoder.position_bias is not None:
            _prefer_recent(self.decoder.position_bias)
        self.head = _Score(width, [shape.base_logit])
        self.side = _Logits(width, shape.side_logits) if shape.side_logits else None

    def forward(self, batch: LiveBatch) -> LiveOutput:
        """Logits of the samples; places of padding hold finite numbers that mean nothing."""
        tokens = self._tokens(batch.segments)
        fused_MD = self._fused(batch.segments, tokens)
        if batch.run_offsets is None:
            states_BnD = self.decoder.windows(fused_MD[batch.samples_Bn], batch.valid_Bn)
        else:
            states_BnD = self.decoder.banded(fused_MD, batch.run_offsets)[batch.samples_Bn]
        side_BnS = None if self.side is None or not self.training else self.side(states_BnD)
        return LiveOutput(self.head(states_BnD), tokens, side_BnS)

    def fuse(self, segments: SegmentInputs) -> Tensor:
        """(M, D) what the decoder sees of each segment."""
        return self._fused(segments, self._tokens(segments))

    def _tokens(self, segments: SegmentInputs) -> dict[str, Tensor]:
        return {
            name: token(vectors_ME, present_M)
            for (name, token), vectors_ME, present_M in zip(
                self.contents.items(), segments.contents, segments.present, strict=True
            )
        }

    def _fused(self, segments: SegmentInputs, tokens: Mapping[str, Tensor]) -> Tensor:
        content = torch.stack(list(tokens.values()), dim=1) if tokens else None
        streamer = self._streamer(segments.author_M)
        if content is None and streamer is None:
            assert self.alone is not None
            fused_MD = self.alone.expand(len(segments.author_M), -1)
        else:
            fused_MD = self.fusion(content, None if streamer is None else streamer.unsqueeze(1))
        return fused_MD if self.known is None else fused_MD + self.known(segments.known_MF)

    def _streamer(self, author_M: Tensor) -> Tensor | None:
        shown_M = self._partly_hidden(author_M)
        if self.outside is not None:
            streamer: Tensor = self.outside(shown_M)
            return streamer
        if self.tables is None:
            return None
        lengths = torch.ones(len(shown_M), dtype=torch.int32, device=shown_M.device)
        looked_up = self.tables(KeyedJaggedTensor([AUTHOR], shown_M, lengths=lengths))
        rows: Tensor = looked_up[AUTHOR]
        return rows

    def _partly_hidden(self, author_M: Tensor) -> Tensor:
        """In training a share of the streamers looks unseen, each time others."""
        if not self.training or self.config.hide_ids == 0 or len(author_M) == 0:
            return author_M
        kinds, place_M = torch.unique(author_M, return_inverse=True)
        hidden = torch.rand(len(kinds), device=kinds.device) < self.config.hide_ids
        return torch.where(hidden, UNSEEN, kinds)[place_M]


class _Token(nn.Module):
    """proj1 / proj2: an MLP head of a modality, E -> D; a learned token stands for a missing vector."""

    def __init__(self, vector_width: int, width: int) -> None:
        super().__init__()
        self.head = _mlp(vector_width, width)
        self.missing = nn.Parameter(torch.zeros(width))

    def forward(self, vectors_ME: Tensor, present_M: Tensor) -> Tensor:
        """(M, E), (M,) -> (M, D)."""
        return torch.where(present_M.unsqueeze(1), self.head(vectors_ME), self.missing)


class _OutsideStreamers(nn.Module):
    """Frozen external vectors of streamers -> D; codes without a vector have a row of zeros."""

    def __init__(self, streamers: int, vector_width: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Buffer(torch.zeros(streamers, vector_width))
        self.into = nn.Linear(vector_width, width)

    def forward(self, author_M: Tensor) -> Tensor:
        """(M,) -> (M, D)."""
        projected: Tensor = self.into(self.vectors[author_M])
        return projected


class _Logits(nn.Linear):
    """(..., D) -> (..., S): log-odds of S rates, at first the mean ones for everything."""

    def __init__(self, width: int, base_logits: Sequence[float]) -> None:
        super().__init__(width, len(base_logits))
        nn.init.normal_(self.weight, std=0.02)
        self.bias.data.copy_(torch.tensor(base_logits))

    def forward(self, states: Tensor) -> Tensor:
        """fp32 also under autocast: a logit in bf16 would have steps of 1/128."""
        with torch.autocast(states.device.type, enabled=False):
            return super().forward(states.float())


class _Score(_Logits):
    """(..., D) -> (...): the one logit that is the score."""

    def forward(self, states: Tensor) -> Tensor:
        """Without the last axis."""
        return super().forward(states).squeeze(-1)


@torch.no_grad()
def _prefer_recent(bias_LHW: Tensor) -> None:
    """Heads start with slopes 1, 1/4, 1/16 ... a segment, the last one with none: some look at now, some far back."""
    heads, window = bias_LHW.shape[1:]
    slopes = 4.0 ** -torch.arange(heads, dtype=torch.float32)
    if heads > 1:
        slopes[-1] = 0.0
    bias_LHW.copy_(-slopes[:, None] * torch.arange(window))


def _mlp(inside: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inside, width), nn.GELU(), nn.Linear(width, width))
