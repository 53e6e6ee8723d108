"""A made world in the files of KuaiRand-Pure (zenodo 10439422), quirks included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from segrec.records import Config
from segrec.worlds.jagged import Bools, Ints, positions_of
from segrec.worlds.short_video import SECOND_HALF_MS, ShortVideoWorld
from segrec.worlds.videos import DAY_MS
from segrec.worlds.viewers import Viewers

UTC_OFFSET_MS = 8 * 3_600_000
UNKNOWN_CODE = -124
Texts = npt.NDArray[np.str_]

LOG_COLUMNS = (
    "user_id", "video_id", "date", "hourmin", "time_ms", "is_click", "is_like", "is_follow", "is_comment",
    "is_forward", "is_hate", "long_view", "play_time_ms", "duration_ms", "profile_stay_time", "comment_stay_time",
    "is_profile_enter", "is_rand", "tab",
)  # fmt: skip


_RANGES: dict[str, dict[int, str]] = {
    "follow_user_num": {
        0: "0", 1: "(0,10]", 11: "(10,50]", 51: "(50,100]", 101: "(100,150]", 151: "(150,250]", 251: "(250,500]",
        501: "500+",
    },
    "fans_user_num": {0: "0", 1: "[1,10)", 10: "[10,100)", 100: "[100,1k)", 1_000: "[1k,5k)", 5_000: "[5k,1w)"},
    "friend_user_num": {
        0: "0", 1: "[1,5)", 5: "[5,30)", 30: "[30,60)", 60: "[60,120)", 120: "[120,250)", 250: "250+",
    },
    "register_days": {
        0: "-30", 31: "31-60", 61: "61-90", 91: "91-180", 181: "181-365", 366: "366-730", 731: "730+",
    },
}  # fmt: skip
"The publisher's names of ranges, by the least value in them."

_ONEHOT_SIZES = (50, 1_500, 15, 2, 3, 35, 450, 7, 5, 4)
"Values of onehot_feat2 .. 11."


class KuairandQuirks(Config):
    """What the public files are known to hold beside clean rows."""

    duplicate_share: float = Field(default=0.02, ge=0, lt=1)
    "Share of log rows written twice."
    zero_duration_share: float = Field(default=0.01, ge=0, lt=1)
    "Share of log rows whose duration_ms is 0; their flags follow from the real duration."
    missing_share: float = Field(default=0.03, ge=0, lt=1)
    "Share of missing values where the publisher has some."


def write_kuairand(world: ShortVideoWorld, folder: Path, quirks: KuairandQuirks | None = None) -> None:
    """Writes data/: the three logs, users, videos, month counts; segments_visual.parquet and truth.parquet beside."""
    quirks = quirks or KuairandQuirks()
    data = folder / "data"
    data.mkdir()
    streams = [np.random.default_rng([world.config.seed, part]) for part in (101, 102, 103)]
    log = _log(world, quirks, streams[0])
    first_half, random = pl.col("time_ms") < SECOND_HALF_MS, pl.col("is_rand") == 1
    for name, rows in {
        "log_standard_4_08_to_4_21_pure.csv": first_half & ~random,
        "log_standard_4_22_to_5_08_pure.csv": ~first_half & ~random,
        "log_random_4_22_to_5_08_pure.csv": random,
    }.items():
        log.filter(rows).write_csv(data / name)
    _users(world, quirks, streams[1]).write_csv(data / "user_features_pure.csv")
    _videos(world, quirks, streams[2]).write_csv(data / "video_features_basic_pure.csv")
    _month_counts(world).write_csv(data / "video_features_statistic_pure.csv")
    _segment_vectors(world).write_parquet(data / "segments_visual.parquet", compression="zstd")
    world.truth.write_parquet(data / "truth.parquet", compression="zstd")


def _log(world: ShortVideoWorld, quirks: KuairandQuirks, rng: np.random.Generator) -> pl.DataFrame:
    local = pl.from_epoch(pl.col("time_ms") + UTC_OFFSET_MS, time_unit="ms")
    hidden = pl.Series(rng.random(world.impressions.height) < quirks.zero_duration_share)
    log = world.impressions.with_columns(
        video_id="item_id",
        date=local.dt.strftime("%Y%m%d").cast(pl.Int64),
        hourmin=local.dt.hour().cast(pl.Int64) * 100 + local.dt.minute(),
        play_time_ms="watch_ms",
        duration_ms=pl.when(hidden).then(0).otherwise(pl.col("duration_ms")),
        is_rand="is_random",
    ).select(LOG_COLUMNS)
    copies = 1 + (rng.random(log.height) < quirks.duplicate_share)
    return log[np.repeat(np.arange(log.height), copies)]


def _users(world: ShortVideoWorld, quirks: KuairandQuirks, rng: np.random.Generator) -> pl.DataFrame:
    """The 31 columns; activity shows in user_active_degree, patience and persona (noisily) in the first two onehots."""
    viewers, days = world.viewers, world.config.exposure.days
    n, joined = len(viewers.user_id), viewers.join_day > 0
    rank = np.argsort(np.argsort(viewers.activity)) / n
    degree = np.array(["low_active", "middle_active", "high_active", "full_active"])[
        np.digitize(rank, [0.05, 0.15, 0.4])
    ]
    counts = {
        "follow_user_num": np.exp(rng.normal(4.0, 1.5, n)).astype(np.int64),
        "fans_user_num": np.exp(rng.normal(3.0, 1.5, n)).astype(np.int64),
        "friend_user_num": np.exp(rng.normal(2.5, 1.5, n)).astype(np.int64),
        "register_days": np.where(joined, days - viewers.join_day, rng.integers(30, 2_000, n)),
    }
    columns: dict[str, npt.NDArray[np.generic] | pl.Series] = {
        "user_id": viewers.user_id,
        "user_active_degree": np.where(joined, "2_14_day_new", degree),
        "is_lowactive_period": np.zeros(n, np.int64),
        "is_live_streamer": np.where(rng.random(n) < 0.2, 1, UNKNOWN_CODE),
        "is_video_author": (rng.random(n) < 0.8).astype(np.int64),
    }
    for name, values in counts.items():
        columns[name], columns[f"{name}_range"] = values, _ranges(name, values)
    return pl.DataFrame(columns | _onehot_features(viewers, quirks, rng)).sort("user_id")


def _ranges(name: str, values: Ints) -> Texts:
    labels = _RANGES[name]
    bounds = np.array(list(labels)[1:])
    return np.array(list(labels.values()))[np.searchsorted(bounds, values, side="right")]


def _onehot_features(
    viewers: Viewers, quirks: KuairandQuirks, rng: np.random.Generator
) -> dict[str, npt.NDArray[np.generic] | pl.Series]:
    """onehot_feat0 .. 17: the first tells patience, the second the persona, both with errors; the rest is noise."""
    n, personas = len(viewers.persona), int(viewers.persona.max()) + 1
    columns: dict[str, npt.NDArray[np.generic] | pl.Series] = {
        "onehot_feat0": (viewers.patience + rng.normal(0, 0.3, n) > 0).astype(np.int64),
        "onehot_feat1": np.where(rng.random(n) < 0.85, viewers.persona, rng.integers(personas, size=n)),
    }
    for number, values in enumerate(_ONEHOT_SIZES, start=2):
        columns[f"onehot_feat{number}"] = rng.integers(values, size=n)
    columns["onehot_feat4"] = _with_gaps(rng.integers(15, size=n), rng.random(n) < quirks.missing_share)
    gone = rng.random(n) < quirks.missing_share
    for number in range(12, 18):
        columns[f"onehot_feat{number}"] = _with_gaps((rng.random(n) < 0.2).astype(np.int64), gone)
    return columns


def _with_gaps(values: npt.NDArray[np.generic], gone: Bools) -> pl.Series:
    """Numbers as floats with missing entries: the publisher's columns with gaps print as 39.0."""
    return pl.Series(values.astype(np.float64)).set(pl.Series(gone), None)


