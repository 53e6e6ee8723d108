"""Seconds and peak memory of `segrec read kuairand` on a log of KuaiRand-1K's size, and on one twice as long.

    python benchmarks/read_speed.py --samples DIR

The log is made by repeating the real sample (DIR/kuairand_pure_sample) with drawn users, shifted video ids and shifted
times: 11,713,045 rows of 1,000 users over 4,369,953 videos and 31 days, sorted by user as the publisher's files are,
3% of the rows twice. This process stays small: what it measures is the reader's own process (its `ru_maxrss`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import write_result

ROWS, USERS, VIDEOS, DAYS = 11_713_045, 1_000, 4_369_953, 31
FIRST_MS = 1_649_347_200_000  # 2022-04-08 00:00 in UTC+8
SECOND_FILE_DAY = 14  # 2022-04-22
BLOCKS = 40
DAY_MS = 86_400_000


def make_log(samples: Path, folder: Path, times: int) -> None:
    """Writes the two standard logs, the user and the video features in the publisher's form."""
    import numpy as np
    import polars as pl

    sample_folder = samples / "kuairand_pure_sample"
    sample = pl.read_csv(next(sample_folder.glob("log_standard*.csv")))
    videos = pl.read_csv(next(sample_folder.glob("video_features_basic*.csv")))
    users = pl.read_csv(next(sample_folder.glob("user_features*.csv")), infer_schema_length=None)
    folder.mkdir(parents=True)
    users.head(USERS).write_csv(folder / "user_features_1k.csv")
    copies = -(-VIDEOS // videos.height)
    with (folder / "video_features_basic_1k.csv").open("wb") as stream:
        for copy in range(copies):
            shifted = videos.with_columns(pl.col("video_id") + copy * videos.height)
            shifted.filter(pl.col("video_id") < VIDEOS).write_csv(stream, include_header=copy == 0)
    names = ("log_standard_4_08_to_4_21_1k.csv", "log_standard_4_22_to_5_08_1k.csv")
    streams = [(folder / name).open("wb") for name in names]
    rng = np.random.default_rng(0)
    per_block = ROWS * times // BLOCKS
    for block in range(BLOCKS):
        rows = per_block if block < BLOCKS - 1 else ROWS * times - per_block * (BLOCKS - 1)
        frame = sample[rng.integers(0, sample.height, rows)].with_columns(
            user_id=pl.Series(block * (USERS // BLOCKS) + rng.integers(0, USERS // BLOCKS, rows)),
            video_id=(pl.col("video_id") + pl.Series(rng.integers(0, copies, rows)) * videos.height) % VIDEOS,
            time_ms=pl.Series(FIRST_MS + rng.integers(0, DAYS, rows) * DAY_MS)
            + (pl.col("time_ms") + 8 * 3_600_000 + pl.Series(rng.integers(0, 3_600_000, rows))) % DAY_MS,
        )
        twice = rows * 3 // 100
        frame = pl.concat([frame.head(rows - twice), frame.head(twice)]).sort("user_id", "time_ms")
        clock = pl.from_epoch("time_ms", "ms") + pl.duration(hours=8)
        frame = frame.with_columns(
            date=clock.dt.strftime("%Y%m%d"), hourmin=clock.dt.hour().cast(pl.Int32) * 100 + clock.dt.minute()
        )
        late = pl.col("time_ms") >= FIRST_MS + SECOND_FILE_DAY * DAY_MS
        for stream, part in zip(streams, (~late, late), strict=True):
            frame.filter(part).write_csv(stream, include_header=block == 0)
    for stream in streams:
        stream.close()


def measure(folder: Path, out: Path, form: str = "kuairand") -> dict[str, float]:
    """Runs the real command; wall seconds and peak resident memory of its process."""
    command = [sys.executable, "-m", "ranking.cli", "read", form, str(folder), "--out", str(out)]
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"the reader failed with status {status}")
    peak = usage.ru_maxrss * 1024
    return {"seconds": round(seconds, 2), "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2), "peak_bytes": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the made logs lie (default: a temporary folder)"
    )
    parser.add_argument("--times", type=int, nargs="*", default=[1, 2], help="log lengths in units of KuaiRand-1K")
    parser.add_argument("--make", type=int, default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.make is not None:
        make_log(asked.samples, asked.folder, asked.make)
        return
    place = asked.folder or Path(tempfile.mkdtemp(prefix="segrec-read-speed-"))
    runs = []
    for times in asked.times:
        folder = place / f"log{times}"
        if not folder.exists():
            made = ["--samples", str(asked.samples), "--folder", str(folder), "--make", str(times)]
            subprocess.run([sys.executable, __file__, *made], check=True)
        log_bytes = sum(file.stat().st_size for file in folder.glob("log_*"))
        run = {"rows": ROWS * times, "log_bytes": log_bytes, **measure(folder, place / f"dataset{times}")}
        shutil.rmtree(place / f"dataset{times}")
        print(f"{run['rows']:,} rows, {log_bytes / 1e9:.2f} GB: {run['seconds']} s, {run['peak_bytes'] / 1e9:.2f} GB")
        runs.append(run)
    if asked.folder is None:
        shutil.rmtree(place)
    write_result("read_speed", runs=runs)


if __name__ == "__main__":
    main()
