"""SegMM: both releases' column names, wrapped label lists, features in every form they are downloaded in."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from segrec.datasets import ReadOptions, find_reader, read_dataset
from segrec.datasets.segmm import LABEL, label_agrees
from segrec.records import ConfigError, DataError
from segrec.splitting import SplitRequest

USERS = ReadOptions(split=SplitRequest(rule="users"))


def test_both_releases_give_the_same_rows(segmm, tmp_path):
    sample = read_dataset("segmm", segmm(), tmp_path / "sample", USERS)
    full = read_dataset("segmm", segmm(released=True, separator="\t"), tmp_path / "full", USERS)
    key = ["user_id", "item_id", "time_ms", "duration_ms", "watch_ms", "split"]
    assert full.interactions().select(key).collect().equals(sample.interactions().select(key).collect())
    assert full.meta.flags == ["wtd_effective_view"]
    assert sample.meta.flags == []
    assert LABEL not in sample.interactions().collect_schema()
    assert sample.meta.rejected == {}
    assert sum(sample.meta.rows.values()) == 60


def test_labels_wrap_inside_their_quotes(segmm):
    text = (segmm() / "SegMM_inter.csv").read_text()
    assert '"[' in text, "the made log shows the quirk"
    frames = list(find_reader("segmm")(segmm(), ReadOptions()).batches())
    assert frames[0][LABEL].list.len().to_list() == [-(-(5000 + 3000 * (i % 60)) // 5000) for i in range(60)]


@pytest.mark.parametrize(
    ("duration", "watch", "label", "agrees"),
    [
        (12_000, 4_000, [0, -1, -1], True),
        (12_000, 5_000, [0, -1, -1], True),
        (12_000, 5_001, [1, 0, -1], True),
        (12_000, 12_000, [1, 1, 1], True),
        (12_000, 99_000, [1, 1, 1], True),
        (12_000, 4_000, [0, -1, -1, -2, -2], True),
        (12_000, 6_000, [0, -1, -1], False),
        (12_000, 4_000, [0, -1], False),
        (12_000, 6_000, [0, 1, -1], False),
        (12_000, 12_000, [1, 1, 0], False),
    ],
)
def test_label_against_playing_time(duration, watch, label, agrees):
    frame = pl.DataFrame({"duration_ms": [duration], "watch_ms": [watch], LABEL: [label]})
    assert frame.select(label_agrees()).item() is agrees


def test_a_label_that_disagrees_is_rejected_and_counted(segmm, tmp_path):
    folder = segmm()
    file = folder / "SegMM_inter.csv"
    pl.read_csv(file).with_row_index().with_columns(
        playing_time=pl.when(pl.col("index") == 3).then(1).otherwise("playing_time")
    ).drop("index").write_csv(file)
    dataset = read_dataset("segmm", folder, tmp_path / "out", USERS)
    assert dataset.meta.rejected == {"label_1D disagrees with playing_time": 1}
    assert sum(dataset.meta.rows.values()) == 59


def test_a_label_that_does_not_parse_is_an_error(segmm, tmp_path):
    file = segmm() / "SegMM_inter.csv"
    frame = pl.read_csv(file)
    frame.with_columns(label_1D=pl.when(pl.int_range(pl.len()) == 4).then(pl.lit("[1 x]")).otherwise(LABEL)).write_csv(
        file
    )
    with pytest.raises(DataError, match=r"record 6, column 'label_1D': not a printed list.*\[1 x\]"):
        read_dataset("segmm", file, tmp_path / "out", USERS)


@pytest.mark.parametrize("parts", [1, 5])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_features_whole_or_in_parts_of_both_types(segmm, segmm_features, tmp_path, parts, dtype):
    folder = segmm()
    written = segmm_features(folder, parts=parts, dtype=dtype)
    dataset = read_dataset("segmm", folder, tmp_path / "out", USERS)
    visual = dataset.vectors("visual")
    assert visual.matrix.dtype == np.float32
    assert visual.index().rows() == [(1000, 0, 1), (1000, 1, 0), (1001, 0, 2), (1019, 0, 3)]
    np.testing.assert_array_equal(visual.matrix, written.astype("float32"))
    half = read_dataset("segmm", folder, tmp_path / "half", USERS.model_copy(update={"vectors_type": "float16"}))
    assert half.vectors("visual").matrix.dtype == np.float16
    assert half.meta.fingerprint == dataset.meta.fingerprint


def test_features_stand_on_their_own_grid(segmm, segmm_features, tmp_path):
    folder = segmm()
    three_seconds = ReadOptions(segment_ms=3000)
    assert read_dataset("segmm", folder, tmp_path / "out", three_seconds).meta.segment_ms == 3000
    segmm_features(folder)
    with pytest.raises(ConfigError, match="--segment-ms 3000: SegMM's features stand on segments of 5000 ms"):
        find_reader("segmm")(folder, three_seconds)


def _spoil_size(folder):
    with (folder / "SegMM_feat_memmap.dat").open("ab") as file:
        file.write(b"x")


def _drop_part(folder):
    (folder / "SegMM_feat_memmap.dat").rename(folder / "SegMM_feat_memmap_part2")


def _map(text):
    return lambda folder: (folder / "SegMM_photoidframeid2lineid.json").write_text(text)


def _nan(folder):
    features = np.zeros((4, 1024))
    features[2, 5] = np.nan
    (folder / "SegMM_feat_memmap.dat").write_bytes(features.tobytes())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            _spoil_size,
            r"features do not fit the map of 4 rows .found: 32,769 bytes; expected: 32,768 .float64. or 16,384",
        ),
        (_drop_part, "parts of SegMM_feat_memmap are missing .found: 2"),
        (lambda folder: (folder / "SegMM_feat_memmap.dat").unlink(), "without SegMM_feat_memmap.dat"),
        (
            lambda folder: (folder / "SegMM_photoidframeid2lineid.json").unlink(),
            "without SegMM_photoidframeid2lineid.json",
        ),
        (_map('{"1000-0": 0, "1000'), "is not JSON"),
        (_map("[1, 2]"), "is not a map of keys to rows"),
        (_map('{"1000-0": 0, "1000_1": 1}'), "a key is not '{video id}-{segment}' .found: 1000_1"),
        (_map('{"1000-0": 0, "1000-1": 0}'), "its rows are not each number once"),
        (_map('{"1000-0": 0, "1000-1": "1"}'), "is not a map of keys to rows"),
        (_nan, "vector of row 2 has a NaN or infinite value"),
    ],
)
def test_bad_features(segmm, segmm_features, tmp_path, spoil, message):
    folder = segmm()
    segmm_features(folder)
    spoil(folder)
    with pytest.raises(DataError, match=message):
        read_dataset("segmm", folder, tmp_path / "out", USERS)
    assert not (tmp_path / "out").exists()


def test_two_names_of_one_column_and_none(segmm, tmp_path):
    file = segmm() / "SegMM_inter.csv"
    frame = pl.read_csv(file)
    frame.with_columns(photo_id=1).write_csv(file)
    with pytest.raises(DataError, match="columns 'photo_id' and 'video_id' mean the same"):
        find_reader("segmm")(file, ReadOptions())
    frame.rename({"playing_time": "play_time"}).write_csv(file)
    with pytest.raises(DataError, match=r"column 'playing_time' is missing .*is 'play_time' meant"):
        find_reader("segmm")(file, ReadOptions())


def test_the_real_sample(samples, tmp_path):
    dataset = read_dataset("segmm", samples / "segmm_sample", tmp_path / "out", USERS)
    assert dataset.meta.rejected == {}
    assert sum(dataset.meta.rows.values()) == 7_201
    frame = dataset.interactions().collect()
    assert frame["user_id"].n_unique() == 25
    shares = frame.group_by("user_id").agg((pl.col("split") == "test").mean())["split"]
    assert 0.18 < shares.min() <= shares.max() < 0.4, "ties of time_ms move a few rows to the newer side"
    order = frame.group_by("user_id", "split").agg(first=pl.col("time_ms").min(), last=pl.col("time_ms").max())
    parts = {split: order.filter(split=split) for split in ("train", "valid", "test")}
    joined = parts["train"].join(parts["test"], on="user_id")
    assert (joined["last"] < joined["first_right"]).all()
