"""`highlight_mlp`, `highlight_gru`, `highlight_causal`, `highlight_hierarchical`: the KuaiLive-M3 benchmark's models.

Target, split, inputs, loss and training as in its code (imgkkk574/KuaiLive-M3, commit 58e8765); see
`segrec.segments.m3_highlight` for the score, which looks ahead by construction. Measure them with
`segrec evaluate highlight --protocol kuailive_m3`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from segrec.encoders.encoder import LiveEncoder, Parts, Withheld
from segrec.encoders.highlight_sequences import HighlightSequences, content_at
from segrec.fitting import ArrayStream, FitConfig, FitResult, Fittable, fit
from segrec.fitting.cosine import CosineAdamW
from segrec.freezing import FrozenEncoder
from segrec.layers.one_step_highlight import HighlightBody, OneStepHighlight
from segrec.losses.one_step_highlight import one_step_highlight_loss
from segrec.metrics.average_precision import average_precision
from segrec.metrics.rank_correlation import spearman
from segrec.records import ConfigError, DataError, DatasetFolder
from segrec.segments.m3_highlight import MAX_SEGMENTS, STATISTICS, M3Positions, M3Rooms
from segrec.segments.rooms import NO_ROW, Rooms

FloatArray = npt.NDArray[np.float32]
Inputs = Literal["plain", "es", "stats"]

TARGET = "m3_score"


class OneStepHighlightConfig(FitConfig):
    """Defaults are those of the benchmark's command line; its grid has width 128, 8 heads, 4 layers, window 7."""

    batch_size: PositiveInt = 32
    "Rooms of one step."
    epochs: PositiveInt = 50
    patience: PositiveInt | None = 10
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-4
    clip_norm: PositiveFloat | None = 1.0
    inputs: Inputs = "plain"
    """plain: content. stats: ten statistics instead. es: both. Statistics tell how long the room will be in the end
    (their first column) and are scaled by all rows, as published: fine to reproduce, not for live use."""
    vectors: str = "feature_128"
    "Name of the dataset's segment vectors."
    width: Annotated[int, Field(gt=0, multiple_of=2)] = 256
    heads: PositiveInt = 4
    layers: PositiveInt = 2
    window: PositiveInt = 5
    "Of the hierarchical model's first layer."
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide by heads {self.heads}; choose a multiple")
        return self


