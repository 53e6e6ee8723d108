"""Settings of the encoders that predict a rate of each segment of a live room (ContentCTR, KuaiHL)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from segrec.fitting import FitConfig
from segrec.layers.segment_fusion import FusionKind
from segrec.losses.time_orders import Omega

Share = Annotated[float, Field(ge=0, lt=1)]
Modality = Literal["item", "visual", "text"]
PairLoss = Literal["none", "L0", "L1", "L2", "L3"]
AlignKind = Literal["none", "dtw", "mtam", "mtam_released"]

PAPER: Mapping[str, Any] = {
    "width": 512,
    "heads": 8,
    "fusion_layers": 3,
    "layers": 3,
    "dropout": 0.0,
    "relative_positions": False,
    "samples": "windows",
    "batch_size": 48,
    "epochs": 12,
    "patience": None,
    "learning_rate": 5e-5,
    "schedule": "constant",
    "weight_decay": 0.0,
    "clip_norm": None,
    "weight_point": 0.65,
    "weight_align": 0.15,
    "weight_pair": 0.2,
    "weight_side": 0.0,
    "pair": "L1",
    "weighting": "none",
    "min_viewers": 60,
    "known": False,
    "vector_scaling": "none",
    "min_count": 1,
    "hide_ids": 0.0,
    "monitor": "tau_room",
}
"""Both papers' settings; what they leave open (feed-forward width, dropout, warm-up) is ours."""


class LiveConfig(FitConfig):
    """`variant=paper` sets the fields of `paper`; fields given beside it win."""

    paper: ClassVar[Mapping[str, Any]] = PAPER
    variant: Literal["default", "paper"] = "default"

    target: str = "ctr"
    "Rate of the dataset that scores stand for."
    label_shift: Literal[0, 1] = 0
    "0: the rate of the segment itself; 1: of the next one."

    batch_size: PositiveInt = 8
    "Samples of one step: windows, or pieces of rooms."
    epochs: PositiveInt = 16
    patience: PositiveInt | None = 4
    learning_rate: PositiveFloat = 1e-3
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    "one_cycle: AdamW whose rate rises over the first tenth of all steps, then falls; constant: Adam(W) as it is."
    weight_decay: NonNegativeFloat = 1e-2
    clip_norm: PositiveFloat | None = 1.0
    monitor: Literal["NLL", "tau_room"] = "NLL"
    "What decides on the best weights: binomial NLL of the valid segments, or tau within the valid rooms."
    precision: Literal["fp32", "bf16"] = "fp32"
    "bf16: autocast in training; scoring is fp32."

    modalities: tuple[Modality, ...] | None = None
    "What stands for a segment, of item (the streamer), visual, text; null: the streamer and the vectors at hand."
    visual: str = "visual"
    "Name of the dataset's segment vectors that are the visual token (feature_128 of KuaiLive-M3 fits here)."
    text: str = "text"
    "Name of the segment vectors that are the text token."
    vector_scaling: Literal["standard", "none"] = "standard"
    "standard: each dimension by its mean and deviation over the train segments."
    streamer_vectors: Path | None = None
    "Parquet file with author_id and vector (list of floats): frozen, instead of a trained row for each streamer."

    fusion: FusionKind = "perceiver"
    width: Annotated[int, Field(gt=0, multiple_of=4)] = 64
    heads: PositiveInt = 4
    fusion_layers: PositiveInt = 1
    layers: PositiveInt = 2
    "Of the causal decoder."
    feedforward: PositiveInt | None = None
    "Inside the feed-forward layers; null: 4 x width."
    dropout: Share = 0.2
    window: Annotated[int, Field(ge=2)] = 20
    "Segments that a decoder layer looks at, the current one included; length of a sample of `windows`."
    relative_positions: bool = True
    "A learned attention bias for each offset in time; the papers have no positions."
    share_fusion: bool = False
    "One set of weights for all fusion layers."
    normed_residual: bool = False
    "The residual adds the normalised query, as in the authors' code; else textbook pre-LN."

    known: bool = True
    "Inputs from what is known so far: past rates of the room and its streamer, counters, time since the start."
    min_count: PositiveInt = 1
    "Streamers with fewer train rooms share the row of unseen ones."
    hide_ids: Share = 0.1
    "Share of streamers that look unseen in a training step, so that unseen ones mean something."
    id_learning_rate: PositiveFloat = 0.1
    "Row-wise Adagrad of the streamers' table."

    samples: Literal["rooms", "windows"] = "rooms"
    "windows: each run of `window` segments is a sample, stride 1; rooms: whole rooms, cut at `piece` windows."
    piece: PositiveInt = 6
    "Longest piece of a room, in windows (samples=rooms)."
    min_viewers: PositiveInt | None = None
    "Windows whose last segment has fewer viewers are left out of training, where the dataset counts viewers."
    weighting: Literal["binomial", "none"] = "binomial"
    "binomial: the pointwise loss of a segment counts by its trials, where known; none: as in the papers."
    overdispersion: Annotated[float, Field(ge=0, le=1)] = 0.02
    "rho: a segment of n trials weighs n / (1 + (n - 1) rho); 0 = plain binomial (the largest rooms decide)."
    weight_point: NonNegativeFloat = 1.0
    weight_align: NonNegativeFloat = 0.15
    weight_pair: NonNegativeFloat = 0.0
    weight_side: NonNegativeFloat = 2.0
    "Of the side targets: all known rates of this segment and the next, learned beside the score; 0: none."
    pair: PairLoss = "L1"
    sigma: PositiveFloat = 10.0
    align: AlignKind = "none"
    negatives: PositiveInt = 8
    "Shuffled sequences beside each true one in the alignment loss."
    temperature: PositiveFloat = 1.0
    "Of the alignment loss; the papers name none."
    omega: Omega = "all"
    "Which pairs mtam may exchange; upper: text earlier than its frame only, as in the authors' code."
    gamma: PositiveFloat = 0.1
    "Temperature of mtam's draw; the paper names none."

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {**(cls.paper if values.get("variant") == "paper" else {}), **values}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide by heads {self.heads}; choose a multiple")
        if self.modalities is not None and not self.modalities:
            raise ValueError("modalities is empty; name at least one of item, visual, text")
        if self.weight_point == 0 and (self.pair == "none" or self.weight_pair == 0):
            raise ValueError("weight_point and weight_pair are both 0: nothing would be learned of the rate")
        return self

    @property
    def inner_width(self) -> int:
        """Of the feed-forward layers."""
        return self.feedforward or 4 * self.width

    @property
    def aligned(self) -> bool:
        """Whether there is an alignment loss (where there are both modalities)."""
        return self.align != "none" and self.weight_align > 0
