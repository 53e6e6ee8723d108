from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segrec.records import ConfigError, DataError
from segrec.worlds.segmm_files import printed_label
from segrec.worlds.short_video import make_short_video
from segrec.worlds.short_video_writers import write_short_video


@pytest.fixture(scope="module")
def release(tiny_world, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("segmm") / "release"
    write_short_video(tiny_world, out, format="segmm")
    return out


@pytest.fixture(scope="module")
def sample(world, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("segmm") / "sample"
    write_short_video(world, out, format="segmm_sample")
    return out


def read_csv(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "SegMM_inter.csv")


@pytest.mark.parametrize(
    ("segments", "exit_at", "text"),
    [(1, 0, "[0]"), (1, 1, "[1]"), (2, 1, "[1 0]"), (3, 1, "[ 1  0 -1]"), (3, 3, "[1 1 1]"), (3, 0, "[ 0 -1 -1]")],
)
def test_labels_as_numpy_prints_them(segments, exit_at, text):
    assert printed_label(segments, exit_at) == text


def test_long_labels_wrap_after_24_values():
    assert printed_label(26, 0) == "[ 0" + " -1" * 23 + "\n -1 -1]"


def test_release_has_the_published_names_and_only_started_views(release, tiny_world):
    log = read_csv(release)
    assert list(log.columns) == [
        "user_id", "time_ms", "photo_id", "uration_ms", "playing_time", "wtd_effective_view",
    ]  # fmt: skip
    assert len(log) == (tiny_world.impressions["watch_ms"] > 0).sum()
    assert (log["playing_time"] > 0).all()
    assert (log["playing_time"] > log["uration_ms"]).any()
    assert log["time_ms"].between(150_000_000, 150_000_000 + 11 * 86_400_000).all()
    assert log["user_id"].is_monotonic_increasing


def test_effective_views_are_about_half(sample, world, tmp_path):
    write_short_video(world, tmp_path / "o", format="segmm")
    log = read_csv(tmp_path / "o")
    assert log["wtd_effective_view"].mean() == pytest.approx(0.5, abs=0.02)
    share = log["playing_time"] / log["uration_ms"]
    assert share[log["wtd_effective_view"] == 1].median() > share[log["wtd_effective_view"] == 0].median()


def test_sample_labels_are_lists_that_say_where_the_view_ended(sample):
    log = read_csv(sample)
    assert list(log.columns) == ["user_id", "video_id", "time_ms", "duration_ms", "playing_time", "label_1D"]
    wrapped = 0
    for row in log.itertuples():
        label = [int(value) for value in row.label_1D.strip("[]").split()]
        wrapped += "\n" in row.label_1D
        segments = -(-row.duration_ms // 5_000)
        exit_at = segments if row.playing_time >= row.duration_ms else -(-row.playing_time // 5_000) - 1
        assert label == ([1] * exit_at + [0] + [-1] * segments)[:segments]
    assert wrapped > 20


def test_wrapped_labels_stand_in_quotes(sample):
    text = (sample / "SegMM_inter.csv").read_text(encoding="utf-8")
    assert re.search(r'"\[[^"]*\n[^"]*\]"', text)
    with (sample / "SegMM_inter.csv").open(newline="", encoding="utf-8") as stream:
        assert all(len(row) == 6 for row in csv.reader(stream))


def test_features_are_float64_and_found_by_photo_and_segment(release, tiny_world):
    lines = json.loads((release / "SegMM_photoidframeid2lineid.json").read_text())
    videos = tiny_world.videos
    size = (release / "SegMM_feat_memmap.dat").stat().st_size
    assert size == len(lines) * 1024 * 8
    assert len(lines) == videos.lengths.sum()
    features = np.memmap(release / "SegMM_feat_memmap.dat", dtype=np.float64, mode="r", shape=(len(lines), 1024))
    assert np.abs(features).sum(axis=1) == pytest.approx(np.ones(len(lines)), rel=1e-4)
    # Angles between vectors survive the change of basis and the division by the L1 norm.
    one, two = (int(videos.starts[video]) for video in (0, 1))
    ours = cosine(videos.vectors[one], videos.vectors[two])
    written = (features[lines[f"{videos.item_id[video]}-0"]] for video in (0, 1))
    assert cosine(*written) == pytest.approx(ours, abs=1e-9)


def cosine(one: np.ndarray, two: np.ndarray) -> float:
    return float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))


def test_each_view_has_one_truth_on_the_same_clock(sample):
    truth = pd.read_parquet(sample / "truth.parquet")
    log = read_csv(sample).rename(columns={"video_id": "item_id"})
    keys = ["user_id", "item_id", "time_ms"]
    assert len(log.merge(truth[keys], on=keys, validate="1:1")) == len(log) == len(truth)


def test_vectors_wider_than_the_format_are_refused(make_config, tmp_path):
    config = make_config(users=3, items=3, impressions_per_user=5)
    wide = config.model_copy(update={"videos": config.videos.model_copy(update={"vector_dim": 1025})})
    with pytest.raises(DataError, match=r"too wide for SegMM \(found: 1025; expected: at most 1024\)"):
        write_short_video(make_short_video(wide), tmp_path / "out", format="segmm")
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_names_the_known_ones(tiny_world, tmp_path):
    with pytest.raises(ConfigError, match=r"'klive' is unknown .*kuairand, segmm, segmm_sample"):
        write_short_video(tiny_world, tmp_path / "out", format="klive")
