"""A ranker's run: features, label and scores fitted on train, the ranker trained, everything written down."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from safetensors.torch import save_file
from torch import nn
from torchrec.optim.optimizers import in_backward_optimizer_filter

from ranking.batching import RankingBatch, RankingStream
from ranking.feature_encoding import FittedFeatures, RowEncoder
from ranking.features import FeatureConfig, build_spec
from ranking.impressions import ImpressionSource, ScoreUse, fit_score_scaling
from ranking.label_rates import LabelRates
from ranking.labels import EffectiveViewLabel, FlagLabel, StoredLabel, fit_label
from ranking.rankers import find_ranker
from ranking.rankers.config import RankerConfig, ScoresConfig
from ranking.score_features import ScoreLookup
from ranking.training.loss import binary_cross_entropy
from ranking.training.model import build_ranker, logits_of, needs_scores, weighted
from segrec.fitting import FitResult, Fittable, fit
from segrec.metrics.auc import auc
from segrec.metrics.log_loss import log_loss
from segrec.records import (
    ConfigError,
    DatasetFolder,
    MetricRow,
    RunFolder,
    RunMeta,
    ScoreTable,
    Split,
    check_resumable,
    new_folder,
    package_versions,
    partial_folder,
    write_metric_rows,
    write_run_meta,
)
from segrec.tables import Vocabulary, distribute, rank, whole_state, world_size

WEIGHTS = "model.safetensors"
LABEL_RATES = "label_rates.safetensors"
RATED_ROWS = 100
"Ids whose tables have more rows get rates; the model sees enough of the others."


@dataclass(frozen=True)
class RankerData:
    """What a run fits on train before its first step, stored in the run folder."""

    features: FittedFeatures
    label: FlagLabel | EffectiveViewLabel
    rates: LabelRates | None
    scores: ScoreUse | None

    @classmethod
    def fit(cls, dataset: DatasetFolder, label: str, config: RankerConfig, table: ScoreTable | None) -> RankerData:
        """Fits label, features and the scaling of score features on train."""
        fitted_label = fit_label(dataset, label)
        features = FittedFeatures.fit(dataset, build_spec(dataset, config.features))
        encoder, scores = RowEncoder(features, dataset), score_use(config.scores, table)
        if scores is not None:
            train = ImpressionSource(dataset, encoder, ["train"], scores=scores)
            scores = replace(scores, scaling=fit_score_scaling(train))
        rates = fit_label_rates(dataset, encoder, fitted_label, config.features)
        return cls(features, fitted_label, rates, scores)

    def save(self, folder: Path) -> None:
        """Writes features/, label.yaml and score_scaling.json."""
        self.features.save(folder / "features")
        (folder / "label.yaml").write_text(StoredLabel(label=self.label).to_yaml(), encoding="utf-8")
        if self.rates is not None:
            self.rates.save(folder / LABEL_RATES)
        if self.scores is not None:
            (folder / "score_scaling.json").write_text(json.dumps(self.scores.scaling) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, config: RankerConfig, table: ScoreTable | None) -> RankerData:
        """What `save` wrote, with the scores of `table`.

        :raises DataError: a file is missing or damaged.
        """
        scores = score_use(config.scores, table)
        if scores is not None:
            scaling = json.loads((folder / "score_scaling.json").read_text(encoding="utf-8"))
            scores = replace(scores, scaling=tuple((mean, deviation) for mean, deviation in scaling))
        rates = LabelRates.load(folder / LABEL_RATES) if config.features.label_rates else None
        return cls(FittedFeatures.load(folder / "features"), StoredLabel.load(folder / "label.yaml"), rates, scores)

    def stream(
        self, dataset: DatasetFolder, split: Split, config: RankerConfig, encoder: RowEncoder | None = None
    ) -> RankingStream:
        """Batches of a split."""
        source = ImpressionSource(
            dataset,
            encoder or RowEncoder(self.features, dataset),
            [split],
            label=self.label,
            rates=self.rates,
            scores=self.scores,
            with_segments=weighted(config.scores),
        )
        return RankingStream(
            source,
            batch_size=config.batch_size,
            seed=config.seed,
            max_segments=config.scores.max_segments,
            rank=rank(),
            world_size=world_size(),
        )


def train_ranker(
    name: str,
    dataset: DatasetFolder,
    out: Path,
    *,
    label: str,
    config: RankerConfig,
    scores: ScoreTable | None = None,
    overwrite: bool = False,
) -> tuple[RunFolder, FitResult]:
    """Trains ranker `name` and leaves a run folder at `out`; a stopped run of the same settings goes on.

    The folder holds config.yaml, run.json, metrics.json (valid), features/, label.yaml, model.safetensors,
    id_counts.json, checkpoints/, events/, plan.txt.

    :raises ConfigError: an unknown ranker or label, or settings that need scores without any.
    :raises DataError: `out` exists, data that cannot be used, scores that must not be used for this dataset.
    """
    find_ranker(name)
    if needs_scores(config.scores) and scores is None:
        raise ConfigError(
            f"scores.use={config.scores.use} weights segments by their scores: pass --scores SCORES.parquet, or set "
            "scores.weighting to segsum or segadjust"
        )
    if scores is not None:
        scores.check_usable(dataset)
    meta = _run_meta(name, dataset, label, config, scores)
    if not out.exists() or overwrite:
        check_resumable(partial_folder(out), meta, config.to_yaml(), overwrite=overwrite)
    with new_folder(out, overwrite=overwrite, resumable=True) as folder:
        (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
        write_run_meta(folder, meta)
        data = RankerData.fit(dataset, label, config, scores)
        data.save(folder)
        result = _fit(name, dataset, data, config, folder)
        write_metric_rows(folder / "metrics.json", _metric_rows(meta, result, dataset.meta.rows["valid"]))
    return RunFolder.open(out, "ranker"), result


def fit_label_rates(
    dataset: DatasetFolder, encoder: RowEncoder, label: FlagLabel | EffectiveViewLabel, config: FeatureConfig
) -> LabelRates | None:
    """Rates of ids with more than RATED_ROWS table rows; None where the config wants none."""
    if not config.label_rates:
        return None
    source = ImpressionSource(dataset, encoder, ["train"], label=label)
    features = [feature.name for feature in encoder.fitted.spec.ids]
    sizes = {name: encoder.fitted.rows_of(name) for name in features if encoder.fitted.rows_of(name) > RATED_ROWS}
    train = RankingStream(source, batch_size=1)
    return LabelRates.fit(train.encoded, features, sizes, base=label.rate, strength=config.rate_strength)


def score_use(config: ScoresConfig, table: ScoreTable | None) -> ScoreUse | None:
    """How the config puts `table` to use; None where it does not."""
    if table is None or config.use == "none":
        return None
    use = ScoreUse(
        ScoreLookup.of(table),
        features=config.use in ("features", "both"),
        weights=needs_scores(config),
    )
    return use if use.features or use.weights else None


@torch.no_grad()
def predicted(
    module: nn.Module, stream: RankingStream, device: torch.device
) -> tuple[np.ndarray, np.ndarray, pl.DataFrame]:
    """Labels (n,), probabilities (n,) and keys of all rows of a stream, oldest day first; the module in eval mode."""
    labels, logits, keys = [], [], []
    for key, batch in stream.in_order():
        logits.append(logits_of(module, batch, device).float().cpu())
        labels.append(batch.labels)
        keys.append(key)
    probabilities = torch.sigmoid(torch.cat(logits).double())
    return torch.cat(labels).numpy(), probabilities.numpy(), pl.concat(keys)


def _fit(name: str, dataset: DatasetFolder, data: RankerData, config: RankerConfig, folder: Path) -> FitResult:
    device = config.torch_device()
    encoder = RowEncoder(data.features, dataset)
    train, valid = (data.stream(dataset, split, config, encoder) for split in ("train", "valid"))
    model = build_ranker(name, config, data.features, train.source.dense_names, positive_rate=data.label.rate)
    module = distribute(model.module, model.tables, config.seed, device)
    dense = [weight for _, weight in in_backward_optimizer_filter(module.named_parameters()) if weight.requires_grad]

    def loss(batch: RankingBatch) -> torch.Tensor:
        moved = batch.to(device, non_blocking=True)
        return binary_cross_entropy(module(moved), moved.labels, batch.global_rows, moved.weights)

    def validate() -> dict[str, float]:
        labels, probabilities, _ = predicted(module, valid, device)
        return {"LogLoss": log_loss(labels, probabilities), "AUC": auc(labels, probabilities)}

    fittable: Fittable[RankingBatch] = Fittable(
        module=module,
        loss=loss,
        optimizer=torch.optim.AdamW(dense, lr=config.learning_rate, weight_decay=config.weight_decay),
        validate=validate,
        monitor=config.monitor,
        minimize=config.monitor == "LogLoss",
    )
    result = fit(fittable, train, config, folder)
    state = whole_state(module)
    if rank() == 0:
        save_file({key: value.contiguous() for key, value in state.items()}, folder / WEIGHTS)
        _write_id_counts(folder / "id_counts.json", {"train": train, "valid": valid})
    return result


def _write_id_counts(file: Path, streams: dict[str, RankingStream]) -> None:
    """How many rows held a known, an unseen, a missing id, by split and feature."""
    counts = {}
    for split, stream in streams.items():
        totals = np.zeros((len(stream.source.names), 3), dtype=np.int64)
        for rows in stream.encoded():
            for place, codes in enumerate([*rows.ids, *(rows.bags[name][0] for name in rows.bags)]):
                found = Vocabulary.counts_of(codes.astype(np.int64))
                totals[place] += (found.known, found.unseen, found.missing)
        counts[split] = {
            name: dict(zip(("known", "unseen", "missing"), map(int, row), strict=True))
            for name, row in zip(stream.source.names, totals, strict=True)
        }
    file.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")


def _run_meta(
    name: str, dataset: DatasetFolder, label: str, config: RankerConfig, scores: ScoreTable | None
) -> RunMeta:
    newest = dataset.interactions(["train"]).select(pl.col("time_ms").max()).collect(engine="streaming").item()
    return RunMeta(
        kind="ranker",
        name=name,
        variant=_variant(config.scores, scores),
        seed=config.seed,
        dataset=str(dataset.path),
        dataset_fingerprint=dataset.meta.fingerprint,
        trained_until_ms=newest,
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


def file_hash(file: Path) -> str:
    """SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _metric_rows(meta: RunMeta, result: FitResult, rows: int) -> list[MetricRow]:
    return [
        MetricRow(
            task="ctr", split="valid", protocol=meta.label or "", model=meta.model, seed=meta.seed, metric=metric,
            value=value, n=rows,
        )
        for metric, value in result.best.items()
    ]  # fmt: skip
