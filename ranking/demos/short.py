"""Short videos: simulate, read, fit, score, rank without and with scores, evaluate, report."""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import PositiveInt

from ranking.demos.scored_rankers import ScoredRankers, ctr_table
from ranking.demos.stages import DemoConfig, DemoResult, ResultTable, Tell, demo_folder, stage
from ranking.report import write_page
from ranking.targets.rate_priors import LENGTH
from segrec.datasets import read_dataset
from segrec.encoders import find_encoder
from segrec.encoders.encoder_runs import fit_encoder
from segrec.records import DatasetFolder, MetricRow, RunFolder, write_metric_rows
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
from segrec.worlds.short_video import ShortVideoConfig, make_short_video
from segrec.worlds.short_video_writers import write_short_video

ENCODER, FORMAT = "segment_interest", "kuairand"


class ShortDemoConfig(DemoConfig):
    """How large the demo is; the defaults take under three minutes on two cores."""

    users: PositiveInt = 400
    items: PositiveInt = 1000
    impressions_per_user: PositiveInt = 100


def run_short_demo(out: Path, config: ShortDemoConfig, tell: Tell, *, overwrite: bool = False) -> DemoResult:
    """Goes the whole way inside `out`; `tell` gets a line a stage with its seconds.

    :raises DataError: `out` exists already, or it cannot be written.
    """
    with demo_folder(out, overwrite=overwrite) as began:
        with stage(tell, "simulate") as note:
            note(_simulate(out / "world", config, overwrite))
        with stage(tell, "read") as note:
            dataset = read_dataset(FORMAT, out / "world", out / "dataset", overwrite=overwrite)
            note(f"{sum(dataset.meta.rows.values()):,} rows, {sum(dataset.meta.rejected.values()):,} rejected")
        with stage(tell, "fit") as note:
            encoder = _fit(dataset, out / "encoder", config, overwrite)
            note(encoder.meta.model)
        with stage(tell, "score") as note:
            scores = write_scores(encoder, dataset, out / "scores.parquet", config.folds)
            note(f"train rows out of fold, {config.folds} folds")
        with stage(tell, "rank") as note:
            rankers = ScoredRankers.train(dataset, scores, out, config, overwrite=overwrite)
            note(rankers.names)
        with stage(tell, "evaluate") as note:
            skip, ctr = _measure_skip(dataset, encoder), rankers.measure(dataset, config.replicates)
            write_metric_rows(out / "skip_test.json", skip)
            write_metric_rows(out / "ctr_test.json", ctr)
            note(f"{len(skip) + len(ctr):,} metric rows, intervals by user")
        with stage(tell, "report"):
            page = write_page(out)
        return DemoResult(page, skip, ctr, _tables(skip, ctr), time.perf_counter() - began)


def _tables(skip: list[MetricRow], ctr: list[MetricRow]) -> tuple[ResultTable, ...]:
    models = (ENCODER, "length_position", "item_shrunk", "oracle")
    metrics = {"NLL": "exit", "NDCG@5": "masked_skip"}
    return ResultTable("Where views end (test views, all)", skip, models, metrics, "NLL"), ctr_table(ctr, LENGTH)


def _simulate(folder: Path, config: ShortDemoConfig, overwrite: bool) -> str:
    sizes = {
        "seed": config.seed,
        "viewers": {"users": config.users},
        "videos": {"items": config.items},
        "exposure": {"impressions_per_user": config.impressions_per_user},
    }
    world = make_short_video(ShortVideoConfig.checked(sizes))
    write_short_video(world, folder, format=FORMAT, overwrite=overwrite)
    return f"{world.impressions.height:,} impressions of {config.users:,} users, in {FORMAT}'s files"


def _fit(dataset: DatasetFolder, folder: Path, config: ShortDemoConfig, overwrite: bool) -> RunFolder:
    settings = find_encoder(ENCODER).Config.checked({"epochs": config.encoder_epochs, "seed": config.seed})
    return fit_encoder(ENCODER, settings, dataset, folder, overwrite=overwrite)[0]


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
