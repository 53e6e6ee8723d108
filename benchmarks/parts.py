"""Parts of the results: `segrec` commands as a user would type them, run once, kept for the next time."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from machine import write_result

SEEDS = (1, 2, 3)

Row = dict[str, object]


class Call(NamedTuple):
    """`segrec WORDS --out MAKES`."""

    words: Sequence[str | Path]
    makes: Path


class Part:
    """One table: its commands as they ran, and its seconds."""

    def __init__(self, name: str, work: Path, samples: Path | None = None, jobs: int = 1) -> None:
        self.name, self.work, self.samples, self.jobs = name, work, samples, jobs
        self.commands: list[str] = []
        self.start = time.perf_counter()

    def segrec(self, *words: str | Path, makes: Path) -> Path:
        """Runs `segrec WORDS --out MAKES`, or finds what an earlier call made."""
        return self.all_of([Call(words, makes)])[0]

    def all_of(self, calls: Sequence[Call]) -> list[Path]:
        """Runs calls that do not need each other, `jobs` at a time; gives what they made."""
        with ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(self._run, calls))
        return [call.makes for call in calls]

    def many(self, calls: Sequence[Call]) -> list[Path]:
        """As `all_of`, for hundreds of small calls: `jobs` processes of one thread each start once and stay."""
        missing = [call for call in calls if not call.makes.exists()]
        self.commands += [self._shown(call) for call in calls]
        with ProcessPoolExecutor(self.jobs, multiprocessing.get_context("spawn"), initializer=one_thread) as pool:
            for call, seconds in zip(missing, pool.map(run_here, missing), strict=True):
                print(f"$ {self._shown(call)}  # {seconds:.0f} s", flush=True)
        return [call.makes for call in calls]

    def finish(self, rows: dict[str, Path], keep: Callable[[Row], bool] | None = None) -> None:
        """Writes results/NAME.json with the rows over seeds, those that `keep` wants."""
        wanted = keep or quoted
        kept = {key: [row for row in json.loads(file.read_text()) if wanted(row)] for key, file in rows.items()}
        seconds = round(time.perf_counter() - self.start)
        write_result(self.name, commands=self.commands, seeds=SEEDS, seconds=seconds, rows=kept)

    def _run(self, call: Call) -> None:
        self.commands.append(self._shown(call))
        if not call.makes.exists():
            print(f"$ {self.commands[-1]}", flush=True)
            subprocess.run([sys.executable, "-m", "ranking.cli", *_words(call)], check=True)

    def _shown(self, call: Call) -> str:
        shown = shlex.join(["segrec", *_words(call)]).replace(str(self.work), "WORK")
        return shown if self.samples is None else shown.replace(str(self.samples), "SAMPLES")


def _words(call: Call) -> list[str]:
    return [*map(str, call.words), "--out", str(call.makes)]


def one_thread() -> None:
    """Of a worker: calls side by side must not fight for the cores."""
    import torch

    torch.set_num_threads(1)


def run_here(call: Call) -> float:
    """Runs one call in this process, silently; gives its seconds."""
    from ranking.cli import build_app

    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        build_app()(_words(call), standalone_mode=False)
    return time.perf_counter() - start


def command_line(
    doc: str | None,
    prefix: str,
    *,
    datasets: Mapping[str, Callable[[Part], Path]],
    rankers: Sequence[str],
    measure: Callable[[Part, Path, Sequence[str]], None],
    show: Callable[[str], None],
) -> None:
    """Measures each data set's part `PREFIX_NAME`, then shows its tables; --print only shows."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, help="folder of the real samples")
    parser.add_argument("--work", type=Path, default=Path("runs") / prefix)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=datasets, default=list(datasets))
    parser.add_argument("--rankers", nargs="*", choices=rankers, default=list(rankers))
    parser.add_argument("--print", action="store_true", help="only print the tables of benchmarks/results")
    arguments = parser.parse_args()
    if not arguments.print:
        if arguments.samples is None:
            parser.error("--samples DIR is needed to measure")
        for name in arguments.only:
            part = Part(f"{prefix}_{name}", arguments.work.resolve(), arguments.samples.resolve(), arguments.jobs)
            measure(part, datasets[name](part), arguments.rankers)
    for name in arguments.only:
        show(name)


def quoted(row: Row) -> bool:
    """Rows over seeds, without the single positions of the exit curve."""
    return row["seed"] is None and not str(row["metric"]).startswith("exit_share@")
