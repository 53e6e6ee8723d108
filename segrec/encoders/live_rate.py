"""The one body of ContentCTR and KuaiHL: fitted, frozen, thawed, asked for the rate of each segment."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segrec.encoders.encoder import LiveEncoder, Parts, Withheld
from segrec.encoders.live_batches import LiveBatch, SegmentInputs
from segrec.encoders.live_config import LiveConfig
from segrec.encoders.live_inputs import LiveInputs, content_names
from segrec.encoders.live_known import KnownColumns, KnownState
from segrec.encoders.live_network import LiveNetwork, LiveShape
from segrec.encoders.live_training import (
    batch_loss,
    dense_optimizer,
    is_weighted,
    measures,
    predict_table,
    samples_of,
    training_stream,
)
from segrec.encoders.scales import Scales
from segrec.encoders.streamer_vectors import StreamerVectors
from segrec.fitting import FitResult, Fittable, fit
from segrec.freezing import FrozenEncoder
from segrec.records import DatasetFolder
from segrec.segments.rooms import Rooms
from segrec.tables import Vocabulary, distribute, whole_state

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LiveRateEncoder(LiveEncoder):
    """A fitted encoder of live rooms; score = sigmoid(network.head(network.decoder(network.fuse(segments))))."""

    Config: ClassVar[type[LiveConfig]]
    inputs: LiveInputs
    network: LiveNetwork
    "Undistributed, in evaluation mode."
    shape: LiveShape

    @property
    def config(self) -> LiveConfig:
        """As fitted."""
        return self.inputs.config

    @property
    def target(self) -> str:  # type: ignore[override]
        """As configured."""
        return self.config.target

    @property
    def label_shift(self) -> int:  # type: ignore[override]
        """As configured."""
        return self.config.label_shift

    @classmethod
    def notes(cls, config: LiveConfig, dataset: DatasetFolder) -> list[str]:
        """Says which content the dataset lacks, and which settings had nothing to work on."""
        found, known = content_names(config, dataset), ", ".join(dataset.vector_names()) or "none"
        notes = []
        if config.modalities is None:
            missing = [name for name in ("visual", "text") if name not in found]
            asked = [f"{name} ({getattr(config, name)!r})" for name in missing]
            notes += [f"no segment vectors for {', '.join(asked)} (the dataset has: {known})"] if missing else []
        if config.aligned and len(found) < 2:
            notes.append("no alignment loss: it needs visual and text vectors")
        if config.weighting == "binomial" and dataset.meta.rates[config.target].trials is None:
            notes.append(f"the dataset does not count the trials of {config.target}: segments weigh the same")
        if config.min_viewers is not None and (config.samples == "rooms" or not _counts_viewers(dataset)):
            why = "samples=rooms" if config.samples == "rooms" else "the dataset does not count viewers"
            notes.append(f"min_viewers had no effect: {why}")
        return notes

    @classmethod
    def fit(
        cls, config: LiveConfig, dataset: DatasetFolder, folder: Path, withheld: Withheld | None = None
    ) -> tuple[Self, FitResult]:
        """Fits on the train rooms; the best weights are those with the best `config.monitor` on the valid rooms.

        :raises DataError: no such rate, no vectors that were asked for, no train or valid segment with a known rate.
        """
        train, target = Rooms.with_target(dataset, "train", config.target, config.label_shift, withheld)
        valid, measured = Rooms.with_target(dataset, "valid", config.target, config.label_shift, withheld)
        outside = None if config.streamer_vectors is None else StreamerVectors.read(config.streamer_vectors)
        inputs, table = LiveInputs.learn(config, train, target, Rooms.of(dataset, None, withheld), outside)
        checked = inputs.encode(valid, dataset)
        shape, device = inputs.shape(outside), config.torch_device()
        network = _network(config, shape, "meta")
        if outside is not None and network.outside is not None:
            network.outside.vectors.copy_(torch.from_numpy(outside.matrix))
        specs = shape.table_specs(config)
        module = distribute(network, specs, config.seed, device) if specs else network.to(device)
        samples = samples_of(train, target, config)
        stream = training_stream(table, samples, config, device, banded=config.samples == "rooms")
        weighted = is_weighted(target, config)
        fittable: Fittable[LiveBatch] = Fittable(
            module=module,
            loss=lambda batch: batch_loss(module, batch, config, weighted=weighted),
            optimizer=dense_optimizer(module, config, stream.batches(0) * config.epochs),
            validate=lambda: measures(predict_table(module, checked, device), measured, valid),
            monitor=config.monitor,
            minimize=config.monitor == "NLL",
        )
        result = fit(fittable, stream, config, folder)
        return cls(inputs, _plain(config, shape, whole_state(module)), shape), result

    @classmethod
    def thaw(cls, frozen: FrozenEncoder) -> Self:
        """From a frozen folder."""
        extra, tensors = frozen.meta.extra, frozen.tensors
        config = cls.Config.checked(frozen.meta.config)
        shape = LiveShape(**extra["shape"])

        def scales(name: str) -> Scales:
            return Scales(tensors[f"scales.{name}.means"].numpy(), tensors[f"scales.{name}.deviations"].numpy())

        inputs = LiveInputs(
            config,
            Vocabulary.from_frame(frozen.frames["vocabulary_streamer"]) if shape.streamers else None,
            {name: scales(name) for name in shape.vector_widths},
            None if extra["known"] is None else KnownColumns.of_plain(extra["known"]),
            scales("known"),
            shape.base_logit,
            tuple(shape.side_logits),
        )
        prefix = "network."
        weights = {name.removeprefix(prefix): part for name, part in tensors.items() if name.startswith(prefix)}
        return cls(inputs, _plain(config, shape, weights), shape)

    def parts(self) -> Parts:
        """Weights, scales and vocabulary, by name."""
        inputs = self.inputs
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        for name, scales in {**inputs.content_scales, "known": inputs.known_scales}.items():
            tensors[f"scales.{name}.means"] = torch.from_numpy(scales.means)
            tensors[f"scales.{name}.deviations"] = torch.from_numpy(scales.deviations)
        frames = {} if inputs.streamers is None else {"vocabulary_streamer": inputs.streamers.to_frame()}
        known = None if inputs.columns is None else inputs.columns.plain()
        return Parts(tensors, frames, {"shape": asdict(self.shape), "known": known})

    def predict(self, rooms: Rooms, dataset: DatasetFolder) -> FloatArray:
        """(T,) rates in (0, 1), by banded causal attention over whole runs: what live scoring gives, too."""
        return predict_table(self.network, self.inputs.encode(rooms, dataset), torch.device("cpu"))

    def known_state(self, rooms: int) -> KnownState | None:
        """What is known of `rooms` rooms that run; None when the encoder takes no such inputs."""
        return None if self.inputs.columns is None else KnownState(self.inputs.columns, rooms)

    def segment_inputs(self, *arguments: Any, **named: Any) -> SegmentInputs:
        """See `LiveInputs.segment_inputs`."""
        return self.inputs.segment_inputs(*arguments, **named)


def _counts_viewers(dataset: DatasetFolder) -> bool:
    segments = dataset.segments()
    return segments is not None and "viewers" in segments.collect_schema().names()


def _network(config: LiveConfig, shape: LiveShape, device: str) -> LiveNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return LiveNetwork(config, shape, device)


def _plain(config: LiveConfig, shape: LiveShape, weights: dict[str, Tensor]) -> LiveNetwork:
    network = _network(config, shape, "cpu")
    network.load_state_dict(weights)
    return network.eval()
