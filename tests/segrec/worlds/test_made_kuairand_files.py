from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from typer.testing import CliRunner

from ranking.cli import build_app
from segrec.records import DataError, DatasetFolder, skip_views
from segrec.worlds.kuairand_files import LOG_COLUMNS, KuairandQuirks, write_kuairand
from segrec.worlds.oracle import Oracle
from segrec.worlds.short_video_writers import write_short_video

LOGS = (
    "log_standard_4_08_to_4_21_pure.csv",
    "log_standard_4_22_to_5_08_pure.csv",
    "log_random_4_22_to_5_08_pure.csv",
)


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("kuairand") / "made"
    write_short_video(world, out)
    return out / "data"


@pytest.fixture(scope="module")
def log(folder) -> pd.DataFrame:
    """All logs as pandas reads them, without knowing anything of ours."""
    return pd.concat([pd.read_csv(folder / name) for name in LOGS], ignore_index=True)


def test_plain_csv_reads_every_row_with_the_published_header(folder):
    for name in LOGS:
        with (folder / name).open(newline="", encoding="utf-8") as stream:
            header, *rows = csv.reader(stream)
        assert tuple(header) == LOG_COLUMNS
        assert rows
        assert all(len(row) == 19 and all(value.lstrip("-").isdigit() for value in row) for row in rows)


def test_standard_logs_are_cut_at_april_22_and_the_random_one_stands_apart(folder):
    first, second, random = (pd.read_csv(folder / name) for name in LOGS)
    assert first["date"].between(20220417, 20220421).all()
    assert second["date"].between(20220422, 20220426).all()
    assert (first["is_rand"].sum(), second["is_rand"].sum()) == (0, 0)
    assert (random["is_rand"] == 1).all()


def test_date_and_hourmin_are_the_local_clock_without_leading_zeros(log):
    local = pd.to_datetime(log["time_ms"], unit="ms") + pd.Timedelta(hours=8)
    assert (local.dt.strftime("%Y%m%d").astype(int) == log["date"]).all()
    assert (local.dt.hour * 100 + local.dt.minute == log["hourmin"]).all()
    assert (log["hourmin"] < 100).any()


def test_the_quirks_of_the_public_log_are_there(log):
    assert 0.01 < log.duplicated().mean() < 0.03
    zero = log["duration_ms"] == 0
    assert 0.004 < zero.mean() < 0.02
    assert log.loc[zero, "long_view"].mean() < 0.9
    assert (log.loc[~zero, "play_time_ms"] > log.loc[~zero, "duration_ms"]).mean() > 0.1
    assert (log.loc[log["tab"] == 1, "play_time_ms"] == 0).mean() == pytest.approx(0.006, abs=0.004)
    assert (log.loc[log["tab"] == 0, "play_time_ms"] == 0).mean() > 0.5


def test_without_quirks_the_log_is_the_world(world, tmp_path):
    clean = KuairandQuirks(duplicate_share=0, zero_duration_share=0, missing_share=0)
    write_kuairand(world, tmp_path, clean)
    rows = sum(pd.read_csv(tmp_path / "data" / name).shape[0] for name in LOGS)
    assert rows == world.impressions.height
    assert not pd.read_csv(tmp_path / "data" / "user_features_pure.csv").isna().any().any()


def test_user_features_have_31_columns_gaps_codes_and_ranges(folder, world):
    users = pd.read_csv(folder / "user_features_pure.csv")
    assert users.shape == (len(world.viewers.user_id), 31)
    assert users["user_id"].is_unique
    assert set(users["is_live_streamer"]) == {-124, 1}
    assert users["onehot_feat4"].isna().any()
    late = users[[f"onehot_feat{number}" for number in range(12, 18)]].isna()
    assert late.any().all()
    assert (late.sum(axis=1).isin([0, 6])).all()
    follow = users.set_index("follow_user_num")["follow_user_num_range"].to_dict()
    for count, label in follow.items():
        low, high = {"0": (0, 0), "500+": (501, 10**9)}.get(label) or map(int, label.strip("(]").split(","))
        assert low <= count <= high


