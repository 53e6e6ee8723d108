"""`ant_pivot`: AntPivot-causal, text alone, as KuaiHL's table has it: its inside gate regresses the segment's rate.

Differs from arXiv 2206.04888: made causal (see `segrec.layers.ant_pivot`), no audio, no boundary head and no Viterbi
decoding, because nothing is to be cut here. Score = sqrt(sigmoid(initial gate) sigmoid(final gate)); loss = mean of the
two gates' soft cross-entropies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from segrec.encoders.encoder import LiveEncoder, Parts, Withheld
from segrec.encoders.live_batches import Content, LiveBatch, LiveTable, Samples
from segrec.encoders.live_inputs import vector_scales
from segrec.encoders.live_network import LiveOutput
from segrec.encoders.live_training import measures, predict_table, training_stream, with_known_rate
from segrec.encoders.scales import Scales
from segrec.fitting import FitConfig, FitResult, Fittable, fit
from segrec.fitting.one_cycle import OneCycleAdamW
from segrec.freezing import FrozenEncoder
from segrec.layers.ant_pivot import AntPivot
from segrec.losses.pointwise import rate_loss
from segrec.records import DataError, DatasetFolder, SegmentVectors
from segrec.segments.rooms import RateTarget, Rooms

Share = Annotated[float, Field(ge=0, lt=1)]


class AntPivotConfig(FitConfig):
    """The paper has width 512, 8 heads, dropout 0.4, AdamW 1e-4 with decay 5e-5, 25 epochs."""

    target: str = "lvtr"
    "Rate of the dataset that scores stand for."
    label_shift: Literal[0, 1] = 1
    "0: the rate of the segment itself; 1: of the next one."
    text: str = "text"
    "Name of the dataset's segment vectors."
    batch_size: PositiveInt = 16
    "Pieces of rooms in one step."
    epochs: PositiveInt = 25
    patience: PositiveInt | None = 5
    learning_rate: PositiveFloat = 2e-3
    weight_decay: NonNegativeFloat = 1e-2
    clip_norm: PositiveFloat | None = 1.0
    monitor: Literal["NLL", "tau_room"] = "NLL"
    weighting: Literal["binomial", "none"] = "binomial"
    "binomial: a segment counts by its trials, where known; none: as in the papers."
    overdispersion: Annotated[float, Field(ge=0, le=1)] = 0.02
    "rho: a segment of n trials weighs n / (1 + (n - 1) rho)."
    width: Annotated[int, Field(gt=0, multiple_of=4)] = 64
    heads: PositiveInt = 4
    blocks: PositiveInt = 3
    chunk: Annotated[int, Field(ge=2)] = 8
    "Segments of a chunk."
    dropout: Share = 0.2
    piece: PositiveInt = 120
    "Longest piece of a room in training, in segments."

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide by heads {self.heads}; choose a multiple")
        return self


class AntPivotNetwork(nn.Module):
    """AntPivot over batches of rooms."""

    def __init__(self, config: AntPivotConfig, inputs: int, base_logit: float) -> None:
        super().__init__()
        self.pivots = AntPivot(
            inputs, config.width, heads=config.heads, chunk=config.chunk, blocks=config.blocks, dropout=config.dropout
        )
        self.base = nn.Parameter(torch.tensor(base_logit))
        "Added to both gates: scores start at the mean rate."

    def gates(self, batch: LiveBatch) -> tuple[Tensor, Tensor]:
        """Logits of both gates, (B, n)."""
        initial, final = self.pivots(batch.segments.contents[0][batch.samples_Bn])
        return initial + self.base, final + self.base

    def forward(self, batch: LiveBatch) -> LiveOutput:
        """Logits of the score."""
        initial, final = self.gates(batch)
        score = (nn.functional.logsigmoid(initial) + nn.functional.logsigmoid(final)).mul(0.5).exp()
        return LiveOutput(torch.logit(score, eps=1e-6), {})


@dataclass(frozen=True)
class AntPivotEncoder(LiveEncoder):
    """A fitted AntPivot-causal."""

    Config: ClassVar[type[AntPivotConfig]] = AntPivotConfig
    config: AntPivotConfig
    scales: Scales
    network: AntPivotNetwork
    "In evaluation mode."

    @property
    def target(self) -> str:  # type: ignore[override]
        """As configured."""
        return self.config.target

    @property
    def label_shift(self) -> int:  # type: ignore[override]
        """As configured."""
        return self.config.label_shift

    @classmethod
    def fit(
        cls, config: AntPivotConfig, dataset: DatasetFolder, folder: Path, withheld: Withheld | None = None
    ) -> tuple[Self, FitResult]:
        """Fits on the train rooms; the best weights are those with the best `config.monitor` on the valid rooms.

        :raises DataError: no such rate or vectors, or no train or valid segment with a known rate.
        """
        vectors = dataset.vectors(config.text)
        train, target = Rooms.with_target(dataset, "train", config.target, config.label_shift, withheld)
        valid, measured = Rooms.with_target(dataset, "valid", config.target, config.label_shift, withheld)
        scales, device = vector_scales(train, vectors), config.torch_device()
        table, checked = _table(train, vectors, scales, target), _table(valid, vectors, scales)
        network = _network(config, vectors.meta.dim, _base_logit(target)).to(device)
        pieces = with_known_rate(Samples.pieces(train.run_offsets, config.piece), target)
        stream = training_stream(table, pieces, config, device)
        steps = stream.batches(0) * config.epochs
        fittable: Fittable[LiveBatch] = Fittable(
            module=network,
            loss=lambda batch: _loss(network, batch, config),
            optimizer=OneCycleAdamW(
                list(network.parameters()), config.learning_rate, weight_decay=config.weight_decay, steps=steps
            ),
            validate=lambda: measures(predict_table(network, checked, device), measured, valid),
            monitor=config.monitor,
            minimize=config.monitor == "NLL",
        )
        result = fit(fittable, stream, config, folder)
        return cls(config, scales, network.cpu().eval()), result

    @classmethod
    def thaw(cls, frozen: FrozenEncoder) -> Self:
        """From a frozen folder."""
        config, tensors = AntPivotConfig.checked(frozen.meta.config), frozen.tensors
        scales = Scales(tensors["scales.means"].numpy(), tensors["scales.deviations"].numpy())
        network = _network(config, len(scales.means), 0.0)
        weights = {name.removeprefix("network."): part for name, part in tensors.items() if name.startswith("network.")}
        network.load_state_dict(weights)
        return cls(config, scales, network.eval())

    def parts(self) -> Parts:
        """Weights and scales, by name."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors["scales.means"] = torch.from_numpy(self.scales.means)
        tensors["scales.deviations"] = torch.from_numpy(self.scales.deviations)
        return Parts(tensors, {}, {})

    def predict(self, rooms: Rooms, dataset: DatasetFolder) -> npt.NDArray[np.float32]:
        """(T,) rates in (0, 1).

        :raises DataError: the vectors are missing, or have another width than those that it was fitted on.
        """
        vectors = dataset.vectors(self.config.text)
        if vectors.meta.dim != len(self.scales.means):
            raise DataError(
                vectors.folder, "have another width than the encoder's", found=vectors.meta.dim,
                expected=len(self.scales.means), fix="score with the vectors that it was fitted on",
            )  # fmt: skip
        return predict_table(self.network, _table(rooms, vectors, self.scales), torch.device("cpu"))


