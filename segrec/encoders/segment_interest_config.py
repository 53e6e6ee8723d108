"""Settings of the segment-interest encoder; `variant` names a whole set of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from segrec.fitting import FitConfig
from segrec.layers.hybrid_attention import AttentionMode
from segrec.losses.intra_video import LossScope

Share = Annotated[float, Field(ge=0, lt=1)]

_PAPER: Mapping[str, Any] = {
    "body": "attention",
    "loss": "intra_video",
    "prior_offset": False,
    "context": False,
    "width": 64,
    "dropout": 0.1,
    "hide_ids": 0.0,
    "min_count": 1,
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "schedule": "constant",
    "batch_size": 1024,
    "epochs": 30,
    "patience": 10,
    "history_views": 50,
    "history_segments": 20,
}

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "hazard": {},
    "paper": _PAPER,
    "released": {
        **_PAPER,
        "loss_scope": "all40_bprmax",
        "weight_decay": 1e-4,
        "patience": 20,
        "clip_norm": 10.0,
        "position_bias": False,
        "item_position": "linear",
        "discard_last_layer": True,
        "history": "released",
        "history_segments": 100,
        "vector_norm": "l1",
    },
}
"""`hazard`: ours, an exit distribution. `paper`: SegMM as printed. `released`: as the authors' code does it."""


class SegmentInterestConfig(FitConfig):
    """`variant` sets the fields of `VARIANTS[variant]`; fields given beside it win."""

    variant: Literal["hazard", "paper", "released"] = "hazard"

    batch_size: PositiveInt = 512
    epochs: PositiveInt = 10
    learning_rate: PositiveFloat = 2e-3
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    "one_cycle: the rate rises over the first tenth of all steps, then falls to nothing."
    patience: PositiveInt | None = None
    weight_decay: NonNegativeFloat = 1e-2
    "Of the dense part (AdamW)."

    modalities: Literal["id", "visual", "both"] = "both"
    "What stands for a segment: ids, content vectors, or both; a dataset without vectors falls back to ids."
    vectors: str = "visual"
    "Name of the dataset's segment vectors."
    vector_norm: Literal["l2", "l1", "none"] = "l2"
    "Each vector is divided by this norm; the authors' features by L1."

    body: Literal["mlp", "attention"] = "mlp"
    "attention: the paper's encoder. mlp: context, ids and history -> one hidden vector a view, joined to each segment."
    attention: AttentionMode = "hybrid"
    "Who looks at whom (body attention): both sides, own side only, other side only, or no encoder at all."
    width: Annotated[int, Field(gt=0, multiple_of=8)] = 128
    layers: PositiveInt = 6
    heads: PositiveInt = 2
    inner_width: PositiveInt | None = None
    "Inside the feed-forward layers; null: `width`, as in the authors' code."
    dropout: Share = 0.3
    attention_dropout: Share = 0.0
    "On attention probabilities; above 0 the fused kernels do not run."
    fusion_heads: PositiveInt = 2
    "Heads of the bilinear fusion of two modalities."
    squash_fusion: bool = False
    "Eq. 6's sigmoid around the fusion; it would hold all differences below 1."
    discard_last_layer: bool = False
    "As released: the last layer's output is thrown away."

    position_bias: bool = True
    "Eq. 7: a weight times the position, plus a bias, on each score."
    bias_per_slot: bool = False
    "A weight and a bias of its own for each position, as in the authors' code."
    item_position: Literal["embedding", "linear", "none"] = "embedding"
    "The position half of a segment's id representation; linear: of the raw index, as released."

    loss: Literal["hazard", "intra_video", "bce"] = "hazard"
    "hazard: likelihood of the exit, full views included; the others rank only."
    loss_scope: LossScope = "valid"
    "Which segments compete with the skipped one in `intra_video`."

    prior_offset: bool = True
    "Starts each segment at the log-odds of the smoothed (length, position) hazard (loss hazard only)."
    context: bool = True
    "Context, user and item side features, exit counts of item, author and page, and what past views showed."
    page: str = "tab"
    "Context column whose equal value makes a past view one of the same page; ignored where there is none."
    topic: str = "tag"
    "Item feature whose equal value makes a past view one of the same topic; ignored where there is none."
    history: Literal["as_of", "released"] = "as_of"
    history_views: PositiveInt = 100
    "Newest past views that count."
    history_segments: PositiveInt = 200
    "Newest seen segments with vectors that count."

    id_width: Annotated[int, Field(gt=0, multiple_of=4)] = 8
    "Of user, item and author rows in body mlp (in body attention: `width`)."
    context_width: Annotated[int, Field(gt=0, multiple_of=4)] = 8
    "Of context columns with more than 8 values; others have 4."
    min_count: PositiveInt = 100
    "Ids with fewer training views share the row of unseen ids: counts describe them better than rows of their own."
    hide_ids: Share = 0.1
    "Share of ids that look unseen in a training step, so that unseen ids mean something."
    id_learning_rate: PositiveFloat = 0.02
    "Row-wise Adagrad of all tables."
    id_weight_decay: NonNegativeFloat = 0.0
    folds: Annotated[int, Field(ge=2)] = 5
    "Counts for training views come from the other days, or where there are not 3 to 10 days, from other parts in time."

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {**VARIANTS.get(str(values.get("variant", "hazard")), {}), **values}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide by heads {self.heads}; choose a multiple")
        if self.width % self.fusion_heads:
            raise ValueError(f"width {self.width} does not divide by fusion_heads {self.fusion_heads}")
        if self.prior_offset and self.loss != "hazard":
            raise ValueError(f"prior_offset needs loss hazard (found: {self.loss}); set prior_offset=false")
        if self.loss_scope == "all40_bprmax" and self.loss != "intra_video":
            raise ValueError(f"loss_scope all40_bprmax belongs to loss intra_video (found: {self.loss})")
        return self

    @property
    def padded(self) -> bool:
        """Whether batches hold all slots, padding included: only the released loss looks at padding."""
        return self.loss_scope == "all40_bprmax"

    @property
    def counted(self) -> bool:
        """Whether exit counts are used."""
        return self.prior_offset or self.context

    @property
    def reached_only(self) -> bool:
        """Whether training looks only at segments that were reached: others carry no hazard loss."""
        return self.body == "mlp" and self.loss == "hazard"

    @property
    def calibrated(self) -> bool:
        """Whether it gives an exit distribution, not only an order."""
        return self.loss == "hazard"
