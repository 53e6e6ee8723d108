from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from segrec.worlds.live_streamers import ACTIVITIES
from segrec.worlds.live_writers import write_live

KEYS = ["user_id", "live_id", "streamer_id", "timestamp"]
ONEHOTS = [f"onehot_feat{number}" for number in range(7)]
COLUMNS = {
    "user.csv": [
        "user_id", "age", "gender", "country", "device_brand", "device_price", "reg_timestamp", "fans_num",
        "follow_num", "first_watch_live_timestamp", "accu_watch_live_cnt", "accu_watch_live_duration",
        "is_live_streamer", "is_photo_author", *ONEHOTS,
    ],
    "streamer.csv": [
        "streamer_id", "gender", "age", "country", "device_brand", "device_price", "live_operation_tag",
        "fans_user_num", "fans_group_fans_num", "follow_user_num", "first_live_timestamp", "accu_live_cnt",
        "accu_live_duration", "accu_play_cnt", "accu_play_duration", "reg_timestamp", *ONEHOTS,
    ],
    "room.csv": [
        "p_date", "live_id", "streamer_id", "live_type", "start_timestamp", "end_timestamp", "live_content_category",
        "live_name_id",
    ],
    "click.csv": [*KEYS, "watch_live_time"],
    "negative.csv": KEYS,
    "comment.csv": KEYS,
    "like.csv": KEYS,
    "gift.csv": [*KEYS, "gift_price"],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(live_world, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("kuailive") / "made"
    write_live(live_world, out, format="kuailive")
    return out


@pytest.mark.parametrize("name", COLUMNS)
def test_tables_have_the_documented_columns(folder, name):
    frame = pd.read_csv(folder / name)
    assert list(frame.columns) == COLUMNS[name]
    assert len(frame)
    assert not frame.isna().any().any()


def test_clicks_and_negatives_are_the_impressions(folder, live_world):
    clicks, negatives = pl.read_csv(folder / "click.csv"), pl.read_csv(folder / "negative.csv")
    shown = live_world.impressions
    assert clicks["watch_live_time"].sum() == shown["watch_ms"].sum()
    assert (clicks["watch_live_time"] > 0).all()
    told = pl.concat([clicks.drop("watch_live_time"), negatives]).sort("timestamp", "user_id")
    made = shown.select("user_id", "item_id", "author_id", "time_ms").sort("time_ms", "user_id")
    assert told.rows() == made.rows()


def test_some_rooms_stand_on_two_dates(folder, live_world):
    rooms, made = pl.read_csv(folder / "room.csv"), live_world.rooms
    once = rooms.group_by("live_id").agg(
        pl.len(), pl.min("start_timestamp"), pl.min("end_timestamp").alias("first_end"), pl.max("end_timestamp")
    )
    assert dict(once.select("live_id", "start_timestamp").iter_rows()) == dict(
        zip(made.item_id.tolist(), made.begin_ms.tolist(), strict=True)
    )
    assert dict(once.select("live_id", "end_timestamp").iter_rows()) == dict(
        zip(made.item_id.tolist(), made.over_ms.tolist(), strict=True)
    )
    assert not rooms.select("live_id", "p_date").is_duplicated().any()
    assert once["len"].max() == 2
    assert 1 < (once["len"] == 2).sum() < 12


def test_a_room_that_is_on_at_midnight_first_ends_there(make_live_world, tmp_path):
    world = make_live_world("rooms.segments=300", "audience.exposures=1", "kuailive.two_day_share=0", "seed=2")
    write_live(world, tmp_path / "made", format="kuailive")
    table = pl.read_csv(tmp_path / "made" / "room.csv").sort("p_date")
    made, eight_hours, day = world.rooms, 8 * 3_600_000, 24 * 3_600_000
    crossing = (made.begin_ms + eight_hours) // day < (made.over_ms - 1 + eight_hours) // day
    assert 0 < crossing.sum() < len(crossing)
    for room, over in enumerate(made.over_ms.tolist()):
        ends = table.filter(pl.col("live_id") == int(made.item_id[room]))["end_timestamp"].to_list()
        midnight = (over + eight_hours) // day * day - eight_hours
        assert ends == ([midnight, over] if crossing[room] else [over])


def test_titles_are_indexed_by_the_rooms_name(folder):
    titles = np.load(folder / "title_embeddings.npy")
    rooms = pl.read_csv(folder / "room.csv")
    assert titles.shape == (len(ACTIVITIES), 128)
    assert titles.dtype == np.float32
    assert rooms["live_name_id"].is_between(0, len(titles) - 1).all()
    assert set(rooms["live_content_category"]) <= {activity.name for activity in ACTIVITIES}


def test_the_publishers_own_name_for_the_streamer(make_live_world, tmp_path):
    write_live(make_live_world("kuailive.streamer_column=author_id"), tmp_path / "made", format="kuailive")
    for name, column in {"room.csv": 2, "click.csv": 2}.items():
        assert pd.read_csv(tmp_path / "made" / name, nrows=0).columns[column] == "author_id"
    for name in ("negative.csv", "comment.csv", "like.csv", "gift.csv", "streamer.csv"):
        assert "streamer_id" in pd.read_csv(tmp_path / "made" / name, nrows=0).columns


def test_gifts_have_a_price(folder, live_world):
    gifts = pl.read_csv(folder / "gift.csv")
    assert gifts["gift_price"].sum() == live_world.impressions["gift_price"].sum()
    assert (gifts["gift_price"] > 0).all()


def test_truth_lies_beside(folder, live_world):
    assert pl.read_parquet(folder / "truth.parquet").equals(live_world.truth)
    assert pl.read_parquet(folder / "truth_segments.parquet").equals(live_world.truth_segments)
