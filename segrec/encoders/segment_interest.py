"""`segment_interest`: which segments of a video hold a user's interest, and where the view will end (SegMM).

Variants: `hazard` (ours, default), `paper`, `released`; see `SegmentInterestConfig`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn

from segrec.encoders.encoder import Parts, SkipEncoder, Withheld
from segrec.encoders.prediction import SkipPrediction
from segrec.encoders.scales import Scales
from segrec.encoders.segment_interest_columns import SideColumns, Surroundings
from segrec.encoders.segment_interest_config import SegmentInterestConfig
from segrec.encoders.segment_interest_counts import ExitCounts, blocks_of
from segrec.encoders.segment_interest_inputs import SegmentInterestInputs
from segrec.encoders.segment_interest_learning import (
    batch_loss,
    dense_optimizer,
    known_rows,
    measures,
    predict_table,
    training_stream,
    vectors_of,
    views_of,
)
from segrec.encoders.segment_interest_network import SegmentInterestNetwork, table_specs
from segrec.fitting import FitResult, Fittable, fit
from segrec.freezing import FrozenEncoder
from segrec.records import DataError, DatasetFolder
from segrec.segments.batching import SegmentBatch
from segrec.segments.history import HistoryLog
from segrec.segments.views import grid_width
from segrec.tables import Vocabulary, distribute, whole_state


@dataclass(frozen=True)
class SegmentInterest(SkipEncoder):
    """A fitted segment-interest encoder."""

    Config: ClassVar[type[SegmentInterestConfig]] = SegmentInterestConfig
    inputs: SegmentInterestInputs
    network: nn.Module
    "Undistributed, in evaluation mode."
    slots: int

    @property
    def calibrated(self) -> bool:  # type: ignore[override]
        """Loss hazard gives exit distributions."""
        return self.inputs.config.calibrated

    @property
    def past_columns(self) -> Sequence[str]:  # type: ignore[override]
        """The page of a past view."""
        return [column.name for column in self.inputs.columns.categories if column.name == self.inputs.config.page]

    @property
    def past_views(self) -> int:  # type: ignore[override]
        """As configured."""
        return self.inputs.config.history_views

    @classmethod
    def notes(cls, config: SegmentInterestConfig, dataset: DatasetFolder) -> list[str]:
        """Says when content was asked for and the dataset has none."""
        if config.modalities == "id" or vectors_of(config, dataset) is not None:
            return []
        return [f"the dataset has no segment vectors {config.vectors!r}: segments are known by ids only"]

    @classmethod
    def fit(
        cls, config: SegmentInterestConfig, dataset: DatasetFolder, folder: Path, withheld: Withheld | None = None
    ) -> tuple[Self, FitResult]:
        """Fits on the train views; early stopping on the valid views (NLL with loss hazard, else NDCG@5).

        :raises DataError: no train or no valid view in the dataset.
        """
        slots = grid_width(dataset.meta.segment_ms)
        rows = known_rows(dataset, withheld)
        train, valid = (views_of(rows, split, dataset) for split in ("train", "valid"))
        surroundings = Surroundings.of(dataset, vectors_of(config, dataset))
        log = HistoryLog.of(rows, [config.page] if config.context and config.page in dataset.meta.context else [])
        columns = SideColumns.fit(dataset, train, surroundings) if config.context else SideColumns(())
        blocks = blocks_of(train, config.folds, dataset.meta.utc_offset_hours)
        inputs, table = SegmentInterestInputs.learn(
            config, columns, train, blocks=blocks, log=log, surroundings=surroundings, width=slots
        )
        checked = inputs.encode(valid, log, surroundings)
        device = config.torch_device()
        module = distribute(
            _network(inputs, slots, "meta"), table_specs(config, inputs.table_sizes), config.seed, device
        )
        stream = training_stream(table, config, slots, device)
        fittable: Fittable[SegmentBatch] = Fittable(
            module=module,
            loss=lambda batch: batch_loss(module(batch), batch, config),
            optimizer=dense_optimizer(module, config, stream.batches(0) * config.epochs),
            validate=lambda: measures(predict_table(module, checked, config, slots, device), checked.exits),
            monitor="NLL" if config.calibrated else "NDCG@5",
            minimize=config.calibrated,
        )
        result = fit(fittable, stream, config, folder)
        return cls(inputs, _plain(inputs, slots, whole_state(module)), slots), result

    @classmethod
    def thaw(cls, frozen: FrozenEncoder) -> Self:
        """From a frozen folder."""
        extra, frames = frozen.meta.extra, frozen.frames
        config = SegmentInterestConfig.checked(frozen.meta.config)
        arrays = {
            name.removeprefix("counted."): tensor.numpy()
            for name, tensor in frozen.tensors.items()
            if name.startswith("counted.")
        }
        inputs = SegmentInterestInputs(
            config,
            {name: Vocabulary.from_frame(frames[f"vocabulary_{name}"]) for name in extra["vocabularies"]},
            SideColumns.of_plain(extra["columns"]),
            ExitCounts.of_parts(frames, arrays) if extra["counted"] else None,
            Scales(arrays["means"], arrays["deviations"]),
            extra["vector_width"],
        )
        weights = {
            name.removeprefix("network."): tensor
            for name, tensor in frozen.tensors.items()
            if name.startswith("network.")
        }
        return cls(inputs, _plain(inputs, extra["slots"], weights), extra["slots"])

    def parts(self) -> Parts:
        """Weights and counts, by name."""
        inputs = self.inputs
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        arrays: dict[str, npt.NDArray[Any]] = {"means": inputs.scales.means, "deviations": inputs.scales.deviations}
        frames = {f"vocabulary_{name}": vocabulary.to_frame() for name, vocabulary in inputs.vocabularies.items()}
        if inputs.counts is not None:
            counted, counts = inputs.counts.parts()
            frames, arrays = frames | counted, arrays | counts
        tensors |= {f"counted.{name}": torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
        extra = {
            "vocabularies": list(inputs.vocabularies),
            "columns": inputs.columns.plain(),
            "counted": inputs.counts is not None,
            "left_out": list(inputs.columns.left_out),
            "vector_width": inputs.vector_width,
            "slots": self.slots,
        }
        return Parts(tensors, frames, extra)

    def surroundings(self, dataset: DatasetFolder) -> Surroundings:
        """Side features and content vectors of `dataset`.

        :raises DataError: the vectors that it was fitted on are missing, or have another width.
        """
        if self.inputs.vector_width == 0:
            return Surroundings.of(dataset, None)
        name = self.inputs.config.vectors
        found = dataset.vectors(name).meta.dim
        if found != self.inputs.vector_width:
            raise DataError(
                dataset.path, f"segment vectors {name!r} have another width than the encoder's", found=found,
                expected=self.inputs.vector_width, fix="score with the vectors that it was fitted on",
            )  # fmt: skip
        return Surroundings.of(dataset, name)

    def predict(self, views: pl.DataFrame, log: HistoryLog, surroundings: Surroundings) -> SkipPrediction:
        """(V, slots) exit distribution (loss hazard) or scores, in the order of `views`."""
        table = self.inputs.encode(views, log, surroundings)
        return predict_table(self.network, table, self.inputs.config, self.slots, torch.device("cpu"))


def _network(inputs: SegmentInterestInputs, slots: int, device: str) -> SegmentInterestNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(inputs.config.seed)
        return SegmentInterestNetwork(
            inputs.config,
            table_specs(inputs.config, inputs.table_sizes),
            slots=slots,
            dense_width=inputs.dense_width,
            known_width=inputs.known_width,
            vector_width=inputs.vector_width,
            device=device,
        )


def _plain(inputs: SegmentInterestInputs, slots: int, weights: dict[str, Tensor]) -> nn.Module:
    network = _network(inputs, slots, "cpu")
    network.load_state_dict(weights)
    return network.eval()