def test_user_features_tell_something_of_the_user(folder, world):
    users = pd.read_csv(folder / "user_features_pure.csv").set_index("user_id").loc[world.viewers.user_id]
    assert 0.75 < (users["onehot_feat1"].to_numpy() == world.viewers.persona).mean() < 0.97
    patient = users["onehot_feat0"].to_numpy() == 1
    assert world.viewers.patience[patient].mean() > world.viewers.patience[~patient].mean() + 0.4


def test_video_features_have_12_columns_gaps_and_tags_of_the_leading_topics(folder, world):
    videos = pd.read_csv(folder / "video_features_basic_pure.csv")
    assert videos.shape == (300, 12)
    assert videos["video_duration"].isna().any()
    assert videos["music_type"].isna().any()
    known = videos.dropna(subset=["tag"])
    leading = 1 + world.videos.mean_mixture.argmax(axis=1)
    topic_of = dict(zip(world.videos.item_id, leading, strict=True))
    assert all(int(str(tag).split(",")[0]) == topic_of[video] for video, tag in known[["video_id", "tag"]].values)
    assert known["tag"].astype(str).str.contains(",").any()
    uploads = pd.to_datetime(videos["upload_dt"])
    assert uploads.min() >= pd.Timestamp("2022-03-17")
    assert uploads.max() <= pd.Timestamp("2022-04-26")


def test_month_counts_are_means_over_all_days(folder, world):
    counts = pd.read_csv(folder / "video_features_statistic_pure.csv").set_index("video_id")
    video = world.impressions["item_id"].mode()[0]
    own = world.impressions.filter(pl.col("item_id") == video)
    row = counts.loc[video]
    assert row["show_cnt"] * row["counts"] == pytest.approx(own.height)
    assert row["long_time_play_cnt"] * row["counts"] == pytest.approx(own["long_view"].sum())
    watch, duration = own["watch_ms"].to_numpy(), own["duration_ms"].to_numpy()
    valid = np.where(duration <= 7_000, watch >= duration, watch > 7_000).sum()
    assert row["valid_play_cnt"] * row["counts"] == pytest.approx(valid)


def test_vectors_cover_every_segment_once(folder, world):
    vectors = pl.read_parquet(folder / "segments_visual.parquet")
    assert vectors.columns == ["video_id", "segment", "vector"]
    assert vectors.height == world.videos.lengths.sum()
    assert not vectors.select("video_id", "segment").is_duplicated().any()
    video = 5
    row = vectors.filter((pl.col("video_id") == world.videos.item_id[video]) & (pl.col("segment") == 0))
    assert row["vector"][0].to_list() == pytest.approx(world.videos.vectors[world.videos.starts[video]], rel=1e-5)


def test_each_log_row_has_one_truth(folder, log):
    truth = pd.read_parquet(folder / "truth.parquet")
    keys = ["user_id", "item_id", "time_ms"]
    assert not truth.duplicated(keys).any()
    once = log.rename(columns={"video_id": "item_id"}).drop_duplicates()
    assert len(once.merge(truth[keys], on=keys, validate="1:1")) == len(once) == len(truth)


def test_the_reader_takes_it_with_truth_and_vectors(folder, world, tmp_path):
    result = CliRunner().invoke(build_app(), ["read", "kuairand", str(folder.parent), "--out", str(tmp_path / "d")])
    assert result.exit_code == 0, result.output
    dataset = DatasetFolder.open(tmp_path / "d")
    views = dataset.interactions().filter(skip_views()).collect()
    prediction = Oracle.of(dataset).predict(views)
    assert (prediction.lengths == -(-views["duration_ms"].to_numpy() // 5_000)).all()
    assert dataset.vectors("visual").meta.rows == world.videos.lengths.sum()
    assert set(dataset.meta.rejected) == {"exact duplicate", "duration_ms <= 0"}


def test_an_existing_folder_is_left_alone(world, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="exists already"):
        write_short_video(world, out)
    assert [file.name for file in out.iterdir()] == ["mine.txt"]
