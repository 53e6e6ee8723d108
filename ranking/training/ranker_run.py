"""A ranker's run on impressions: what it must not be given is refused, then it is trained and all is written down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ranking.features import durations_known
from ranking.rankers import find_ranker
from ranking.rankers.config import RankerConfig, ScoresConfig
from ranking.rows.damaged_shards import readable, write_skipped
from ranking.targets.labels import JOIN, fit_labels, label_names
from ranking.training.label_loss import check_tasks
from ranking.training.model import needs_scores, weighted
from ranking.training.ranker_data import RankerData
from ranking.training.ranker_fit import fit_ranker
from ranking.training.valid_metrics import valid_rows
from ranking.training.warm_start import trained_until
from segrec.fitting import FitResult
from segrec.fitting.shared_run import made_once, shared_run
from segrec.records import (
    ConfigError,
    DatasetFolder,
    RunFolder,
    RunMeta,
    ScoreTable,
    Split,
    file_hash,
    package_versions,
    write_metric_rows,
)
from segrec.tables import join_processes, rank, world_size


def train_ranker(
    name: str,
    dataset: DatasetFolder,
    out: Path,
    *,
    label: str | Sequence[str],
    config: RankerConfig,
    scores: ScoreTable | None = None,
    overwrite: bool = False,
) -> tuple[RunFolder, FitResult]:
    """Trains ranker `name` and leaves a run folder at `out`; a stopped run of the same settings goes on.

    Several labels are learned side by side; a name may hold several with + between them, as `RunMeta.label` does.
    The folder holds config.yaml, run.json, metrics.json (valid), features/, label.yaml, model.safetensors,
    id_report.json, checkpoints/, events/, plan.txt, plan.json; skipped.json where damaged shards were left out.

    :raises ConfigError: an unknown ranker or label, settings that need scores without any, too many processes.
    :raises DataError: `out` exists, data that cannot be used, scores that must not be used for this dataset.
    """
    find_ranker(name)
    labels = label_names([label] if isinstance(label, str) else label)
    check_tasks(config.tasks, labels)
    with readable(dataset, config.data.on_corrupt) as sound:
        _check_settings(sound, config, scores)
        join_processes(config.torch_device())
        config.data.check_processes(world_size())
        meta = _run_meta(name, sound, JOIN.join(labels), config, scores)
        with shared_run(out, meta, config.to_yaml(), overwrite=overwrite) as folder:
            if rank() == 0:
                write_skipped(folder, sound)
            data = made_once(
                lambda: RankerData.fit(sound, fit_labels(sound, labels), config, scores).saved(folder),
                lambda: RankerData.load(folder, config, scores),
            )
            valid = data.rows_of(sound, "valid")
            _, result = fit_ranker(name, sound, data, config, folder)
            if rank() == 0:
                write_metric_rows(folder / "metrics.json", valid_rows(meta, result.best, data.label, valid))
    return RunFolder.open(out, "ranker"), result


def _check_settings(dataset: DatasetFolder, config: RankerConfig, scores: ScoreTable | None) -> None:
    if config.allow_leak:
        raise ConfigError("allow_leak is for --rows segments; features of impressions: features.allow_leaks=[COLUMN]")
    if needs_scores(config.scores) and scores is None:
        raise ConfigError(
            f"scores.use={config.scores.use} weights segments by their scores: pass --scores SCORES.parquet, or set "
            "scores.weighting to segsum or segadjust"
        )
    if weighted(config.scores) and not durations_known(dataset):
        raise ConfigError(
            f"scores.use={config.scores.use} sums over the segments that a video has, and a live room's are not over; "
            "set scores.use=features"
        )
    if scores is not None:
        scores.check_usable(dataset)


def _run_meta(
    name: str, dataset: DatasetFolder, label: str, config: RankerConfig, scores: ScoreTable | None
) -> RunMeta:
    def time_of(splits: list[Split], bound: pl.Expr) -> int:
        found: int = dataset.interactions(splits).select(bound).collect(engine="streaming").item()
        return found

    newest = time_of(["train"], pl.col("time_ms").max())
    return RunMeta(
        kind="ranker",
        name=name,
        variant=_variant(config.scores, scores),
        seed=config.seed,
        dataset=str(dataset.path),
        dataset_fingerprint=dataset.meta.fingerprint,
        trained_until_ms=trained_until(
            newest, config.warm_start, dataset, lambda: time_of(["valid", "test"], pl.col("time_ms").min())
        ),
        label=label,
        scores=None if scores is None else str(scores.path),
        scores_hash=None if scores is None else file_hash(scores.path),
        device=str(config.torch_device()),
        versions=package_versions(),
    )


def _variant(config: ScoresConfig, scores: ScoreTable | None) -> str | None:
    """What metric rows call this use of scores: features, segrec, features+segrec, segsum ...; None = no scores."""
    parts = ["features"] if scores is not None and config.use in ("features", "both") else []
    if weighted(config):
        parts.append(config.weighting)
    return "+".join(parts) or None
