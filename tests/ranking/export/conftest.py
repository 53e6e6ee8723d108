"""Runs that were never trained, with weights drawn at random: an export must answer as they do, whatever they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from ranking.opened_run import OpenedRun
from ranking.rankers import find_ranker
from ranking.rows.row_inputs import dense_names
from ranking.targets.labels import fit_labels
from ranking.training.model import build_ranker
from ranking.training.ranker_data import RankerData
from ranking.training.trained_ranker import WEIGHTS
from segrec.records import (
    KEY,
    DatasetFolder,
    FoldRule,
    RunMeta,
    ScoreMeta,
    ScoreTable,
    write_run_meta,
    write_score_table,
)

RunMaker = Callable[..., OpenedRun]
SMALL = {"device": "cpu", "embedding_dim": 8, "table_init_std": 0.5, "batch_size": 256}
HISTORY = {"features": {"history": {"length": 4}}}


@pytest.fixture
def made_run(click_log: DatasetFolder, tmp_path: Path) -> RunMaker:
    """(ranker, labels, table of scores, **settings) -> opened run at tmp_path / "run"."""

    def make(
        name: str = "dcn_v2", labels: str = "is_click", table: ScoreTable | None = None, **settings: object
    ) -> OpenedRun:
        return write_run(tmp_path / "run", click_log, name, labels, table, **settings)

    return make


@pytest.fixture
def made_scores(click_log: DatasetFolder, tmp_path: Path) -> ScoreTable:
    """Three random scores for every impression."""
    rows = click_log.interactions().select(KEY).collect()
    values = np.random.default_rng(5).random((rows.height, 3)).astype(np.float32)
    scored = rows.with_columns(scores=pl.Series(values.tolist(), dtype=pl.List(pl.Float32)))
    meta = ScoreMeta(
        form="personal", kind="relevance", encoder="made", encoder_hash="h", dataset_fingerprint="f" * 64,
        segment_ms=5000, trained_until_ms=1, fitted_on=["train"], folds=FoldRule(folds=2),
    )  # fmt: skip
    write_score_table(tmp_path / "scores.parquet", [scored], meta)
    return ScoreTable.open(tmp_path / "scores.parquet")


def write_run(
    folder: Path, dataset: DatasetFolder, name: str, labels: str, table: ScoreTable | None, **settings: object
) -> OpenedRun:
    config = find_ranker(name).config.checked({**SMALL, **settings})
    label = fit_labels(dataset, labels.split("+"))
    data = RankerData.fit(dataset, label, config, table)
    folder.mkdir()
    data.save(folder)
    (folder / "config.yaml").write_text(config.to_yaml())
    meta = RunMeta(
        kind="ranker", name=name, seed=0, dataset=str(dataset.path), dataset_fingerprint=dataset.meta.fingerprint,
        label=label.name,
    )  # fmt: skip
    write_run_meta(folder, meta)
    names = dense_names(data.features, data.rates, data.scores)
    module = build_ranker(name, config, data.features, names, label=label, device="cpu").module
    torch.manual_seed(3)
    for weight in module.parameters():
        weight.data.add_(0.05 * torch.randn_like(weight))
    save_file({key: value.contiguous() for key, value in module.state_dict().items()}, folder / WEIGHTS)
    return OpenedRun.of(folder, table)


@pytest.fixture(scope="session")
def small_export(click_log: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain DCN-V2 with bags of past events: one for all tests that only read."""
    from ranking.export.exporting import ExportConfig, export_run

    folder = tmp_path_factory.mktemp("exports")
    run = write_run(folder / "run", click_log, "dcn_v2", "is_click", None, **HISTORY)
    export_run(run, folder / "export", ExportConfig(), dataset=click_log)
    return folder / "export"