def _videos(world: ShortVideoWorld, quirks: KuairandQuirks, rng: np.random.Generator) -> pl.DataFrame:
    """The 12 columns; tag is the leading topic, and the second one where it has a quarter of the video or more."""
    videos = world.videos
    n = len(videos.item_id)
    order = np.argsort(-videos.mean_mixture, axis=1, kind="stable")[:, :2]
    second = np.take_along_axis(videos.mean_mixture, order, axis=1)[:, 1] >= 0.25
    tags = [f"{a + 1},{b + 1}" if both else f"{a + 1}" for (a, b), both in zip(order.tolist(), second, strict=True)]
    days_before = world.config.first_day_ms + UTC_OFFSET_MS + videos.upload_ms
    return pl.DataFrame(
        {
            "video_id": videos.item_id,
            "author_id": 1_000_000 + videos.author * 37,
            "video_type": np.where(rng.random(n) < 0.01, "AD", "NORMAL"),
            "upload_dt": pl.from_epoch(pl.Series(days_before // DAY_MS), time_unit="d").dt.strftime("%Y-%m-%d"),
            "upload_type": rng.choice(["LongImport", "Web", "ShortImport", "Kmovie", "UNKNOWN"], n),
            "visible_status": np.zeros(n),
            "video_duration": _with_gaps(videos.duration_ms, rng.random(n) < quirks.missing_share),
            "server_width": rng.choice([720.0, 1280.0, 960.0, 1080.0], n, p=[0.72, 0.18, 0.05, 0.05]),
            "server_height": rng.choice([1280.0, 720.0], n, p=[0.75, 0.25]),
            "music_id": rng.integers(6_000_000_000, 9_500_000_000, n),
            "music_type": _with_gaps(
                rng.choice([9, 4, 8], n, p=[0.9, 0.09, 0.01]), rng.random(n) < quirks.missing_share
            ),
            "tag": pl.Series(tags).set(pl.Series(rng.random(n) < quirks.missing_share / 2), None),
        }
    ).sort("video_id")


def _month_counts(world: ShortVideoWorld) -> pl.DataFrame:
    """Daily means over the WHOLE log, as published: as features they leak the future."""
    watch, duration = pl.col("watch_ms"), pl.col("duration_ms")
    day = (pl.col("time_ms") + UTC_OFFSET_MS) // DAY_MS
    play, complete = watch > 0, watch >= duration
    sums = {
        "show_cnt": pl.len(),
        "show_user_num": pl.col("user_id").n_unique(),
        "play_cnt": play.sum(),
        "play_user_num": pl.col("user_id").filter(play).n_unique(),
        "play_duration": watch.sum(),
        "complete_play_cnt": complete.sum(),
        "valid_play_cnt": (watch >= pl.min_horizontal(duration, 7_001)).sum(),
        "long_time_play_cnt": pl.col("long_view").sum(),
        "short_time_play_cnt": (play & (watch < 3_000)).sum(),
        "like_cnt": pl.col("is_like").sum(),
        "comment_cnt": pl.col("is_comment").sum(),
        "follow_cnt": pl.col("is_follow").sum(),
        "share_cnt": pl.col("is_forward").sum(),
    }
    per_video = world.impressions.group_by(video_id="item_id").agg(
        day.n_unique().alias("counts"),
        *(sum_.alias(name) for name, sum_ in sums.items()),
        (watch / duration).mean().alias("play_progress"),
    )
    return per_video.with_columns(pl.col(name) / pl.col("counts") for name in sums).sort("video_id")


def _segment_vectors(world: ShortVideoWorld) -> pl.DataFrame:
    """video_id, segment, vector list<f32>: the published sets have none for KuaiRand, the made world does."""
    videos = world.videos
    vectors = pl.Series(videos.vectors.astype(np.float32)).arr.to_list()
    segments = pl.DataFrame(
        {
            "video_id": np.repeat(videos.item_id, videos.lengths),
            "segment": positions_of(videos.lengths).astype(np.int32),
            "vector": vectors,
        }
    )
    return segments.sort("video_id", "segment")
