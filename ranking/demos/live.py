"""Live rooms: simulate, read, fit, score, rank, evaluate, replay as a stream, report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveFloat, PositiveInt

from ranking.demos.live_replay import replay
from ranking.demos.scored_rankers import ScoredRankers, ctr_table
from ranking.demos.stages import DemoConfig, DemoResult, ResultTable, Tell, demo_folder, stage
from ranking.rankers import find_ranker
from ranking.report import write_page
from ranking.targets.rate_priors import AGE
from ranking.training.segment_run import train_segment_ranker
from segrec.datasets import read_dataset
from segrec.encoders import find_encoder
from segrec.encoders.encoder_runs import fit_encoder
from segrec.highlight_evaluation import live_table
from segrec.records import DatasetFolder, MetricRow, RunFolder, write_metric_rows
from segrec.scoring.score_tables import write_scores
from segrec.worlds.live import LiveConfig, make_live
from segrec.worlds.live_writers import write_live

FORMAT = "kuailive_m3"
HIGHLIGHTS, CLICKS, SEGMENT_RANKER = "kuaihl", "content_ctr", "difm"
"Which segments are highlights; what a ranker of clicks gets scores from; what learns from ids and counts alone."
LOSS_RUNS: Mapping[str, Any] = {
    "variant": "paper", "width": 32, "heads": 4, "fusion_layers": 1, "layers": 1, "learning_rate": 1e-3,
    "min_viewers": None, "vector_scaling": "standard", "align": "mtam",
}  # fmt: skip
"KuaiHL's losses and windows in a network small enough for a demo."


class LiveDemoConfig(DemoConfig):
    """How large the demo is; the defaults take under three minutes on two cores."""

    rooms: PositiveInt = 120
    segments: int = Field(default=45, ge=3)
    "Mean number of segments of a room."
    exposures: PositiveFloat = 60.0
    "Mean number of users who are shown a room in 30 s."
    encoder_epochs: PositiveInt = 12
    segment_ranker_epochs: PositiveInt = 6
    loss_epochs: PositiveInt = 6
    "Of the two small fits that show the pairwise losses L0 and L1."
    ranker_epochs: PositiveInt = 2
    ranker_batch_size: PositiveInt = 1024
    replicates: PositiveInt = 300


def run_live_demo(out: Path, config: LiveDemoConfig, tell: Tell, *, overwrite: bool = False) -> DemoResult:
    """Goes the whole way inside `out`; `tell` gets a line a stage with its seconds.

    :raises DataError: `out` exists already, or it cannot be written.
    """
    with demo_folder(out, overwrite=overwrite) as began:
        with stage(tell, "simulate") as note:
            note(_simulate(out / "world", config, overwrite))
        with stage(tell, "read") as note:
            dataset = read_dataset(FORMAT, out / "world", out / "dataset", overwrite=overwrite)
            note(_sizes(dataset))
        with stage(tell, "fit") as note:
            highlights, clicks = (_fit(name, dataset, out, config, overwrite) for name in (HIGHLIGHTS, CLICKS))
            note(f"{highlights.meta.model}: lvtr of the next segment; {clicks.meta.model}: ctr of this one")
        with stage(tell, "losses") as note:
            note(_fit_losses(dataset, out, config, overwrite))
        with stage(tell, "score") as note:
            scores = write_scores(clicks, dataset, out / "scores.parquet", config.folds)
            note(f"{clicks.meta.model}, train rooms out of fold, {config.folds} folds")
        with stage(tell, "rank") as note:
            segments = _rank_segments(dataset, out / SEGMENT_RANKER, config, overwrite)
            rankers = ScoredRankers.train(dataset, scores, out, config, overwrite=overwrite)
            note(f"segments: {segments.meta.model}; impressions: {rankers.names}")
        with stage(tell, "evaluate") as note:
            highlight = live_table(dataset, [str(highlights.path), str(segments.path)])
            ctr = rankers.measure(dataset, config.replicates)
            write_metric_rows(out / "highlight_test.json", highlight)
            write_metric_rows(out / "ctr_test.json", ctr)
            note(f"{len(highlight) + len(ctr):,} metric rows, intervals by room and by user")
        with stage(tell, "replay") as note:
            note(replay(highlights, dataset).told)
        with stage(tell, "report"):
            page = write_page(out)
        return DemoResult(page, highlight, ctr, _tables(highlight, ctr), time.perf_counter() - began)


def _tables(highlight: list[MetricRow], ctr: list[MetricRow]) -> tuple[ResultTable, ...]:
    metrics = {"tau_room": "live", "tau_global": "live"}
    models = (HIGHLIGHTS, SEGMENT_RANKER, "last_value", "room_mean", "streamer_mean", "oracle")
    title = "Highlights: lvtr of the next segment (test rooms, all)"
    return ResultTable(title, highlight, models, metrics, "tau_room"), ctr_table(ctr, AGE)


def _simulate(folder: Path, config: LiveDemoConfig, overwrite: bool) -> str:
    sizes = {
        "seed": config.seed,
        "rooms": {"rooms": config.rooms, "segments": config.segments},
        "audience": {"exposures": config.exposures},
    }
    world = make_live(LiveConfig.checked(sizes))
    write_live(world, folder, format=FORMAT, overwrite=overwrite)
    return f"{config.rooms:,} rooms, {world.impressions.height:,} impressions, in {FORMAT}'s files"


def _sizes(dataset: DatasetFolder) -> str:
    meta = dataset.meta
    return (
        f"{sum(meta.segments.values()):,} segments, {sum(meta.rows.values()):,} impressions, "
        f"{sum(meta.rejected.values()):,} rejected"
    )


def _fit(name: str, dataset: DatasetFolder, out: Path, config: LiveDemoConfig, overwrite: bool) -> RunFolder:
    settings = find_encoder(name).Config.checked({"epochs": config.encoder_epochs, "seed": config.seed})
    return fit_encoder(name, settings, dataset, out / name, overwrite=overwrite)[0]


def _fit_losses(dataset: DatasetFolder, out: Path, config: LiveDemoConfig, overwrite: bool) -> str:
    for pair in ("L0", "L1"):
        given = {**LOSS_RUNS, "pair": pair, "epochs": config.loss_epochs, "seed": config.seed, "log_every": 5}
        settings = find_encoder(HIGHLIGHTS).Config.checked(given)
        fit_encoder(HIGHLIGHTS, settings, dataset, out / f"pair_{pair}", overwrite=overwrite)
    return f"{HIGHLIGHTS} in small, pairwise loss L0 and L1: for their curves only"


def _rank_segments(dataset: DatasetFolder, folder: Path, config: LiveDemoConfig, overwrite: bool) -> RunFolder:
    settings = find_ranker(SEGMENT_RANKER).config.checked(
        {"epochs": config.segment_ranker_epochs, "batch_size": config.ranker_batch_size, "seed": config.seed}
    )
    return train_segment_ranker(
        SEGMENT_RANKER, dataset, folder, rate="lvtr", shift=1, config=settings, overwrite=overwrite
    )[0]
