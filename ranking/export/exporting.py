"""A ranker's run -> one folder for service, compared with the run before it appears."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file
from torch import nn

from ranking.batching import RankingBatch
from ranking.export.compilation import compile_program
from ranking.export.dense_part import dense_module, described, export_dense, ranker_of, save_program
from ranking.export.exported import ExportedRanker
from ranking.export.frozen_rows import FrozenRows
from ranking.export.made_batch import made_batch
from ranking.export.manifest import (
    FEATURES,
    LABEL,
    LABEL_RATES,
    MANAGED,
    PARITY,
    PROGRAM,
    TABLES,
    ExportManifest,
    ScoreInput,
)
from ranking.export.parity import HALF_TOLERANCE, Parity, measured_parity
from ranking.export.program_inputs import program_inputs
from ranking.export.tables import Quantise, stored_table
from ranking.layers import RankerInputs
from ranking.opened_run import OpenedRun
from ranking.training.model import weighted
from ranking.training.trained_ranker import WEIGHTS
from segrec.records import DataError, DatasetFolder, Split, file_hash, new_folder, package_versions
from segrec.tables.starting import table_weights

CHECKED_ROWS = 4096
"Rows that run and export are compared on."
_MADE_BATCH = 256
_EXAMPLE_ROWS = 3
_ODD_ROWS = (1, 2, 5)


@dataclass(frozen=True)
class ExportConfig:
    """How a run becomes an export."""

    quantise: Quantise = "none"
    compile_for: Literal["cpu", "cuda"] | None = None
    "An AOTInductor package beside the program; None = none."
    tolerance: float | None = None
    "Of the comparison; None = 1e-5 of a probability, with fp16 tables 1e-3, with int8 ones 1e-3 of AUC."


def export_run(
    opened: OpenedRun,
    out: Path,
    config: ExportConfig,
    *,
    dataset: DatasetFolder | None = None,
    overwrite: bool = False,
) -> tuple[ExportManifest, Parity]:
    """Writes the export of a run to `out` and tells how it compares with the run.

    :param dataset: whose test rows (valid ones, where it has none) are compared; None = rows made from the spec.
    :raises DataError: `out` exists, weights that cannot be read, or an export that answers otherwise than its run.
    :raises ConfigError: no compiler or device to compile for.
    """
    module = opened.model().module
    with new_folder(out, overwrite=overwrite) as folder:
        manifest = _write(opened, module, folder, config)
        manifest.write(folder)
        parity = _compare(opened, module, folder, config, dataset)
        (folder / PARITY).write_text(json.dumps(parity.to_json(), indent=1) + "\n", encoding="utf-8")
        manifest.write(folder)
    return manifest, parity


def _write(opened: OpenedRun, module: nn.Module, folder: Path, config: ExportConfig) -> ExportManifest:
    """All files but the comparison; the manifest comes back, without hashes."""
    _copy_features(opened.run.path, folder)
    _save_tables(module, folder / TABLES, config.quantise)
    managed = FrozenRows.of(module)
    if managed.spaces:
        save_file(managed.tensors(), folder / MANAGED)
    example = _example(opened, module, managed)
    program = export_dense(dense_module(module), example, opened.config.scores.max_segments)
    compiled = None if config.compile_for is None else compile_program(program, folder, config.compile_for)
    taken = described(program, example)
    save_program(program, folder / PROGRAM)
    inputs = TypeAdapter(RankerInputs).dump_python(ranker_of(module).embedding.inputs, mode="json")
    return _manifest(opened, config, inputs).model_copy(
        update={"program_inputs": taken, "managed": tuple(managed.spaces), "compiled": compiled}
    )


def _manifest(opened: OpenedRun, config: ExportConfig, embedding: dict[str, Any]) -> ExportManifest:
    """What is known before the program is there."""
    run, scores, settings = opened.run, opened.data.scores, opened.config.scores
    use = None
    if scores is not None:
        use = ScoreInput(
            features=scores.features, weights=scores.weights, scaling=scores.scaling, live_window=settings.live_window
        )
    return ExportManifest(
        ranker=run.meta.model,
        run=str(run.path.resolve()),
        seed=run.meta.seed,
        label=run.meta.label or "",
        outputs=opened.outputs,
        dataset_fingerprint=run.meta.dataset_fingerprint,
        trained_until_ms=run.meta.trained_until_ms,
        weights_hash=file_hash(run.path / WEIGHTS),
        scores_hash=run.meta.scores_hash,
        quantise=config.quantise,
        embedding=embedding,
        names=opened.data.features.spec.sparse_names,
        dense_names=tuple(opened.dense_names),
        columns=_columns(opened),
        program_inputs=(),
        rates=opened.data.rates is not None,
        scores=use,
        segments=weighted(settings),
        max_segments=settings.max_segments,
        versions=package_versions(),
    )


def _compare(
    opened: OpenedRun, module: nn.Module, folder: Path, config: ExportConfig, dataset: DatasetFolder | None
) -> Parity:
    """The worse of the program and the compiled one.

    :raises DataError: it answers otherwise than the run.
    """
    opens = [ExportedRanker.open(folder, compiled=False)]
    if config.compile_for is not None:
        opens.append(ExportedRanker.open(folder, config.compile_for, compiled=True))
    batches = list(_made(opened) if dataset is None else _logged(opened, dataset))
    measured = [
        measured_parity(
            module,
            exported.logits,
            batches,
            [_made_batch(opened, rows, seed=CHECKED_ROWS) for rows in _ODD_ROWS],
            outputs=opened.outputs,
            checked_on="made rows" if dataset is None else str(dataset.path),
            quantise=config.quantise,
            tolerance=_tolerance(config, module),
        )
        for exported in opens
    ]
    parity = min(measured, key=lambda one: (one.holds, -one.measured))
    if not parity.holds:
        what = "loses AUC" if config.quantise == "int8" else "answers otherwise"
        raise DataError(
            opened.run.path, f"its export {what} (checked on {parity.checked_on})", found=f"{parity.measured:.2g}",
            expected=f"at most {parity.tolerance:g}", fix="raise --tolerance, or export without --quantise",
        )  # fmt: skip
    return parity


def _tolerance(config: ExportConfig, module: nn.Module) -> float | None:
    tables = table_weights(module.state_dict()).values()
    half = config.quantise == "none" and any(weight.dtype != torch.float32 for weight in tables)
    return HALF_TOLERANCE if half and config.tolerance is None else config.tolerance


def _logged(opened: OpenedRun, dataset: DatasetFolder) -> Iterator[RankingBatch]:
    """Labelled rows of the newest split that has some."""
    known = dataset.interactions().filter(opened.data.label.known()).select(pl.col("split").unique())
    there = known.collect(engine="streaming")["split"].to_list()
    split: Split | None = next((split for split in ("test", "valid", "train") if split in there), None)
    if split is None:
        raise DataError(dataset.path, f"has no row with label {opened.data.label.name}", fix="check on another dataset")
    batches = (batch for _, batch in opened.stream(dataset, [split]).in_order())
    return islice(batches, -(-CHECKED_ROWS // opened.config.batch_size))


def _made(opened: OpenedRun) -> Iterator[RankingBatch]:
    for seed in range(CHECKED_ROWS // _MADE_BATCH):
        yield _made_batch(opened, _MADE_BATCH, seed)


def _made_batch(opened: OpenedRun, rows: int, seed: int, events: int | None = None) -> RankingBatch:
    scores = opened.config.scores
    return made_batch(
        opened.data.features,
        rows,
        dense_width=len(opened.dense_names),
        max_segments=scores.max_segments if weighted(scores) else None,
        seed=seed,
        events=events,
    )


def _example(opened: OpenedRun, module: nn.Module, managed: FrozenRows) -> dict[str, torch.Tensor]:
    """Program inputs with the longest histories."""
    batch = _made_batch(opened, _EXAMPLE_ROWS, seed=0, events=opened.data.features.spec.history.length or 0)
    batch = replace(batch, sparse=managed(batch.sparse))
    with torch.no_grad():
        return program_inputs(ranker_of(module).lookup(batch), batch)


def _save_tables(module: nn.Module, file: Path, quantise: Quantise) -> None:
    tensors = {
        f"{table}.{part}": tensor
        for table, weight in table_weights(module.state_dict()).items()
        for part, tensor in stored_table(weight, quantise).items()
    }
    save_file(tensors, file, metadata={"quantise": quantise})


def _copy_features(run: Path, folder: Path) -> None:
    """What encoding and answering need, as the run fitted it."""
    shutil.copytree(run / FEATURES, folder / FEATURES)
    for file in (run / LABEL, *run.glob(f"{Path(LABEL_RATES).stem}*")):
        shutil.copyfile(file, folder / file.name)


def _columns(opened: OpenedRun) -> dict[str, tuple[str, ...]]:
    """Raw columns of the features, by side."""
    found: dict[str, list[str]] = {}
    for feature in opened.data.features.spec.all:
        found.setdefault(feature.side, []).append(feature.column)
    return {side: tuple(dict.fromkeys(columns)) for side, columns in found.items()}
