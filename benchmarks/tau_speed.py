"""Seconds of jagged tau-b on 10,000 rooms x 120 segments, beside a loop of scipy.stats.kendalltau over the rooms.

    python benchmarks/tau_speed.py [--rooms 10000] [--segments 120] [--threads 2] [--device cpu]

Truths are binomial rates of 30 trials (many ties), predictions are floats. The scipy loop is timed on a tenth of the
rooms and multiplied.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from machine import write_result
from scipy.stats import kendalltau, spearmanr

from segrec.metrics.average_precision import average_precision
from segrec.metrics.kendall import kendall_tau, kendall_windows, tau_influence
from segrec.metrics.rank_correlation import spearman

TRIALS, WINDOW = 30, 20


def made(rooms: int, segments: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions (n,), truths (n,), offsets."""
    random = np.random.default_rng(0)
    rate = random.random(rooms * segments)
    truth = random.binomial(TRIALS, rate) / TRIALS
    return (rate + random.normal(0, 0.2, len(rate))).astype(np.float32), truth, np.arange(rooms + 1) * segments


def timed(name: str, work: Callable[[], object], seconds: dict[str, float], times: int = 3) -> None:
    """Best of some."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    seconds[name] = round(min(taken), 4)
    print(f"{name:<34}{seconds[name]:9.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rooms", type=int, default=10_000)
    parser.add_argument("--segments", type=int, default=120)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    predicted, truth, offsets = made(asked.rooms, asked.segments)
    given = [torch.from_numpy(array).to(asked.device) for array in (predicted, truth, offsets)]
    marks = given[1] > 0.7
    some = max(1, asked.rooms // 10)
    rows = [slice(first, first + asked.segments) for first in offsets[:some]]

    seconds: dict[str, float] = {}
    timed("tau of each room", lambda: kendall_tau(*given), seconds)
    timed(f"tau of each window of {WINDOW}", lambda: kendall_windows(*given, WINDOW)[0].tau, seconds)
    timed("tau of all, with influence", lambda: tau_influence(*given[:2]), seconds)
    timed("Spearman of each room", lambda: spearman(*given), seconds)
    timed("average precision of each room", lambda: average_precision(marks, given[0], given[2]), seconds)
    loops: dict[str, float] = {}
    timed("scipy loop, a tenth: tau", lambda: [kendalltau(predicted[r], truth[r]) for r in rows], loops, 1)
    timed("scipy loop, a tenth: Spearman", lambda: [spearmanr(predicted[r], truth[r]) for r in rows], loops, 1)
    timed("scipy: tau of all", lambda: kendalltau(predicted, truth), loops, 1)
    found = kendall_tau(*given).cpu().numpy()[:some]
    error = float(np.max(np.abs(found - [kendalltau(predicted[r], truth[r]).statistic for r in rows])))
    scale = asked.rooms / some
    ratios = {
        "tau of each room": loops["scipy loop, a tenth: tau"] * scale / seconds["tau of each room"],
        "Spearman of each room": loops["scipy loop, a tenth: Spearman"] * scale / seconds["Spearman of each room"],
    }
    for name, ratio in ratios.items():
        print(f"{name}: scipy loop / ours = {ratio:.1f} x")
    print(f"largest difference from scipy: {error:.1e}")
    write_result(
        "tau_speed", rooms=asked.rooms, segments=asked.segments, threads=asked.threads, device=asked.device,
        seconds=seconds, seconds_scipy=loops, scipy_over_ours=ratios, largest_difference=error,
    )  # fmt: skip


if __name__ == "__main__":
    main()
