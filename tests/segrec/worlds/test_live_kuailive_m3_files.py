from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from ranking.cli import build_app
from segrec.records import ConfigError, DataError, DatasetFolder
from segrec.worlds.kuailive_m3_files import INTERACTION_COLUMNS
from segrec.worlds.live import LiveWorld
from segrec.worlds.live_writers import write_live

CSV_COLUMNS = {
    "live_interaction.csv": list(INTERACTION_COLUMNS),
    "live_comment.csv": ["live_stream_id", "user_id", "author_id", "content", "comment_ts"],
    "live_like.csv": ["user_id", "live_id", "like_timestamp"],
    "live_share.csv": ["user_id", "live_id", "author_id", "share_timestamp", "is_share_success"],
    "author_profile.csv": [
        "author_id", "is_photo_author", "is_live_author", "gender", "age_segment", "fans_user_num",
    ],
    "user_id_set.csv": ["user_id"],
    "live_room_set.csv": ["live_id"],
}  # fmt: skip
PARQUET_COLUMNS = {
    "live_show.parquet": ["live_id", "user_id", "author_id", "show_timestamp"],
    "live_room_meta.parquet": [
        "live_id", "author_id", "live_name", "start_timestamp", "end_timestamp", "live_duration",
    ],
    "live_emb_64.parquet": ["live_id", "embedding"],
    "segment_vectors_visual.parquet": ["live_stream_id", "timestamp", "vector"],
    "segment_vectors_text.parquet": ["live_stream_id", "timestamp", "vector"],
    "truth.parquet": ["user_id", "item_id", "time_ms", "click_probability", "long_view_probability"],
    "truth_segments.parquet": ["item_id", "end_ms", "ctr", "lvtr", "ctr_next", "lvtr_next", "highlight"],
    "truth_alignment.parquet": ["item_id", "end_ms", "text_offset"],
}  # fmt: skip
EIGHT_HOURS_MS = 8 * 3_600_000


