"""Seconds of the skip metrics on 1,000,000 views x 40 slots, beside ranking by one argsort a row with drawn ties.

    python benchmarks/skip_metrics_speed.py [--views 1000000] [--threads 2]

Views are drawn: lengths 1 .. 40, hazards below 0.3, exits from the hazards themselves, 27,000 users.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
import polars as pl
import torch
from machine import write_result

from segrec.encoders.exit_table import Outcomes
from segrec.encoders.prediction import ExitPrediction
from segrec.metrics.exit_likelihood import (
    concordance_pairs,
    exit_ece,
    exit_nll,
    first_exit_pairs,
    position_calibration,
)
from segrec.metrics.skip_ranking import CUTOFFS, SkipRanks, masked_skip, slots40
from segrec.skip_evaluation import Entry, measure, skip_cohorts, skip_rows
from segrec.skip_evaluation.protocols import slot_scores

SLOTS, USERS, ITEMS = 40, 27_000, 100_000


def made_views(views: int) -> tuple[ExitPrediction, pl.DataFrame]:
    """A calibrated prediction and what happened."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, SLOTS + 1, views)
    hazards = random.random((views, SLOTS), dtype=np.float32) * 0.3
    exits = np.minimum((random.random((views, SLOTS), dtype=np.float32) < hazards).argmax(axis=1), lengths)
    users, items = random.integers(0, USERS, views), random.integers(0, ITEMS, views)
    frame = pl.DataFrame({"user_id": users, "item_id": items, "n_segments": lengths, "exit_segment": exits})
    return ExitPrediction.from_hazards(hazards, lengths), frame


def all_cutoffs(ranks: SkipRanks) -> list[float]:
    return [float(found.mean()) for k in CUTOFFS for found in (ranks.hit(k), ranks.ndcg(k))]


def by_argsort(scores: np.ndarray, exits: np.ndarray) -> list[float]:
    """The same 40-slot metrics the plain way: permute slots, argsort each row, look the target up."""
    random = np.random.default_rng(1)
    order = random.permutation(SLOTS)
    places = np.argsort(np.argsort(scores[:, order], axis=1, kind="stable"), axis=1, kind="stable")
    rank = np.take_along_axis(places, np.argsort(order)[exits][:, None], axis=1)[:, 0] + 1
    return [float(v.mean()) for k in CUTOFFS for v in (rank <= k, np.where(rank <= k, 1 / np.log2(rank + 1), 0))]


def timed(name: str, work: Callable[[], object], seconds: dict[str, float]) -> None:
    """Best of three."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    seconds[name] = round(min(taken), 3)
    print(f"{name:<28}{seconds[name]:8.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--views", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    predicted, frame = made_views(asked.views)
    outcomes = Outcomes.of(frame)
    lengths, exits = outcomes.lengths, outcomes.exits
    inside, whole = predicted.skip_scores(), slot_scores(predicted, SLOTS)
    parts = (predicted.log_exit, predicted.log_end, lengths, exits)
    metrics: dict[str, float] = {}
    timed("masked_skip", lambda: all_cutoffs(masked_skip(inside, lengths, exits)[0]), metrics)
    timed("slots40", lambda: all_cutoffs(slots40(whole, lengths, exits)[0]), metrics)
    timed("exit: NLL", lambda: exit_nll(*parts).mean(), metrics)
    timed("exit: AUC", lambda: first_exit_pairs(predicted.log_exit, exits).value, metrics)
    timed("exit: concordance", lambda: concordance_pairs(predicted.expected_exit(), lengths, exits).value, metrics)
    timed("exit: calibration, ECE", lambda: (position_calibration(*parts), exit_ece(*parts)), metrics)
    total = round(sum(metrics.values()), 3)
    print(f"{'all three protocols':<28}{total:8.3f} s")
    other: dict[str, float] = {}
    targets = np.minimum(exits, SLOTS - 1)
    timed("slots40 by argsort", lambda: by_argsort(whole, targets), other)
    print(f"argsort / ours: {other['slots40 by argsort'] / metrics['slots40']:.1f} x")
    cohorts = skip_cohorts(frame, frame, ["all"])
    measured = measure(predicted, predicted, outcomes, cohorts, SLOTS)
    entries = [Entry(name, None, name == "b", measured) for name in ("item_shrunk", "b")]
    timed("1,000 replicates, 2 models", lambda: skip_rows(entries, cohorts, "test", seed=0), other)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    write_result(
        "skip_metrics_speed", views=asked.views, slots=SLOTS, threads=asked.threads, seconds=metrics,
        seconds_all_protocols=total, seconds_beside=other, peak_bytes=peak,
    )  # fmt: skip


if __name__ == "__main__":
    main()
