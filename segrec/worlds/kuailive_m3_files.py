"""A made live world in the files of KuaiLive-M3 (Hugging Face imgkkk2004/KuaiLive-M3), live half, quirks included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from segrec.worlds.jagged import Bools, Floats, Ints
from segrec.worlds.live import LiveWorld
from segrec.worlds.live_streamers import ACTIVITIES
from segrec.worlds.live_truth_files import write_impression_truth, write_segment_truth

SEGMENT_FEATURE_DIM = 128
ROOM_FEATURE_DIM = 64
INTERACTION_COLUMNS = (
    "user_id", "author_id", "live_id", "live_play_start_timestamp", "live_play_end_timestamp", "p_date",
    "live_source_category", "enter_live_action", "is_auto_play", "is_follow_enter", "is_follow_leave",
    "play_duration", "like_cnt", "comment_cnt", "send_gift_cnt", "send_gift_num", "follow_author_cnt",
    "cancel_follow_author_cnt", "share_cnt", "report_live_cnt",
)  # fmt: skip
_SOURCES = ("feed", "follow", "nearby", "search", "profile", "live_square")
_ACTIONS = ("click", "slide_up", "slide_down", "re_enter", "auto_enter", "unknown")
_AGES = ("0-12", "12-17", "18-23", "24-30", "31-40", "41-49", "50+", "unknown")
_FANS = ("0-1k", "1k-1w", "1w-10w", "10w-100w", "100w-1000w", "1000w+")


def write_kuailive_m3(world: LiveWorld, folder: Path) -> None:
    """Writes the live tables, the segments' own 128 features, and beside them the frames' and the text's vectors.

    Dates and times stand on the clock of `kuailive_m3.utc_offset_hours`, epoch ms on none. Only segments with a
    viewer are written; silent ones have no text vector.
    """
    streams = [np.random.default_rng([world.config.seed, part]) for part in (301, 302, 303, 304)]
    _write_sessions(world, folder, streams[0])
    _write_events(world, folder, streams[1])
    _write_rooms(world, folder, streams[2])
    seen = world.segments["viewers"].to_numpy() > 0
    _write_features(world, folder, seen, streams[3])
    _write_vectors(world.content.visual, world, seen, folder / "segment_vectors_visual.parquet")
    _write_vectors(world.content.text, world, seen & ~world.content.silent, folder / "segment_vectors_text.parquet")
    write_impression_truth(world, folder)
    write_segment_truth(world, folder, seen)


def _write_sessions(world: LiveWorld, folder: Path, rng: np.random.Generator) -> None:
    """live_interaction.csv: entries; live_show.parquet: impressions without one."""
    clicked = world.impressions.filter(pl.col("is_click") == 1)
    n = clicked.height
    gone = pl.Series(rng.random(n) < world.config.kuailive_m3.missing_end_share)
    follows = pl.Series(rng.random(n) < 0.2)
    new_follow = (pl.col("is_follow") == 1) & ~follows
    start, end = _local(world, pl.col("time_ms")), _local(world, pl.col("time_ms") + pl.col("watch_ms"))
    sessions = clicked.with_columns(
        live_id="item_id",
        live_play_start_timestamp=_printed(start),
        live_play_end_timestamp=pl.when(gone).then(None).otherwise(_printed(end)),
        p_date=start.dt.strftime("%Y%m%d"),
        live_source_category=_drawn(_SOURCES, (0.6, 0.15, 0.08, 0.05, 0.05, 0.07), n, rng),
        enter_live_action=_drawn(_ACTIONS, (0.5, 0.3, 0.1, 0.05, 0.03, 0.02), n, rng),
        is_auto_play=pl.Series((rng.random(n) < 0.05).astype(np.int64)),
        is_follow_enter=follows.cast(pl.Int64),
        is_follow_leave=(new_follow | follows).cast(pl.Int64),
        play_duration="watch_ms",
        send_gift_cnt="gift_cnt",
        send_gift_num="gift_cnt",
        follow_author_cnt=new_follow.cast(pl.Int64),
        cancel_follow_author_cnt=pl.lit(0),
        report_live_cnt=pl.lit(0),
    ).select(INTERACTION_COLUMNS)
    sessions[rng.permutation(n)].write_csv(folder / "live_interaction.csv")
    shown = world.impressions.filter(pl.col("is_click") == 0).select(
        "user_id", "author_id", live_id="item_id", show_timestamp=_local(world, pl.col("time_ms"))
    )
    shown = shown.select("live_id", "user_id", "author_id", "show_timestamp")
    shown[rng.permutation(shown.height)].write_parquet(folder / "live_show.parquet", compression="zstd")


def _write_events(world: LiveWorld, folder: Path, rng: np.random.Generator) -> None:
    """Comments in epoch ms; likes and shares with date and time."""
    at = _printed(_local(world, pl.col("time_ms")))
    comments = world.events["comments"].select(
        "user_id", "author_id", "content", live_stream_id="item_id", comment_ts="time_ms"
    )
    comments = comments.select("live_stream_id", "user_id", "author_id", "content", "comment_ts")
    likes = world.events["likes"].select("user_id", live_id="item_id", like_timestamp=at)
    shares = world.events["shares"].select("user_id", "author_id", live_id="item_id", share_timestamp=at)
    done = pl.Series((rng.random(shares.height) < 0.7).astype(np.int64))
    shares = shares.select("user_id", "live_id", "author_id", "share_timestamp", is_share_success=done)
    for name, rows in {"comment": comments, "like": likes, "share": shares}.items():
        rows[rng.permutation(rows.height)].write_csv(folder / f"live_{name}.csv")


def _write_rooms(world: LiveWorld, folder: Path, rng: np.random.Generator) -> None:
    rooms, streamers, form = world.rooms, world.streamers, world.config.kuailive_m3
    n = len(rooms.item_id)
    begin, over = pl.Series(rooms.begin_ms), pl.Series(rooms.over_ms)
    open_end = pl.Series(rng.random(n) < form.open_room_share)
    meta = pl.select(
        live_id=pl.Series(rooms.item_id),
        author_id=pl.Series(streamers.author_id[rooms.streamer]),
        live_name=pl.Series([_room_name(int(category)) for category in streamers.category[rooms.streamer]]),
        start_timestamp=_local(world, pl.lit(begin)),
        end_timestamp=pl.when(open_end).then(None).otherwise(_local(world, pl.lit(over))),
        live_duration=over - begin,
    )
    meta.write_parquet(folder / "live_room_meta.parquet", compression="zstd")
    meta.select("live_id").sort("live_id").write_csv(folder / "live_room_set.csv")
    pl.DataFrame({"user_id": np.sort(world.audience.user_id)}).write_csv(folder / "user_id_set.csv")
    authors = len(streamers.author_id)
    profile = {
        "author_id": streamers.author_id,
        "is_photo_author": (rng.random(authors) < 0.8).astype(np.int64),
        "is_live_author": np.ones(authors, np.int64),
        "gender": _drawn(("M", "F", "U"), (0.45, 0.5, 0.05), authors, rng),
        "age_segment": pl.Series(rng.choice(_AGES, authors)),
        "fans_user_num": pl.Series(np.array(_FANS)[_ranks(streamers.exposure, len(_FANS))]),
    }
    pl.DataFrame(profile).sort("author_id").write_csv(folder / "author_profile.csv")


def _write_features(world: LiveWorld, folder: Path, seen: Bools, rng: np.random.Generator) -> None:
    """live_emb_128_ts/: frames and text through one fixed projection, in shards and in no order; live_emb_64: means."""
    both = np.hstack([world.content.visual, world.content.text])
    features = both @ rng.normal(0, both.shape[1] ** -0.5, (both.shape[1], SEGMENT_FEATURE_DIM))
    rows = rng.permutation(np.flatnonzero(seen))
    table = pl.DataFrame(
        {
            "live_stream_id": world.segments["item_id"][rows].cast(pl.String),
            "segment_id": pl.Series(rng.permutation(10 * len(seen))[rows] + 1).cast(pl.String),
            "feature_128": _lists(features[rows]),
            "timestamp": world.segments["end_ms"][rows],
        }
    )
    shards = folder / "live_emb_128_ts"
    shards.mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(rows)), world.config.kuailive_m3.parts)):
        table[part].write_parquet(shards / f"live_emb_128_ts_part{number}.parquet", compression="zstd")
    ends = np.cumsum(world.rooms.lengths)
    means = np.stack([chunk.mean(axis=0) for chunk in np.split(features[:, :ROOM_FEATURE_DIM], ends[:-1])])
    rooms = pl.DataFrame({"live_id": world.rooms.item_id, "embedding": _lists(means)})
    rooms.write_parquet(folder / "live_emb_64.parquet", compression="zstd")


def _write_vectors(vectors: Floats, world: LiveWorld, written: Bools, file: Path) -> None:
    rows = np.flatnonzero(written)
    pl.DataFrame(
        {
            "live_stream_id": world.segments["item_id"][rows],
            "timestamp": world.segments["end_ms"][rows],
            "vector": _lists(vectors[rows]),
        }
    ).write_parquet(file, compression="zstd")


def _local(world: LiveWorld, at_ms: pl.Expr) -> pl.Expr:
    form = world.config.kuailive_m3
    return pl.from_epoch(at_ms + form.utc_offset_hours * 3_600_000, time_unit="ms").dt.cast_time_unit(form.time_unit)


def _printed(at: pl.Expr) -> pl.Expr:
    return at.dt.strftime("%Y-%m-%d %H:%M:%S%.3f")


def _drawn(values: tuple[str, ...], chances: tuple[float, ...], n: int, rng: np.random.Generator) -> pl.Series:
    return pl.Series(rng.choice(values, n, p=chances), dtype=pl.String)


def _ranks(values: Floats, parts: int) -> Ints:
    """(n,) which of `parts` equal groups by size each value is in."""
    ranks: Ints = np.argsort(np.argsort(values)) * parts // len(values)
    return ranks


def _lists(rows: Floats) -> pl.Series:
    return pl.Series(rows.astype(np.float32)).arr.to_list()


def _room_name(category: int) -> str:
    return f"{ACTIVITIES[category].name} 直播间"