@pytest.fixture(scope="module")
def folder(live_world, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("m3") / "made"
    write_live(live_world, out)
    return out


@pytest.fixture(scope="module")
def sessions(folder) -> pd.DataFrame:
    """As pandas reads them, with start and end in epoch ms (NaN = missing)."""
    frame = pd.read_csv(folder / "live_interaction.csv")
    for side in ("start", "end"):
        times = pd.to_datetime(frame[f"live_play_{side}_timestamp"], format="%Y-%m-%d %H:%M:%S.%f")
        whole = times.astype("datetime64[ms]").astype("int64") - EIGHT_HOURS_MS
        frame[f"{side}_ms"] = whole.where(times.notna()) if side == "end" else whole
    return frame


@pytest.mark.parametrize("name", CSV_COLUMNS)
def test_csv_files_have_the_documented_columns_and_rows(folder, name):
    frame = pd.read_csv(folder / name)
    assert list(frame.columns) == CSV_COLUMNS[name]
    assert len(frame)
    assert not frame.drop(columns="live_play_end_timestamp", errors="ignore").isna().any().any()


@pytest.mark.parametrize("name", PARQUET_COLUMNS)
def test_parquet_files_have_the_documented_columns_and_rows(folder, name):
    frame = pl.read_parquet(folder / name)
    assert frame.columns == PARQUET_COLUMNS[name]
    assert frame.height


def test_sessions_are_the_entries_and_shows_the_rest(sessions, folder, live_world):
    clicked = live_world.impressions.filter(pl.col("is_click") == 1).to_pandas()
    joined = sessions.merge(
        clicked, left_on=["user_id", "live_id", "start_ms"], right_on=["user_id", "item_id", "time_ms"],
        suffixes=("", "_made"),
    )  # fmt: skip
    assert len(joined) == len(clicked) == len(sessions)
    same = {"play_duration": "watch_ms", "like_cnt": "like_cnt_made", "comment_cnt": "comment_cnt_made"}
    same |= {"send_gift_cnt": "gift_cnt", "share_cnt": "share_cnt_made", "author_id": "author_id_made"}
    for name, made in same.items():
        assert (joined[name] == joined[made]).all()
    ended = joined["end_ms"].notna()
    assert (joined["end_ms"] - joined["start_ms"] == joined["play_duration"])[ended].all()
    shows = pl.read_parquet(folder / "live_show.parquet")
    assert shows.schema["show_timestamp"] == pl.Datetime("us")
    at_ms = shows["show_timestamp"].dt.epoch("ms") - EIGHT_HOURS_MS
    told = set(zip(shows["user_id"], shows["live_id"], at_ms, strict=True))
    passed = live_world.impressions.filter(pl.col("is_click") == 0)
    assert told == set(passed.select("user_id", "item_id", "time_ms").iter_rows())


def test_some_ends_and_some_rooms_are_open(sessions, folder):
    missing = sessions["live_play_end_timestamp"].isna().mean()
    assert 0.003 < missing < 0.03
    meta = pl.read_parquet(folder / "live_room_meta.parquet")
    assert 0 < meta["end_timestamp"].null_count() < 8
    assert meta["start_timestamp"].null_count() == 0
    ended = meta.filter(pl.col("end_timestamp").is_not_null())
    lasted = (ended["end_timestamp"] - ended["start_timestamp"]).dt.total_milliseconds()
    assert (lasted == ended["live_duration"]).all()


def test_dates_stand_on_the_local_clock(sessions):
    local = pd.to_datetime(sessions["start_ms"] + EIGHT_HOURS_MS, unit="ms").dt.strftime("%Y%m%d").astype(int)
    assert (local == sessions["p_date"]).all()
    assert sessions["p_date"].between(20250505, 20250514).all()


@pytest.mark.parametrize(("hours", "unit"), [(0, "ns"), (-5, "ms")])
def test_clock_and_unit_can_be_others(make_live_world, tmp_path, hours, unit):
    world = make_live_world(f"kuailive_m3.utc_offset_hours={hours}", f"kuailive_m3.time_unit={unit}")
    write_live(world, tmp_path / "made")
    meta = pl.read_parquet(tmp_path / "made" / "live_room_meta.parquet")
    assert meta.schema["start_timestamp"] == pl.Datetime(unit)
    starts = meta["start_timestamp"].dt.epoch("ms") - hours * 3_600_000
    assert sorted(starts.to_list()) == world.rooms.begin_ms.tolist()


def test_segments_lie_in_shards_as_strings_with_their_end(folder, live_world):
    shards = sorted((folder / "live_emb_128_ts").glob("live_emb_128_ts_part*.parquet"))
    assert len(shards) == 3
    table = pl.concat([pl.read_parquet(shard) for shard in shards])
    assert table.schema == {
        "live_stream_id": pl.String, "segment_id": pl.String, "feature_128": pl.List(pl.Float32), "timestamp": pl.Int64,
    }  # fmt: skip
    assert not table["segment_id"].is_duplicated().any()
    assert (table["feature_128"].list.len() == 128).all()
    assert not table["timestamp"].is_sorted()
    keys = table.select(item_id=pl.col("live_stream_id").cast(pl.Int64), end_ms="timestamp")
    seen = live_world.segments.filter(pl.col("viewers") > 0)
    assert keys.join(seen, on=["item_id", "end_ms"], validate="1:1").height == seen.height == keys.height


def test_segments_without_a_viewer_are_not_there(make_live_world, tmp_path):
    world = make_live_world("audience.exposures=0.6")
    assert (world.segments["viewers"] == 0).sum() > 5
    write_live(world, tmp_path / "made")
    seen = world.segments.filter(pl.col("viewers") > 0).height
    for name in ("truth_segments", "truth_alignment", "segment_vectors_visual"):
        assert pl.read_parquet(tmp_path / "made" / f"{name}.parquet").height == seen


def test_vectors_are_the_worlds_own_and_silent_segments_have_no_text(folder, live_world):
    ends = live_world.segments.select(
        pl.col("item_id").alias("live_stream_id"), pl.col("end_ms").alias("timestamp"), row=pl.int_range(pl.len())
    )
    for name, vectors in {"visual": live_world.content.visual, "text": live_world.content.text}.items():
        table = pl.read_parquet(folder / f"segment_vectors_{name}.parquet").join(
            ends, on=["live_stream_id", "timestamp"]
        )
        rows = table["row"].to_numpy()
        assert np.array(table["vector"].to_list()) == pytest.approx(vectors[rows], abs=1e-5)
        quiet = live_world.content.silent if name == "text" else np.zeros(len(vectors), bool)
        assert set(rows.tolist()) == set(
            np.flatnonzero(~quiet & (live_world.segments["viewers"] > 0).to_numpy()).tolist()
        )


def test_comments_survive_quotes_and_commas(folder, live_world):
    comments = pd.read_csv(folder / "live_comment.csv")
    assert sorted(comments["content"].unique()) == sorted(live_world.events["comments"]["content"].unique().to_list())
    assert comments["content"].str.contains(",").any()
    assert comments["content"].str.contains('"').any()
    counted = comments["comment_ts"].to_numpy()
    assert sorted(counted.tolist()) == sorted(live_world.events["comments"]["time_ms"].to_list())


def test_truth_of_the_alignment(folder, live_world):
    truth = pl.read_parquet(folder / "truth_alignment.parquet")
    keyed = live_world.segments.select("item_id", "end_ms").with_columns(
        offset=pl.Series(live_world.content.text_offset)
    )
    joined = truth.join(keyed, on=["item_id", "end_ms"], validate="1:1")
    assert joined.height == truth.height
    assert (joined["text_offset"] == joined["offset"]).all()


def test_features_tell_what_frames_and_text_tell(folder, live_world):
    """feature_128 is a fixed projection of both: the excitement can be read from it as well as from them."""
    table = pl.concat([pl.read_parquet(shard) for shard in sorted((folder / "live_emb_128_ts").glob("*"))])
    ends = live_world.segments.select("item_id", "end_ms", row=pl.int_range(pl.len()))
    table = table.with_columns(item_id=pl.col("live_stream_id").cast(pl.Int64), end_ms="timestamp").join(
        ends, on=["item_id", "end_ms"]
    )
    features = np.array(table["feature_128"].to_list())
    seen = live_world.rooms.seen[table["row"].to_numpy()]
    read = features @ np.linalg.lstsq(features, seen, rcond=None)[0]
    assert np.corrcoef(read, seen)[0, 1] > 0.9


def test_the_world_is_written_beside(folder, live_world):
    values = yaml.safe_load((folder / "world.yaml").read_text())
    assert values == live_world.config.model_dump(mode="json")
    assert "--format kuailive_m3" in (folder / "world.yaml").read_text().splitlines()[0]


def test_unknown_formats_and_existing_folders_are_refused(live_world, folder, tmp_path):
    with pytest.raises(ConfigError, match=r"--format 'kuairand' is unknown \(known: kuailive_m3, klive, kuailive\)"):
        write_live(live_world, tmp_path / "made", format="kuairand")
    with pytest.raises(DataError, match="exists already"):
        write_live(live_world, folder)


def test_the_world_is_read_as_it_was_made(even_live_world: LiveWorld, tmp_path):
    """The reader's counts by event time are the world's own."""
    world = even_live_world
    write_live(world, tmp_path / "made")
    done = CliRunner().invoke(
        build_app(), ["read", "kuailive_m3", str(tmp_path / "made"), "--out", str(tmp_path / "data")]
    )
    assert done.exit_code == 0, done.output
    segments = DatasetFolder.open(tmp_path / "data").segments()
    assert segments is not None
    joined = segments.collect().join(world.segments, on=["item_id", "end_ms"], suffix="_made")
    assert joined.height == world.segments.height
    for name in ("exposures", "clicks", "viewers", "comments"):
        assert (joined[name] == joined[f"{name}_made"]).all()
