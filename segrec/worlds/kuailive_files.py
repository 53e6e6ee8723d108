"""A made live world in the files of KuaiLive (zenodo 16565801): no content of moments, only titles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from segrec.worlds.live import LiveWorld
from segrec.worlds.live_rooms import DAY_MS
from segrec.worlds.live_streamers import ACTIVITIES
from segrec.worlds.live_truth_files import write_impression_truth, write_segment_truth

UTC_OFFSET_MS = 8 * 3_600_000
TITLE_DIM = 128
_RANGES = ("0-10", "10-100", "100-1000", "1000-10000", "10000-100000")
_AGES = ("12-17", "18-23", "24-30", "31-40", "41-49", "50+")
_DATES = ("2014-07-03", "2018-02-04", "2020-11-30", "2023-05-03")


def write_kuailive(world: LiveWorld, folder: Path) -> None:
    """Writes the eight tables and the titles' embeddings; all times in epoch ms, p_date in UTC+8."""
    streams = [np.random.default_rng([world.config.seed, part]) for part in (401, 402, 403)]
    _users(world, streams[0]).write_csv(folder / "user.csv")
    _streamers(world, streams[1]).write_csv(folder / "streamer.csv")
    named = world.config.kuailive.streamer_column
    _rooms(world, streams[2]).rename({"streamer_id": named}).write_csv(folder / "room.csv")
    keys = ("user_id", "live_id", "streamer_id", "timestamp")
    of = {"live_id": "item_id", "streamer_id": "author_id", "timestamp": "time_ms"}
    shown = world.impressions.with_columns(**of, watch_live_time="watch_ms")
    clicked = pl.col("is_click") == 1
    clicks = shown.filter(clicked).select(*keys, "watch_live_time").rename({"streamer_id": named})
    clicks.write_csv(folder / "click.csv")
    shown.filter(~clicked).select(keys).write_csv(folder / "negative.csv")
    events = {name: rows.with_columns(**of) for name, rows in world.events.items()}
    events["comments"].select(keys).write_csv(folder / "comment.csv")
    events["likes"].select(keys).write_csv(folder / "like.csv")
    events["gifts"].select(*keys, gift_price="price").write_csv(folder / "gift.csv")
    titles = np.random.default_rng([world.config.seed, 404]).normal(size=(len(ACTIVITIES), TITLE_DIM))
    np.save(folder / "title_embeddings.npy", titles.astype(np.float32))
    write_impression_truth(world, folder)
    write_segment_truth(world, folder, np.ones(world.segments.height, np.bool_))


def _rooms(world: LiveWorld, rng: np.random.Generator) -> pl.DataFrame:
    """One row a room and p_date. A room that is on at midnight stands on both dates, on the first one with midnight as
    its end (the partition's); some others stand on the next date as well, with the same times."""
    rooms, streamers = world.rooms, world.streamers
    day, last_day = (rooms.begin_ms + UTC_OFFSET_MS) // DAY_MS, (rooms.over_ms - 1 + UTC_OFFSET_MS) // DAY_MS
    crossing = last_day > day
    again = np.flatnonzero(crossing | (rng.random(len(day)) < world.config.kuailive.two_day_share))
    row = np.concatenate([np.arange(len(day)), again])
    date = np.concatenate([day, day[again] + 1])
    midnight = (date + 1) * DAY_MS - UTC_OFFSET_MS
    category = streamers.category[rooms.streamer[row]]
    return pl.DataFrame(
        {
            "p_date": pl.from_epoch(pl.Series(date), time_unit="d").dt.strftime("%Y%m%d").cast(pl.Int64),
            "live_id": rooms.item_id[row],
            "streamer_id": streamers.author_id[rooms.streamer[row]],
            "live_type": np.ones(len(row), np.int64),
            "start_timestamp": rooms.begin_ms[row],
            "end_timestamp": np.where(crossing[row], np.minimum(rooms.over_ms[row], midnight), rooms.over_ms[row]),
            "live_content_category": pl.Series([ACTIVITIES[each].name for each in category.tolist()]),
            "live_name_id": category,
        }
    ).sort("p_date", "live_id")


def _users(world: LiveWorld, rng: np.random.Generator) -> pl.DataFrame:
    n = len(world.audience.user_id)
    return pl.DataFrame(
        {
            "user_id": world.audience.user_id,
            "age": rng.choice(_AGES, n),
            "gender": rng.choice(("M", "F"), n),
            **_device(n, rng),
            "reg_timestamp": rng.choice(_DATES, n),
            "fans_num": rng.choice(_RANGES, n),
            "follow_num": rng.choice(_RANGES, n),
            "first_watch_live_timestamp": rng.choice(_DATES, n),
            "accu_watch_live_cnt": rng.choice(("0-50000", "50000-100000"), n),
            "accu_watch_live_duration": rng.choice(("0-1000000000", "1000000000-5000000000"), n),
            "is_live_streamer": (rng.random(n) < 0.1).astype(np.int64),
            "is_photo_author": (rng.random(n) < 0.7).astype(np.int64),
            **_onehots(n, rng),
        }
    ).sort("user_id")


def _streamers(world: LiveWorld, rng: np.random.Generator) -> pl.DataFrame:
    n = len(world.streamers.author_id)
    return pl.DataFrame(
        {
            "streamer_id": world.streamers.author_id,
            "gender": rng.choice(("M", "F"), n),
            "age": rng.choice(_AGES, n),
            **_device(n, rng),
            "live_operation_tag": [ACTIVITIES[each].name for each in world.streamers.category.tolist()],
            "fans_user_num": rng.choice(_RANGES, n),
            "fans_group_fans_num": rng.choice(_RANGES, n),
            "follow_user_num": rng.choice(_RANGES, n),
            "first_live_timestamp": rng.choice(_DATES, n),
            "accu_live_cnt": rng.choice(("0-100", "100-500", "500-1000"), n),
            "accu_live_duration": rng.choice(("0-500000000", "500000000-1000000000"), n),
            "accu_play_cnt": rng.choice(("0-100000", "100000-500000"), n),
            "accu_play_duration": rng.choice(("0-50000000000", "50000000000-100000000000"), n),
            "reg_timestamp": rng.choice(_DATES, n),
            **_onehots(n, rng),
        }
    ).sort("streamer_id")


def _device(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "country": np.full(n, "China"),
        "device_brand": rng.choice(("APPLE", "HUAWEI", "OPPO", "VIVO", "DESKTOP"), n),
        "device_price": rng.choice(("0", "1000-2000", "2000-5000", "5000+"), n),
    }


def _onehots(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {f"onehot_feat{number}": (rng.random(n) < 0.3).astype(np.int64) for number in range(7)}
