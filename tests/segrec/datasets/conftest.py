"""Small logs in the publishers' exact forms, quirks included, and the command line in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

LOG_HEADER = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"
)
DAY_MS = 86_400_000
APRIL_8 = 1_649_347_200_000
"2022-04-08 00:00 in UTC+8."

Cli = Callable[..., tuple[int, str, str]]
MakeFolder = Callable[..., Path]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `segrec ARGS`; returns exit code, stdout, stderr."""
    from ranking.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["segrec", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        told = capsys.readouterr()
        return int(stopped.value.code or 0), told.out, told.err

    return run


def log_line(
    user: int, video: int, time_ms: int, *, play: int = 3000, duration: int = 12_000, click: int = 1, rand: int = 0
) -> str:
    """A line of a KuaiRand log; date and hourmin as the publisher writes them (HHMM without leading zeros)."""
    clock = (time_ms - APRIL_8) % DAY_MS // 60_000
    day = 20220408 + (time_ms - APRIL_8) // DAY_MS
    hourmin = clock // 60 * 100 + clock % 60
    return f"{user},{video},{day},{hourmin},{time_ms},{click},0,0,0,0,0,0,{play},{duration},0,0,0,{rand},1"


def usual_lines(days: int = 5, a_day: int = 8) -> list[str]:
    """`days` x `a_day` lines in time order: 4 users, 6 videos, an hour apart."""
    count = days * a_day
    times = [APRIL_8 + (i // a_day) * DAY_MS + (i % a_day) * 3_600_000 for i in range(count)]
    return [log_line(i % 4, i % 6, time, play=1000 * (i % 20), click=i % 2) for i, time in enumerate(times)]


@pytest.fixture
def kuairand(tmp_path: Path) -> MakeFolder:
    """make(lines=..., name=..., users=True, videos=True) -> KuaiRand's folder with its data/ inside."""

    def make(
        lines: Sequence[str] | None = None, *, name: str = "log_standard_4_08_to_4_21_pure.csv",
        header: str = LOG_HEADER, sides: bool = True,
    ) -> Path:  # fmt: skip
        data = tmp_path / "KuaiRand-Pure" / "data"
        data.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("\n".join([header, *(usual_lines() if lines is None else lines)]) + "\n")
        if sides:
            write_kuairand_sides(data)
        return data.parent

    return make


def write_kuairand_sides(data: Path) -> None:
    """User and video features of users 0..3 and videos 0..5, with the publisher's gaps."""
    users = pl.DataFrame({"user_id": range(4)}).with_columns(
        user_active_degree=pl.lit("full_active"), is_lowactive_period=0, is_live_streamer=-124, is_video_author=1,
        follow_user_num=5, follow_user_num_range=pl.lit("(0,10]"), fans_user_num=150,
        fans_user_num_range=pl.lit("[100,1k)"), friend_user_num=3, friend_user_num_range=pl.lit("[1,5)"),
        register_days=799, register_days_range=pl.lit("730+"),
        **{f"onehot_feat{n}": pl.lit(n) if n < 4 else pl.Series([1.0, None, 0.0, 4.0]) for n in range(18)},
    )  # fmt: skip
    users.write_csv(data / "user_features_pure.csv")
    videos = pl.DataFrame({"video_id": range(6)}).with_columns(
        author_id=pl.col("video_id") // 2 + 100, video_type=pl.lit("NORMAL"), upload_dt=pl.lit("2022-04-01"),
        upload_type=pl.lit("ShortImport"), visible_status=0.0,
        video_duration=pl.Series([12000.0, None, 12000.0, 12000.0, 12000.0, 12000.0]), server_width=720.0,
        server_height=1280.0, music_id=9155697141, music_type=pl.Series([9.0, None, 4.0, 4.0, 4.0, 4.0]),
        tag=pl.Series(["39", "39,43", None, "1", "1", "1"]),
    )  # fmt: skip
    videos.write_csv(data / "video_features_basic_pure.csv")


def printed_label(watched: int, duration: int) -> str:
    """label_1D as numpy prints it: lines break after 24 values."""
    count = -(-duration // 5000)
    label = np.full(count, -1)
    exit_at = count if watched >= duration else -(-watched // 5000) - 1
    label[:exit_at] = 1
    if exit_at < count:
        label[exit_at] = 0
    return str(label)


@pytest.fixture
def segmm(tmp_path: Path) -> MakeFolder:
    """make(released=False, features=None) -> SegMM's folder; `released`: the full release's column names."""

    def make(*, released: bool = False, separator: str = ",", views: int = 60) -> Path:
        folder = tmp_path / "SegMM"
        folder.mkdir(exist_ok=True)
        rows = []
        for i in range(views):
            duration, watched = 5000 + 3000 * (i % 60), 1000 + 2500 * (i % 40)
            rows.append(
                (i % 3, 1000 + i % 20, 3_600_000 * (i // 3), duration, watched, printed_label(watched, duration))
            )
        names = ["user_id", "video_id", "time_ms", "duration_ms", "playing_time", "label_1D"]
        frame = pl.DataFrame(rows, schema=names, orient="row")
        if released:
            frame = frame.drop("label_1D").rename({"video_id": "photo_id", "duration_ms": "uration_ms"})
            frame = frame.with_columns(wtd_effective_view=pl.col("playing_time") % 2)
        frame.write_csv(folder / "SegMM_inter.csv", separator=separator)
        return folder

    return make


@pytest.fixture
def segmm_features() -> Callable[..., np.ndarray]:
    """write(folder, parts=1, dtype="float64") -> the (4, 1024) features that were written, rows out of order."""

    def write(folder: Path, *, parts: int = 1, dtype: str = "float64") -> np.ndarray:
        features = np.random.default_rng(0).random((4, 1024)).astype(dtype)
        keys: dict[str, Any] = {"1000-1": 0, "1000-0": 1, "1001-0": 2, "1019-0": 3}
        (folder / "SegMM_photoidframeid2lineid.json").write_text(json.dumps(keys))
        data = features.tobytes()
        if parts == 1:
            (folder / "SegMM_feat_memmap.dat").write_bytes(data)
        else:
            cuts = np.linspace(0, len(data), parts + 1).astype(int) + np.arange(parts + 1) % 2 * 3
            cuts[0], cuts[-1] = 0, len(data)
            for number in range(parts):
                piece = data[cuts[number] : cuts[number + 1]]
                (folder / f"SegMM_feat_memmap_part{number + 1}").write_bytes(piece)
        return features

    return write


TABLE_MAP = """\
user_id: uid
item_id: vid
time: {column: ts, unit: s}
duration: {column: length, unit: s}
watch: {column: played, unit: s}
flags: [liked]
context: [page]
"""


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """make(frame=None, text=TABLE_MAP, name="log.csv") -> (log, map); 50 rows, a second apart 1000 times."""

    def make(frame: pl.DataFrame | None = None, text: str = TABLE_MAP, name: str = "log.csv") -> tuple[Path, Path]:
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        log = table_frame() if frame is None else frame
        (log.write_csv if name.endswith(".csv") else log.write_parquet)(folder / name)
        (tmp_path / "MAP.yaml").write_text(text)
        return folder / name, tmp_path / "MAP.yaml"

    return make


def table_frame(rows: int = 50) -> pl.DataFrame:
    """A log of somebody: text user ids, seconds, true / false."""
    return pl.DataFrame(
        {
            "uid": [f"u{i % 5}" for i in range(rows)],
            "vid": [i % 7 for i in range(rows)],
            "ts": [1_700_000_000 + 1000 * i for i in range(rows)],
            "length": [10.5] * rows,
            "played": [i % 12 / 2 for i in range(rows)],
            "liked": [i % 3 == 0 for i in range(rows)],
            "page": [("home", "search")[i % 2] for i in range(rows)],
        }
    )


@pytest.fixture
def forms() -> SimpleNamespace:
    """Builders of single lines and frames, for tests that spoil them by hand."""
    return SimpleNamespace(
        log_header=LOG_HEADER, log_line=log_line, usual_lines=usual_lines, table_frame=table_frame, table_map=TABLE_MAP,
        label=printed_label, day_ms=DAY_MS, april_8=APRIL_8,
    )  # fmt: skip


@pytest.fixture(scope="session")
def live_world() -> Any:
    """A small made live world whose segments all last 30 s."""
    from segrec.worlds.live import LiveConfig, make_live

    rooms = {"rooms": 30, "segments": 10, "varying_share": 0, "days": 3}
    return make_live(LiveConfig.checked({"seed": 5, "rooms": rooms, "audience": {"users": 300, "exposures": 15}}))


@pytest.fixture
def live_files(live_world: Any, tmp_path: Path) -> Callable[[str], Path]:
    """write(format) -> the world in that format's files."""
    from segrec.worlds.live_writers import write_live

    def write(name: str) -> Path:
        write_live(live_world, tmp_path / name, format=name)
        return tmp_path / name

    return write