def _table(rooms: Rooms, vectors: SegmentVectors, scales: Scales, target: RateTarget | None = None) -> LiveTable:
    rows = len(rooms.room)
    return LiveTable(
        contents={"text": Content(vectors, rooms.vector_rows(vectors), scales)},
        author=np.zeros(rows, np.int64),
        known=np.zeros((rows, 0), np.float32),
        run_offsets=rooms.run_offsets,
        target=target,
    )


def _loss(network: AntPivotNetwork, batch: LiveBatch, config: AntPivotConfig) -> Tensor:
    counted = config.weighting == "binomial" and not bool(batch.trials_Bn.isnan().all())

    def of_gate(gate: Tensor) -> Tensor:
        return rate_loss(
            gate, batch.values_Bn, batch.valid_Bn, batch.trials_Bn if counted else None,
            weighting="binomial" if counted else "none", overdispersion=config.overdispersion,
        )  # fmt: skip

    initial, final = network.gates(batch)
    return (of_gate(initial) + of_gate(final)) / 2


def _base_logit(target: RateTarget) -> float:
    rate = float(np.clip(target.values[target.known].mean(), 1e-4, 1 - 1e-4))
    return float(np.log(rate) - np.log1p(-rate))


def _network(config: AntPivotConfig, inputs: int, base_logit: float) -> AntPivotNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return AntPivotNetwork(config, inputs, base_logit)