class OneStepHighlightEncoder(LiveEncoder):
    """A fitted model of the benchmark. Scores of a room's first 201 segments see all segments so far; later segments
    are scored in pieces of 201 that begin anew (the learned positions end there).
    """

    Config: ClassVar[type[OneStepHighlightConfig]] = OneStepHighlightConfig
    body: ClassVar[HighlightBody]
    target: str = TARGET
    label_shift: int = 1

    def __init__(self, config: OneStepHighlightConfig, vector_width: int, network: OneStepHighlight) -> None:
        self.config, self.vector_width, self.network = config, vector_width, network.eval()

    @classmethod
    def notes(cls, config: OneStepHighlightConfig, dataset: DatasetFolder) -> list[str]:
        """Says when the inputs look ahead."""
        del dataset
        ahead = "its statistics tell the final length of a room, as published: not usable while a room runs"
        return [] if config.inputs == "plain" else [ahead]

    @classmethod
    def fit(
        cls, config: OneStepHighlightConfig, dataset: DatasetFolder, folder: Path, withheld: Withheld | None = None
    ) -> tuple[Self, FitResult]:
        """Fits on the benchmark's train rooms (its own split by start); the best valid mAP decides.

        :raises DataError: no vectors, sessions or counters, or too few rooms.
        :raises ConfigError: cross-fitting, which its own split has no place for.
        """
        if withheld is not None:
            raise ConfigError("highlight_* encoders have the benchmark's own split: they cannot be cross-fitted")
        rooms = M3Rooms.of(dataset)
        vectors = dataset.vectors(config.vectors)
        train, valid = (_positions(rooms, name, dataset) for name in ("train", "valid"))
        learned, checked = (
            HighlightSequences.of_positions(part, vectors, statistics=config.inputs != "plain")
            for part in (train, valid)
        )
        network = _network(cls.body, config, vectors.meta.dim)
        device = config.torch_device()
        network.to(device)
        stream = ArrayStream(
            len(learned.offsets) - 1,
            lambda pieces: {name: part.to(device) for name, part in learned.batch(pieces).items()},
            batch_size=config.batch_size,
            seed=config.seed,
        )
        fittable: Fittable[dict[str, Tensor]] = Fittable(
            module=network,
            loss=lambda batch: one_step_highlight_loss(_run(network, batch, config), batch["score"], batch["valid"]),
            optimizer=CosineAdamW(
                list(network.parameters()), config.learning_rate, weight_decay=config.weight_decay,
                epochs=config.epochs, steps=stream.batches(0),
            ),
            validate=lambda: _measures(_predict(network, checked, config, device), valid),
            monitor="mAP",
            minimize=False,
        )  # fmt: skip
        result = fit(fittable, stream, config, folder)
        return cls(config, vectors.meta.dim, network.cpu()), result

    @classmethod
    def thaw(cls, frozen: FrozenEncoder) -> Self:
        """From a frozen folder."""
        config, width = cls.Config.checked(frozen.meta.config), int(frozen.meta.extra["vector_width"])
        network = _network(cls.body, config, width)
        network.load_state_dict(frozen.tensors)
        return cls(config, width, network)

    def parts(self) -> Parts:
        """Weights, by name."""
        return Parts(self.network.state_dict(), {}, {"vector_width": self.vector_width})

    @classmethod
    def trained_until(cls, dataset: DatasetFolder) -> int:
        """Newest end_ms of the benchmark's train rooms."""
        rooms = M3Rooms.of(dataset)
        return int(rooms.frame["end_ms"].to_numpy()[_positions(rooms, "train", dataset).rows + 1].max())

    @classmethod
    def measured(cls, dataset: DatasetFolder, metric: str) -> tuple[str, int]:
        """On the positions of the benchmark's valid rooms."""
        del metric
        return "kuailive_m3", len(M3Rooms.of(dataset).positions("valid").rows)

    def predict(self, rooms: Rooms, dataset: DatasetFolder) -> FloatArray:
        """(T,) scores in (0, 1) of the segment after each.

        :raises DataError: the vectors are missing, or have another width than those that it was fitted on.
        """
        vectors = dataset.vectors(self.config.vectors)
        if vectors.meta.dim != self.vector_width:
            raise DataError(
                vectors.folder, "have another width than the encoder's", found=vectors.meta.dim,
                expected=self.vector_width, fix="score with the vectors that it was fitted on",
            )  # fmt: skip
        sizes = np.diff(rooms.offsets)
        counts = -(-sizes // MAX_SEGMENTS)
        number = np.arange(int(counts.sum())) - np.repeat(counts.cumsum() - counts, counts)
        starts = np.repeat(rooms.offsets[:-1], counts) + number * MAX_SEGMENTS
        pieces = HighlightSequences(
            content_at(vectors, rooms.vector_rows(vectors)),
            self._statistics(rooms, dataset),
            np.append(starts, rooms.offsets[-1]),
        )
        return _predict(self.network, pieces, self.config, torch.device("cpu"))

    def _statistics(self, rooms: Rooms, dataset: DatasetFolder) -> FloatArray:
        """(T, 10); zeros in rooms that the benchmark leaves out, and at a room's last segment."""
        if self.config.inputs == "plain":
            return np.zeros((len(rooms.room), 0), np.float32)
        positions = M3Rooms.of(dataset).positions()
        known = positions.keys.with_row_index("_place")
        found = rooms.frame.select("item_id", "segment").join(
            known, on=["item_id", "segment"], how="left", maintain_order="left"
        )
        places = found["_place"].cast(pl.Int64).fill_null(NO_ROW).to_numpy()
        return np.where((places == NO_ROW)[:, None], np.float32(0), positions.statistics[places])


class HighlightMlp(OneStepHighlightEncoder):
    """Each segment alone."""

    body = "mlp"


class HighlightGru(OneStepHighlightEncoder):
    """A one-directional GRU."""

    body = "gru"


class HighlightCausal(OneStepHighlightEncoder):
    """Causal transformer layers."""

    body = "causal"


class HighlightHierarchical(OneStepHighlightEncoder):
    """A layer over the last few segments, then causal layers."""

    body = "hierarchical"


def _positions(rooms: M3Rooms, split: Literal["train", "valid"], dataset: DatasetFolder) -> M3Positions:
    positions = rooms.positions(split)
    if len(positions.rows) == 0:
        raise DataError(
            dataset.path, f"has no {split} room of the KuaiLive-M3 benchmark",
            found=f"{len(rooms.sizes)} rooms with 5 segments and sessions", expected="at least 10",
            fix="read a longer log",
        )  # fmt: skip
    return positions


def _network(body: HighlightBody, config: OneStepHighlightConfig, vector_width: int) -> OneStepHighlight:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return OneStepHighlight(
            body,
            len(STATISTICS) if config.inputs == "stats" else vector_width,
            config.width,
            layers=config.layers,
            heads=config.heads,
            window=config.window,
            statistics=len(STATISTICS) if config.inputs == "es" else 0,
            dropout=config.dropout,
        )


def _run(network: OneStepHighlight, batch: dict[str, Tensor], config: OneStepHighlightConfig) -> Tensor:
    """(B, n)"""
    inputs = batch["statistics" if config.inputs == "stats" else "content"]
    scores: Tensor = network(inputs, batch["valid"], batch["statistics"] if config.inputs == "es" else None)
    return scores


@torch.no_grad()
def _predict(
    network: OneStepHighlight, sequences: HighlightSequences, config: OneStepHighlightConfig, device: torch.device
) -> FloatArray:
    """(P,) in evaluation mode, pieces of like length together."""
    sizes = np.diff(sequences.offsets)
    order = np.argsort(sizes, kind="stable")
    found = np.empty(len(sequences.content), np.float32)
    for start in range(0, len(order), config.batch_size):
        pieces = order[start : start + config.batch_size]
        batch = {name: part.to(device) for name, part in sequences.batch(pieces).items()}
        scores = _run(network, batch, config).cpu().numpy()
        for piece, row in zip(pieces, scores, strict=True):
            found[sequences.offsets[piece] : sequences.offsets[piece + 1]] = row[: sizes[piece]]
    return found


def _measures(scores: FloatArray, positions: M3Positions) -> dict[str, Any]:
    """mAP and Spearman, means over rooms; 0 where no room has one."""
    wide = scores.astype(np.float64)
    found = {
        "mAP": average_precision(positions.binary, wide, positions.offsets),
        "spearman": spearman(wide, positions.score, positions.offsets),
    }
    return {name: float(values.nanmean().nan_to_num()) for name, values in found.items()}
