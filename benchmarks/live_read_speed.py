"""Seconds and peak memory of `segrec read kuailive_m3` on made files of some number of sessions, and of half as many.

    python benchmarks/live_read_speed.py [--sessions 5000000] [--width 16]

Proportions are the release's: a room has 5 sessions, 13 segments and 14 unclicked impressions; likes are as many as
sessions, comments a quarter. Vectors are narrow (--width, the release has 128) so that the disk is not measured.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import write_result
from read_speed import measure

FIRST_MS = 1_746_374_400_000
DAY_MS = 86_400_000
SEGMENTS_A_ROOM, SHOWS_A_SESSION, SEGMENT_MS = 13, 14 / 5, 30_000
CHUNK = 500_000


def make_files(folder: Path, sessions: int, width: int) -> None:
    """Rooms of 13 segments of 30 s over 21 days; everything else at random inside the rooms."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(0)
    rooms = sessions // 5
    folder.mkdir(parents=True)
    begin = np.sort(FIRST_MS + rng.integers(0, 21 * DAY_MS, rooms))
    ids = rng.permutation(rooms) + 1
    lasts = SEGMENTS_A_ROOM * SEGMENT_MS
    stamps = pl.from_epoch(pl.col("at"), time_unit="ms")
    pl.DataFrame({"live_id": ids, "author_id": ids % 50_000, "at": begin}).select(
        "live_id", "author_id", live_name=pl.lit("title"), start_timestamp=stamps,
        end_timestamp=pl.from_epoch(pl.col("at") + lasts, time_unit="ms"), live_duration=pl.lit(lasts),
    ).write_parquet(folder / "live_room_meta.parquet")  # fmt: skip

    def events(rows: int) -> pl.DataFrame:
        room = rng.integers(0, rooms, rows)
        at = begin[room] + rng.integers(0, lasts, rows)
        return pl.DataFrame(
            {"user_id": rng.integers(0, 22_000, rows), "author_id": ids[room] % 50_000, "live_id": ids[room], "at": at,
             "left": begin[room] + lasts - at}
        )  # fmt: skip

    def write(name: str, rows: int, columns: dict[str, pl.Expr]) -> None:
        with (folder / name).open("wb") as stream:
            for done in range(0, rows, CHUNK):
                frame = events(min(CHUNK, rows - done)).select(**columns)
                frame.write_csv(stream, include_header=done == 0, datetime_format="%Y-%m-%d %H:%M:%S%.3f")

    keys = {name: pl.col(name) for name in ("user_id", "author_id", "live_id")}
    watched = pl.min_horizontal("left", pl.lit(90_000))
    write("live_interaction.csv", sessions, {
        **keys, "live_play_start_timestamp": stamps,
        "live_play_end_timestamp": pl.from_epoch(pl.col("at") + watched, time_unit="ms"), "play_duration": watched,
    })  # fmt: skip
    write("live_like.csv", sessions, {"user_id": keys["user_id"], "live_id": keys["live_id"], "like_timestamp": stamps})
    write("live_comment.csv", sessions // 4, {
        "live_stream_id": keys["live_id"], "user_id": keys["user_id"], "author_id": keys["author_id"],
        "content": pl.lit("well, hello"), "comment_ts": pl.col("at"),
    })  # fmt: skip
    shows = pl.concat(
        events(min(CHUNK, int(sessions * SHOWS_A_SESSION) - done)).select(**keys, show_timestamp=stamps)
        for done in range(0, int(sessions * SHOWS_A_SESSION), CHUNK)
    )
    shows.write_parquet(folder / "live_show.parquet")
    (folder / "live_emb_128_ts").mkdir()
    for part, some in enumerate(np.array_split(rng.permutation(rooms), max(1, rooms * SEGMENTS_A_ROOM // 2_000_000))):
        room, place = np.repeat(some, SEGMENTS_A_ROOM), np.tile(np.arange(1, SEGMENTS_A_ROOM + 1), len(some))
        vectors = rng.normal(size=(len(room), width)).astype(np.float32)
        pl.DataFrame(
            {"live_stream_id": ids[room].astype(str), "segment_id": np.arange(len(room)).astype(str),
             "feature_128": pl.Series(vectors).arr.to_list(), "timestamp": begin[room] + place * SEGMENT_MS}
        ).write_parquet(folder / "live_emb_128_ts" / f"live_emb_128_ts_part{part}.parquet")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=5_000_000)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--make", type=Path, default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.make is not None:
        make_files(asked.make, asked.sessions, asked.width)
        return
    place = Path(tempfile.mkdtemp(prefix="segrec-live-read-speed-"))
    runs = []
    for sessions in (asked.sessions // 2, asked.sessions):
        folder = place / f"files{sessions}"
        made = ["--sessions", str(sessions), "--width", str(asked.width), "--make", str(folder)]
        subprocess.run([sys.executable, __file__, *made], check=True)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        counts = {
            "sessions": sessions,
            "segments": sessions // 5 * SEGMENTS_A_ROOM,
            "bytes": size,
            "width": asked.width,
        }
        run = {**counts, **measure(folder, place / "dataset", "kuailive_m3")}
        shutil.rmtree(place / "dataset")
        shutil.rmtree(folder)
        print(f"{sessions:,} sessions, {size / 1e9:.2f} GB: {run['seconds']} s, {run['peak_bytes'] / 1e9:.2f} GB")
        runs.append(run)
    shutil.rmtree(place)
    write_result("live_read_speed", runs=runs)


if __name__ == "__main__":
    main()
