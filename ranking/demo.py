"""The whole way on a made world: simulate, read, fit, score, rank without and with scores, evaluate, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from ranking.evaluated_models import run_prediction
from ranking.evaluation import Prediction
from ranking.evaluation import metric_rows as ctr_rows
from ranking.labels import StoredLabel
from ranking.outcomes import Outcomes
from ranking.placebo_runs import placebo_runs
from ranking.rankers import find_ranker
from ranking.rate_priors import LENGTH, prior_probabilities
from ranking.report import write_page
from ranking.training.ranker_run import train_ranker
from segrec.datasets import ReadOptions, find_reader, write_dataset
from segrec.encoders import find_encoder
from segrec.encoders.encoder_runs import fit_encoder
from segrec.records import (
    Config,
    DataError,
    DatasetFolder,
    MetricRow,
    RunFolder,
    ScoreTable,
    write_metric_rows,
)
from segrec.scoring.score_tables import write_scores
from segrec.skip_evaluation import (
    Entry,
    SkipSplits,
    deterministic_answers,
    measure,
    oracle_answer,
    run_answer,
    skip_cohorts,
    skip_rows,
)
from segrec.worlds.oracle import Oracle
from segrec.worlds.short_video import ShortVideoConfig, make_short_video
from segrec.worlds.short_video_writers import write_short_video

ENCODER, RANKER, FORMAT = "segment_interest", "dcn_v2", "kuairand"
LABEL: Literal["is_click"] = "is_click"


class DemoConfig(Config):
    """How large the demo is; the defaults take under three minutes on two cores."""

    seed: NonNegativeInt = 0
    users: PositiveInt = 400
    items: PositiveInt = 1000
    impressions_per_user: PositiveInt = 100
    encoder_epochs: PositiveInt = 6
    folds: Annotated[int, Field(ge=2)] = 2
    "Of the out-of-fold scores for train rows."
    ranker_epochs: PositiveInt = 6
    ranker_batch_size: PositiveInt = 512
    ranker_cross_rank: PositiveInt | None = 32
    "Low-rank cross layers: five rankers are trained."


@dataclass(frozen=True)
class DemoResult:
    """Where everything lies, and what came out."""

    page: Path
    skip: list[MetricRow]
    ctr: list[MetricRow]
    seconds: float


@dataclass(frozen=True)
class _Rankers:
    """The run with scores, and by name those it is measured against: without scores, and with placebos."""

    with_scores: RunFolder
    others: dict[str, RunFolder]


def run_demo(out: Path, config: DemoConfig, tell: Callable[[str], None], *, overwrite: bool = False) -> DemoResult:
    """Goes the whole way inside `out`; `tell` gets a line a stage with its seconds.

    :raises DataError: `out` exists already, or it cannot be written.
    """
    if out.exists() and not overwrite:
        raise DataError(out, "exists already", fix="choose another --out, or pass --overwrite")
    with _one_thread():
        return _whole_way(out, config, tell, overwrite)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Models this small gain nothing from a second thread, and lose a lot when another program wants that core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _whole_way(out: Path, config: DemoConfig, tell: Callable[[str], None], overwrite: bool) -> DemoResult:
    began = time.perf_counter()
    with _stage(tell, "simulate") as note:
        note(_simulate(out / "world", config, overwrite))
    with _stage(tell, "read") as note:
        dataset = _read(out / "world", out / "dataset", overwrite)
        note(f"{sum(dataset.meta.rows.values()):,} rows, {sum(dataset.meta.rejected.values()):,} rejected")
    with _stage(tell, "fit") as note:
        encoder = _fit(dataset, out / "encoder", config, overwrite)
        note(encoder.meta.model)
    with _stage(tell, "score") as note:
        scores = write_scores(encoder, dataset, out / "scores.parquet", config.folds)
        note(f"train rows out of fold, {config.folds} folds")
    with _stage(tell, "rank") as note:
        rankers = _rank(dataset, scores, out, config, overwrite)
        note(", ".join([*rankers.others, rankers.with_scores.meta.model]))
    with _stage(tell, "evaluate") as note:
        skip, ctr = _measure_skip(dataset, encoder), _measure_ctr(dataset, rankers)
        write_metric_rows(out / "skip_test.json", skip)
        write_metric_rows(out / "ctr_test.json", ctr)
        note(f"{len(skip) + len(ctr):,} metric rows, intervals by user")
    with _stage(tell, "report"):
        page = write_page(out)
    return DemoResult(page, skip, ctr, time.perf_counter() - began)


@contextmanager
def _stage(tell: Callable[[str], None], name: str) -> Iterator[Callable[[str], None]]:
    notes: list[str] = []
    began = time.perf_counter()
    yield notes.append
    tell(f"{name:<9}{time.perf_counter() - began:6.1f} s  {'; '.join(notes)}".rstrip())


def _simulate(folder: Path, config: DemoConfig, overwrite: bool) -> str:
    sizes = {
        "seed": config.seed,
        "viewers": {"users": config.users},
        "videos": {"items": config.items},
        "exposure": {"impressions_per_user": config.impressions_per_user},
    }
    world = make_short_video(ShortVideoConfig.checked(sizes))
    write_short_video(world, folder, format=FORMAT, overwrite=overwrite)
    return f"{world.impressions.height:,} impressions of {config.users:,} users, in {FORMAT}'s files"


def _read(source: Path, folder: Path, overwrite: bool) -> DatasetFolder:
    options = ReadOptions()
    return write_dataset(find_reader(FORMAT)(source, options), folder, options, overwrite=overwrite)


def _fit(dataset: DatasetFolder, folder: Path, config: DemoConfig, overwrite: bool) -> RunFolder:
    settings = find_encoder(ENCODER).Config.checked({"epochs": config.encoder_epochs, "seed": config.seed})
    return fit_encoder(ENCODER, settings, dataset, folder, overwrite=overwrite)[0]


def _rank(dataset: DatasetFolder, scores: ScoreTable, out: Path, config: DemoConfig, overwrite: bool) -> _Rankers:
    settings = find_ranker(RANKER).config.checked(
        {
            "epochs": config.ranker_epochs,
            "batch_size": config.ranker_batch_size,
            "cross_rank": config.ranker_cross_rank,
            "seed": config.seed,
        }
    )
    folder = out / "ranker_with_scores"
    run, _ = train_ranker(RANKER, dataset, folder, label=LABEL, config=settings, scores=scores, overwrite=overwrite)
    return _Rankers(run, dict(placebo_runs(run, dataset, out / "controls")))


def _measure_skip(dataset: DatasetFolder, encoder: RunFolder) -> list[MetricRow]:
    splits = SkipSplits.of(dataset, "test")
    cohorts = skip_cohorts(splits.tested, splits.train)
    oracle = oracle_answer(splits)
    answers = [run_answer(encoder.path, splits), *deterministic_answers(splits), *([oracle] if oracle else [])]
    entries = [
        Entry(
            answer.model,
            answer.seed,
            answer.challenger,
            measure(answer.ranking, answer.distribution, splits.outcomes, cohorts, splits.width),
        )
        for answer in answers
    ]
    return skip_rows(entries, cohorts, splits.split, seed=0)


def _measure_ctr(dataset: DatasetFolder, rankers: _Rankers) -> list[MetricRow]:
    label = StoredLabel.load(rankers.with_scores.path / "label.yaml")
    outcomes = Outcomes.of(dataset, label, "test")
    ours = rankers.with_scores.meta.model
    runs = {ours: rankers.with_scores, **rankers.others}
    predictions = [run_prediction(run, name, dataset, outcomes) for name, run in runs.items()]
    priors = prior_probabilities(dataset, label, outcomes.rows)
    predictions += [Prediction(name, probabilities) for name, probabilities in priors.items()]
    oracle = Oracle.of(dataset)
    predictions.append(Prediction(oracle.name, oracle.flag_probability(outcomes.rows, LABEL)))
    pairs = [(ours, name) for name in rankers.others]
    return ctr_rows(outcomes, predictions, pairs, lift=(LENGTH, oracle.name))
