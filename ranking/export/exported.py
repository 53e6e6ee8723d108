"""An exported ranker opened for service: raw rows or batches in, probabilities out; no training code is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.export.passes import move_to_device_pass

from ranking.batching import RankingBatch, make_batch
from ranking.encoding.feature_encoding import FittedFeatures, RowEncoder
from ranking.export.compilation import runs_here
from ranking.export.frozen_rows import FrozenRows
from ranking.export.manifest import FEATURES, LABEL, LABEL_RATES, MANAGED, PROGRAM, TABLES, ExportManifest
from ranking.export.program_inputs import padded, program_inputs
from ranking.export.tables import filled
from ranking.layers import FeatureEmbedding, RankerInputs
from ranking.rows.impressions import ImpressionSource
from ranking.rows.row_inputs import RowInputs, ScoreUse
from ranking.score_lookup import ScoreLookup, check_scores
from ranking.targets.labels import AnyLabel, StoredLabel
from ranking.targets.task_rates import AnyRates, load_rates
from ranking.written_predictions import Predictor
from segrec.records import ConfigError, DataError, DatasetFolder, ScoreTable, Split

Program = Callable[[dict[str, Tensor]], Tensor]


@dataclass(frozen=True)
class ExportedRanker:
    """What `segrec export` wrote, in memory."""

    folder: Path
    manifest: ExportManifest
    features: FittedFeatures
    label: AnyLabel
    rates: AnyRates | None
    managed: FrozenRows
    embedding: FeatureEmbedding
    program: Program
    "Dict of `program_inputs` -> logits: the torch.export program, or what AOTInductor made of it."
    device: torch.device

    @classmethod
    def open(
        cls, folder: Path | str, device: torch.device | str = "cpu", *, compiled: bool | None = None
    ) -> ExportedRanker:
        """Opens an export after comparing every file with its hash.

        :param compiled: run the AOTInductor package; None = where there is one for this device and processor.
        :raises DataError: no export there, or a file is missing, added, changed or unreadable.
        :raises ConfigError: `compiled` is asked for and was not exported for this device.
        """
        folder, device = Path(folder), torch.device(device)
        manifest = ExportManifest.open(folder)
        features = FittedFeatures.load(folder / FEATURES)
        label = StoredLabel.load(folder / LABEL)
        rates = load_rates(folder / LABEL_RATES, label) if manifest.rates else None
        managed = FrozenRows.from_tensors(_tensors_of(folder / MANAGED) if manifest.managed else {}).to(device)
        embedding = filled(_inputs_of(manifest, folder), _tables_of(folder / TABLES), device)
        program = _program_of(folder, manifest, device, compiled)
        return cls(folder, manifest, features, label, rates, managed, embedding, program, device)

    def inputs(self, dataset: DatasetFolder, scores: ScoreTable | None = None) -> RowInputs:
        """What turns raw rows into this ranker's: side features, histories and the clock come from `dataset`.

        :param scores: what a ranker with scores needs.
        :raises ConfigError: scores are missing.
        :raises DataError: the dataset lacks a column.
        """
        encoder = RowEncoder(self.features, dataset)
        return RowInputs(dataset, encoder, self.rates, self._score_use(scores), self.manifest.segments)

    def predict(self, rows: pl.DataFrame, inputs: RowInputs) -> npt.NDArray[np.float64]:
        """Predictions (n,), or (n, K) of K outputs, for raw rows: the candidates of a request.

        :param rows: the columns `inputs.columns`: user_id, item_id, time_ms and those that features are made of.
        :raises DataError: a missing value under policy "reject", an infinite one, scores that cannot be used.
        :raises ConfigError: a column is missing.
        """
        for name in inputs.columns:
            if name not in rows.columns:
                raise ConfigError(f"column {name!r} is missing from the rows (found: {', '.join(rows.columns)})")
        encoded = inputs.encode(rows)
        return self.answers(make_batch(encoded, inputs.names, encoded.rows, self.manifest.max_segments))

    def predictor(self, dataset: DatasetFolder, splits: Sequence[Split], scores: ScoreTable | None = None) -> Predictor:
        """All rows of `splits`, labelled or not, and this ranker to answer them.

        :raises ConfigError: as `inputs`.
        :raises DataError: as `inputs`, scores that must not be used for these rows, or no such row.
        """
        check_scores(scores, dataset, splits)
        made = self.inputs(dataset, scores)
        source = ImpressionSource(
            dataset, made.encoder, splits, rates=made.rates, scores=made.scores, with_segments=made.with_segments
        )
        return Predictor(source, self.answers, self.manifest.outputs, self.manifest.max_segments)

    def answers(self, batch: RankingBatch) -> npt.NDArray[np.float64]:
        """What is predicted, (n,) or (n, K) of K outputs: probabilities, seconds of watch time."""
        return self.label.answers(self.logits(batch).double().cpu().numpy())

    @torch.inference_mode()
    def logits(self, batch: RankingBatch) -> Tensor:
        """(B,), or (B, K) of K outputs."""
        moved = batch.to(self.device)
        if not moved.rows:
            return moved.dense.new_zeros((0, len(self.manifest.outputs))[: 1 + (len(self.manifest.outputs) > 1)])
        moved = replace(moved, sparse=self.managed(moved.sparse))
        inputs = program_inputs(self.embedding(moved), moved)
        events = self.manifest.events
        return self.program(inputs if events is None else padded(inputs, events))

    def _score_use(self, scores: ScoreTable | None) -> ScoreUse | None:
        wanted = self.manifest.scores
        if wanted is None:
            return None
        if scores is None:
            raise ConfigError(f"{self.folder} was trained with scores of segments: pass --scores SCORES.parquet")
        lookup = ScoreLookup.of(scores, wanted.live_window)
        return ScoreUse(lookup, features=wanted.features, weights=wanted.weights, scaling=wanted.scaling)


def _inputs_of(manifest: ExportManifest, folder: Path) -> RankerInputs:
    try:
        return TypeAdapter(RankerInputs).validate_python(manifest.embedding)
    except ValidationError as error:
        raise DataError(
            folder, "was exported by another version", found=" ".join(str(error).split())[:200], fix="export it again"
        ) from None


def _tables_of(file: Path) -> dict[str, dict[str, Tensor]]:
    """By table: its stored tensors."""
    tables: dict[str, dict[str, Tensor]] = {}
    for key, tensor in _tensors_of(file).items():
        table, part = key.rsplit(".", 1)
        tables.setdefault(table, {})[part] = tensor
    return tables


def _tensors_of(file: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(file, "cannot be read", found=str(error), fix="export the run again") from None
    return tensors


def _program_of(folder: Path, manifest: ExportManifest, device: torch.device, compiled: bool | None) -> Program:
    package = manifest.compiled
    fits = package is not None and runs_here(package, device, manifest.versions.get("torch"))
    if compiled and not fits:
        found = "nothing" if package is None else f"for {package.processor}, torch {manifest.versions.get('torch')}"
        raise ConfigError(
            f"{folder} holds no program compiled for this {device.type} (found: {found}); export with --aot"
        )
    if package is not None and fits and compiled is not False:
        loaded: Program = torch._inductor.aoti_load_package(str(folder / package.file))
        return loaded
    program = torch.export.load(folder / PROGRAM)
    if device.type != "cpu":
        program = move_to_device_pass(program, device)
    return program.module()
