"""The segment-interest network: tables, body, position bias, prior offset -> one score a segment.

Legend: B views, T their segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from segrec.encoders.segment_interest_attention import AttentionBody
from segrec.encoders.segment_interest_config import SegmentInterestConfig
from segrec.encoders.segment_interest_mlp import MlpBody
from segrec.layers.bilinear_fusion import PositionBias
from segrec.segments.batching import SegmentBatch
from segrec.tables import UNSEEN, TableSpec, bags

_FEW = 10
_IDS = ("user_id", "item_id", "author_id")


def table_specs(config: SegmentInterestConfig, sizes: Mapping[str, int]) -> list[TableSpec]:
    """One table for each id and context column of `sizes` that the body uses."""
    widths = dict.fromkeys(sizes, config.context_width) | dict.fromkeys(_IDS, config.id_width)
    used = list(sizes)
    if config.body == "attention":
        widths |= {"user_id": config.width, "item_id": config.width // 2}
        used = [name for name in sizes if name != "author_id"] if config.context else ["user_id", "item_id"]
    return [
        TableSpec(
            name=f"{name}_table",
            rows=sizes[name],
            dim=widths[name],
            features=(name,),
            init_std=0.02 if config.body == "attention" else 0.01 if name in _IDS else 0.05,
            learning_rate=config.id_learning_rate,
            weight_decay=config.id_weight_decay if name in _IDS else 0.0,
        )
        for name in used
    ]


class SegmentInterestNetwork(nn.Module):
    """Scores of all segments of a batch: interest, the higher the better; as log-odds of staying with loss hazard."""

    def __init__(
        self,
        config: SegmentInterestConfig,
        specs: Sequence[TableSpec],
        *,
        slots: int,
        dense_width: int,
        known_width: int,
        vector_width: int,
        device: torch.device | str = "meta",
    ) -> None:
        super().__init__()
        self.config = config
        self.tables = bags(specs, device, config.seed)
        self.columns = tuple(spec.features[0] for spec in specs)
        widths = {spec.features[0]: spec.dim for spec in specs}
        if config.body == "attention":
            self.context_columns = tuple(name for name in self.columns if name not in _IDS)
            width = sum(widths[name] for name in self.context_columns) + dense_width if config.context else 0
            self.body: nn.Module = AttentionBody(config, slots, vector_width, width)
        else:
            self.context_columns = self.columns
            self.body = MlpBody(config, slots, vector_width, sum(widths.values()) + dense_width, known_width)
        self.bias = PositionBias(slots, config.bias_per_slot) if config.position_bias else None

    def forward(self, batch: SegmentBatch) -> Tensor:
        """(T,) scores, view after view in the order of the batch (with padding where the batch has it)."""
        looked_up = self.tables(self._ids(batch.ids))
        features = {name: looked_up[name] for name in self.columns}
        context = [*(features[name] for name in self.context_columns), batch.dense_BF]
        if self.config.body == "attention":
            joined = torch.cat(context, dim=1) if self.config.context else None
            scores: Tensor = self.body(batch, features, joined)
        else:
            scores = self.body(batch, torch.cat(context, dim=1))
        if self.bias is not None:
            scores = scores + self.bias(batch.position_T)
        if self.config.prior_offset:
            scores = scores - batch.known_TK[:, 0]
        return scores

    def _ids(self, ids: KeyedJaggedTensor) -> KeyedJaggedTensor:
        """In training a share of the ids looks unseen, each time others."""
        if not self.training or self.config.hide_ids == 0:
            return ids
        values = ids.values()
        hidden = torch.rand(values.shape, device=values.device) < self.config.hide_ids
        shown = torch.where(hidden, UNSEEN, values)
        return KeyedJaggedTensor(ids.keys(), shown, lengths=ids.lengths(), offsets=ids.offsets(), stride=ids.stride())
