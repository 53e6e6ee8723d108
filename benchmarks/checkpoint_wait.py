"""How long training waits for a checkpoint: written now, and written in the background from a copy of the state.

    python benchmarks/checkpoint_wait.py [--rows 1000000,10000000] [--dim 16] [--rounds 3] [--save]

One table with row-wise Adagrad. `waited`: seconds of one `Checkpoints.save` call; `until_there`: until the checkpoint
is complete, hashes included. `more_gib`: the process's peak memory above what it held before the first save. The ratio
is the median of ratios of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from machine import write_result
from torch import nn


class OneTable(nn.Module):
    """A table and nothing else."""

    def __init__(self, rows: int, dim: int) -> None:
        from segrec.tables import TableSpec, bags

        super().__init__()
        self.spec = TableSpec(name="id", rows=rows, dim=dim, features=("id",))
        self.tables = bags([self.spec])


def measure(rows: int, dim: int, background: bool, rounds: int) -> dict[str, list[float]]:
    """Seconds a save, and GiB of memory beyond the table's."""
    from segrec.fitting import Checkpoints, Progress
    from segrec.tables import distribute

    torch.set_num_threads(1)
    module = OneTable(rows, dim)
    distributed = distribute(module, [module.spec], seed=0)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    waited, there = [], []
    with tempfile.TemporaryDirectory() as folder:
        kept = Checkpoints(Path(folder), distributed, None, keep_last=1, background=background)
        for number in range(rounds):
            start = time.perf_counter()
            kept.save(Progress(step=number + 1))
            waited.append(time.perf_counter() - start)
            kept.flush()
            there.append(time.perf_counter() - start)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) / 2**20
    return {"waited": waited, "until_there": there, "more_gib": [more]}


def main() -> None:
    """Measures each size both ways, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1000000,10000000")
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="write results/checkpoint_wait.json")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.one is not None:
        print(json.dumps(measure(int(wanted.rows), wanted.dim, wanted.one == "background", wanted.rounds)))
        return
    results = []
    for rows in map(int, wanted.rows.split(",")):
        found = {way: _in_a_process(way, rows, wanted.dim, wanted.rounds) for way in ("now", "background")}
        pairs = zip(found["background"]["waited"], found["now"]["waited"], strict=True)
        result = {
            "rows": rows, "dim": wanted.dim, "gib": rows * (wanted.dim + 1) * 4 / 2**30,
            "waited_ratio": statistics.median(one / other for one, other in pairs), **found,
        }  # fmt: skip
        results.append(result)
        medians = {
            way: {name: statistics.median(values) for name, values in part.items()} for way, part in found.items()
        }
        print(
            f"{rows} rows ({result['gib']:.2f} GiB): waited ratio {result['waited_ratio']:.3f}, {medians}", flush=True
        )
    if wanted.save:
        write_result("checkpoint_wait", checkpoints=results)


def _in_a_process(way: str, rows: int, dim: int, rounds: int) -> dict[str, list[float]]:
    command = [sys.executable, __file__, "--one", way, "--rows", str(rows), "--dim", str(dim), "--rounds", str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
