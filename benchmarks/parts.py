"""Parts of the results: `segrec` commands as a user would type them, run once, kept for the next time."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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

    def finish(self, rows: dict[str, Path], keep: Callable[[Row], bool] | None = None) -> None:
        """Writes results/NAME.json with the rows over seeds, those that `keep` wants."""
        wanted = keep or quoted
        kept = {key: [row for row in json.loads(file.read_text()) if wanted(row)] for key, file in rows.items()}
        seconds = round(time.perf_counter() - self.start)
        write_result(self.name, commands=self.commands, seeds=SEEDS, seconds=seconds, rows=kept)

    def _run(self, call: Call) -> None:
        command = [sys.executable, "-m", "ranking.cli", *map(str, call.words), "--out", str(call.makes)]
        shown = shlex.join(["segrec", *command[3:]]).replace(str(self.work), "WORK")
        if self.samples is not None:
            shown = shown.replace(str(self.samples), "SAMPLES")
        self.commands.append(shown)
        if not call.makes.exists():
            print(f"$ {shown}", flush=True)
            subprocess.run(command, check=True)


def quoted(row: Row) -> bool:
    """Rows over seeds, without the single positions of the exit curve."""
    return row["seed"] is None and not str(row["metric"]).startswith("exit_share@")
