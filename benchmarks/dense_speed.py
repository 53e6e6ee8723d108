"""Time of a DCN-V2 training step in fp32, in bf16 and compiled, on this machine's CPU or CUDA device.

    python benchmarks/dense_speed.py [--device cpu] [--batches 512,4096] [--steps 20]

26 tables of 1,000 rows, width 16, 2 full cross layers beside an MLP 256-128; the step is that of `segrec rank dcn_v2`.
Steps of the three take turns, so that what else the machine does weighs on all alike; ratios are of medians.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time
from itertools import chain, repeat

import torch
from machine import write_result
from ranker_step import DIM, TABLES, fitted_dcn_v2, ranking_batches

ROWS, WARM = 1000 * TABLES, 5
SETTINGS = {"fp32": {}, "bf16": {"precision": "bf16"}, "compiled": {"compile": True}}


def seconds_of(device: str, batch: int, steps: int) -> dict[str, float]:
    """Median seconds of a step by setting."""
    running = {}
    for name, setting in SETTINGS.items():
        _, fittable = fitted_dcn_v2(ROWS, DIM, device, batch_size=batch, **setting)
        running[name] = (fittable.step, chain.from_iterable(repeat(ranking_batches(ROWS, batch))), [])
    for number in range(WARM + steps):
        for step, batches, times in running.values():
            start = time.perf_counter()
            step(batches)
            if device == "cuda":
                torch.cuda.synchronize()
            if number >= WARM:
                times.append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, (_, _, times) in running.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batches", default="512,4096")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for batch in map(int, options.batches.split(",")):
        seconds = seconds_of(options.device, batch, options.steps)
        found[str(batch)] = {
            "seconds": seconds,
            **{f"fp32 / {name}": seconds["fp32"] / seconds[name] for name in seconds},
        }
        told = ", ".join(
            f"{name} {value * 1000:.1f} ms ({seconds['fp32'] / value:.2f} x)" for name, value in seconds.items()
        )
        print(f"batch {batch:,}: {told}", flush=True)
    write_result("dense_speed", device=options.device, threads=1, by_batch=found)


if __name__ == "__main__":
    main()
