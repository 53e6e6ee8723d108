"""A ranker's run on segments of live rooms: it learns their rate, and predicts every segment of every room."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl
from torch import nn

from ranking.rankers import find_ranker
from ranking.rankers.config import RankerConfig
from ranking.rows.segment_rows import write_segment_rows
from ranking.targets.labels import fit_rate_label
from ranking.training.model import weighted
from ranking.training.ranker_data import RankerData
from ranking.training.ranker_fit import answers_of, fit_ranker
from ranking.training.shared_prediction import predicted
from ranking.training.warm_start import trained_until
from segrec.fitting import FitResult
from segrec.fitting.shared_run import made_once, shared_run
from segrec.records import (
    ConfigError,
    DatasetFolder,
    MetricRow,
    RunFolder,
    RunMeta,
    package_versions,
    write_metric_rows,
)
from segrec.segments.rooms import Rooms
from segrec.tables import join_processes, rank

PREDICTIONS = "predictions.parquet"


def train_segment_ranker(
    name: str,
    dataset: DatasetFolder,
    out: Path,
    *,
    rate: str,
    shift: int = 0,
    config: RankerConfig,
    overwrite: bool = False,
) -> tuple[RunFolder, FitResult]:
    """Trains ranker `name` to predict the `rate` of segments and leaves a run folder at `out`.

    It holds what `train_ranker` leaves, and predictions.parquet: item_id, segment, score for all segments of all
    splits; a segment's score stands for the rate of the segment `shift` (0 or 1) later.

    :raises ConfigError: an unknown ranker, or settings that rows of this kind do not have.
    :raises DataError: `out` exists, no live rooms, no such rate.
    """
    find_ranker(name)
    _check_settings(config)
    Rooms.of(dataset).target(rate, shift)
    join_processes(config.torch_device())
    meta = _run_meta(name, dataset, rate, shift, config)
    with (
        shared_run(out, meta, config.to_yaml(), overwrite=overwrite) as folder,
        tempfile.TemporaryDirectory() as made,
    ):
        rows = write_segment_rows(dataset, Path(made), rate=rate, shift=shift, leak=config.allow_leak)
        data = made_once(
            lambda: RankerData.fit(
                rows, fit_rate_label(rows, rate, weighted=config.weight_by_trials), config, None
            ).saved(folder),
            lambda: RankerData.load(folder, config, None),
        )
        module, result = fit_ranker(name, rows, data, config, folder)
        _write_predictions(folder / PREDICTIONS, module, rows, data, config)
        if rank() == 0:
            write_metric_rows(folder / "metrics.json", _metric_rows(meta, result, data.rows_of(rows, "valid")[rate]))
    return RunFolder.open(out, "ranker"), result


def _check_settings(config: RankerConfig) -> None:
    if weighted(config.scores):
        raise ConfigError(f"scores.use={config.scores.use} weights the segments of an item; here rows are segments")
    if config.monitor != "LogLoss":
        raise ConfigError(f"monitor={config.monitor} needs labels 0 and 1; rates of segments have LogLoss only")


def _write_predictions(
    file: Path, module: nn.Module, rows: DatasetFolder, data: RankerData, config: RankerConfig
) -> None:
    everything = data.stream(rows, ["train", "valid", "test"], config, labelled=False)
    found = predicted(answers_of(module.eval()), everything, config.torch_device(), sharded=True)
    if rank() == 0:
        scored = (
            everything.keys()
            .select("item_id", "segment")
            .with_columns(pl.Series("score", found.probabilities, dtype=pl.Float32))
        )
        scored.sort("item_id", "segment").write_parquet(file)


def _run_meta(name: str, dataset: DatasetFolder, rate: str, shift: int, config: RankerConfig) -> RunMeta:
    newest = int(Rooms.of(dataset, ["train"]).end_ms.max())
    valid_from = dataset.meta.split.valid_from_ms
    known = newest if valid_from is None else min(newest, valid_from - 1)
    return RunMeta(
        kind="ranker",
        name=name,
        seed=config.seed,
        dataset=str(dataset.path),
        dataset_fingerprint=dataset.meta.fingerprint,
        trained_until_ms=trained_until(
            known, config.warm_start, dataset,
            lambda: int(Rooms.of(dataset, ["valid", "test"]).frame["start_ms"].to_numpy().min()),
        ),
        label=rate,
        rows="segments",
        label_shift=shift,
        leak=config.allow_leak,
        device=str(config.torch_device()),
        versions=package_versions(),
    )  # fmt: skip


def _metric_rows(meta: RunMeta, result: FitResult, rows: int) -> list[MetricRow]:
    return [
        MetricRow(
            task="highlight", split="valid", protocol="fit", model=meta.model, seed=meta.seed, metric=metric,
            value=value, n=rows,
        )
        for metric, value in result.best.items()
    ]  # fmt: skip
