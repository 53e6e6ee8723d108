"""KuaiRand: rows by hand, versions, part files, features, month averages, content vectors, the real sample."""

from __future__ import annotations

import gzip
import shutil

import polars as pl
import pytest

from segrec.datasets import ReadOptions, find_reader, read_dataset
from segrec.records import ConfigError, DataError
from segrec.splitting import SplitRequest


def test_six_rows_by_hand(kuairand, forms, tmp_path):
    start, line = forms.april_8, forms.log_line
    lines = [
        line(1, 4, start + 60_000, play=15_000),  # 2022-04-08 00:01, watched longer than its 12 s
        line(0, 2, start + 30_000, play=0, click=0),  # earlier, though later in the file; not watched
        line(1, 4, start + 60_000, play=15_000),  # the same row again
        line(2, 5, start + forms.day_ms, duration=0),  # impossible
        line(2, 99, start + forms.day_ms, play=500),  # a video without features
        line(3, 1, start - 1, play=700),  # still 2022-04-07 in UTC+8
        line(0, 0, -5),  # impossible
    ]
    split = SplitRequest.asked(None, "2022-04-08", "2022-04-09")
    dataset = read_dataset("kuairand", kuairand(lines), tmp_path / "out", ReadOptions(split=split))
    frame = dataset.interactions().collect()
    assert frame.select("user_id", "item_id", "author_id", "time_ms", "duration_ms", "watch_ms", "split").rows() == [
        (3, 1, 100, start - 1, 12_000, 700, "train"),
        (0, 2, 101, start + 30_000, 12_000, 0, "valid"),
        (1, 4, 102, start + 60_000, 12_000, 15_000, "valid"),
        (2, 99, None, start + forms.day_ms, 12_000, 500, "test"),
    ]
    assert dataset.meta.rows == {"train": 1, "valid": 2, "test": 1}
    assert dataset.meta.rejected == {"duration_ms <= 0": 1, "time_ms < 0": 1, "exact duplicate": 1}
    days = [file.parent.name for file in dataset.interaction_files()]
    assert days == ["day=2022-04-07", "day=2022-04-08", "day=2022-04-09"]
    assert dataset.meta.split.valid_from_ms == start
    assert dataset.meta.utc_offset_hours == 8


def test_names_types_and_roles(kuairand, tmp_path):
    dataset = read_dataset("kuairand", kuairand(), tmp_path / "out")
    schema = dataset.interactions().collect_schema()
    assert {"date", "hourmin", "is_click", "long_view", "profile_stay_time", "is_random", "tab"} <= set(schema)
    assert not {"video_id", "play_time_ms", "is_rand"} & set(schema)
    assert schema["is_click"] == pl.Int8
    assert "profile_stay_time" not in dataset.meta.context + dataset.meta.flags
    assert dataset.meta.context == ["tab"]
    users, items = dataset.users(), dataset.items()
    assert users is not None
    assert items is not None
    assert users["onehot_feat4"].to_list() == [1, None, 0, 4]
    assert items["music_type"].to_list() == [9, None, 4, 4, 4, 4]
    assert items["tag"].to_list() == ["39", "39,43", None, "1", "1", "1"]
    assert dataset.meta.item_features[0] == "video_type"
    assert "author_id" not in dataset.meta.item_features
    assert dataset.meta.licence == "CC BY-SA 4.0"


def test_the_data_folder_itself_and_gz_are_the_same(kuairand, tmp_path):
    root = kuairand()
    plain = read_dataset("kuairand", root, tmp_path / "plain")
    log = root / "data" / "log_standard_4_08_to_4_21_pure.csv"
    with gzip.open(f"{log}.gz", "wb") as packed:
        packed.write(log.read_bytes())
    with pytest.raises(DataError, match=r"beside its own \.gz"):
        find_reader("kuairand")(root, ReadOptions())
    log.unlink()
    packed = read_dataset("kuairand", root / "data", tmp_path / "packed")
    assert packed.meta.fingerprint == plain.meta.fingerprint


def test_part_files_any_subset_and_both_kinds(kuairand, forms, tmp_path):
    lines = forms.usual_lines()
    for number, part in enumerate((lines[:15], lines[15:30]), 1):
        root = kuairand(part, name=f"log_standard_4_22_to_5_08_27k_part{number}.csv", sides=False)
    random = [forms.log_line(9, 3, forms.april_8 + 5 * forms.day_ms + i * 1000, rand=1) for i in range(10)]
    kuairand(random, name="log_random_4_22_to_5_08_27k.csv", sides=False)
    dataset = read_dataset("kuairand", root, tmp_path / "out")
    frame = dataset.interactions().collect()
    assert frame.height == 40
    assert frame["is_random"].sum() == 10
    assert dataset.users() is None
    assert frame["author_id"].null_count() == 40


def test_two_versions_in_one_folder_are_refused(kuairand):
    kuairand()
    root = kuairand(name="log_random_4_22_to_5_08_1k.csv")
    with pytest.raises(DataError, match=r"several KuaiRand versions.*1k: log_random.*pure: log_standard"):
        find_reader("kuairand")(root, ReadOptions())


def test_month_averages_only_when_asked_for(kuairand, tmp_path):
    root = kuairand()
    with pytest.raises(DataError, match="holds no video statistics"):
        find_reader("kuairand")(root, ReadOptions(with_month_averages=True))
    statistics = pl.DataFrame({"video_id": [0, 1, 5], "counts": [3, 4, 5], "play_cnt": [0.5, 1.5, 2.5]})
    statistics.write_csv(root / "data" / "video_features_statistic_pure.csv")
    log = find_reader("kuairand")(root, ReadOptions())
    assert "leak the future" in log.notes[0]
    without = read_dataset("kuairand", root, tmp_path / "without")
    assert not [name for name in without.meta.item_features if "play_cnt" in name]
    dataset = read_dataset("kuairand", root, tmp_path / "with", ReadOptions(with_month_averages=True))
    items = dataset.items()
    assert items is not None
    assert items["month_average_play_cnt"].to_list() == [0.5, 1.5, None, None, None, 2.5]
    assert "month_average_counts" in dataset.meta.item_features


def test_only_clicked_rows(kuairand, tmp_path):
    dataset = read_dataset("kuairand", kuairand(), tmp_path / "out", ReadOptions(only="is_click"))
    assert dataset.interactions().collect()["is_click"].unique().to_list() == [1]
    assert dataset.meta.left_out == {"is_click = 0": 20}
    with pytest.raises(ConfigError, match=r"--only clicked: no such flag .known: is_click, is_like"):
        read_dataset("kuairand", kuairand(), tmp_path / "other", ReadOptions(only="clicked"))


def test_repeated_and_missing_ids_of_features_are_counted(kuairand, tmp_path):
    root = kuairand()
    file = root / "data" / "video_features_basic_pure.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[1].replace("NORMAL", "AD"), lines[1].replace("0", "", 1)]) + "\n")
    dataset = read_dataset("kuairand", root, tmp_path / "out")
    items = dataset.items()
    assert items is not None
    assert items["video_type"].to_list() == ["NORMAL"] * 6
    assert dataset.meta.rejected == {"items: missing item_id": 1, "items: repeated item_id": 1}
    assert dataset.interactions().collect().height == 40


def test_vectors_and_truth_beside_the_logs_travel_along(kuairand, tmp_path):
    root = kuairand()
    vectors = pl.DataFrame(
        {"video_id": [2, 2, 0], "segment": [1, 0, 0], "vector": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]}
    )
    plain = read_dataset("kuairand", root, tmp_path / "plain")
    vectors.write_parquet(root / "data" / "segments_visual.parquet")
    pl.DataFrame({"user_id": [0]}).write_parquet(root / "truth.parquet")
    dataset = read_dataset("kuairand", root, tmp_path / "out")
    visual = dataset.vectors("visual")
    rows = visual.index().filter(item_id=2, segment=1)["row"].to_list()
    assert visual.matrix[rows].tolist() == [[1.0, 2.0]]
    assert dataset.meta.fingerprint == plain.meta.fingerprint
    assert dataset.truth() is not None
    assert dataset.meta.source.startswith("made world")
    assert plain.meta.source.startswith("KuaiRand (https://zenodo.org")


def test_another_order_of_columns_and_an_extra_one(kuairand, tmp_path, forms):
    root = kuairand()
    log = root / "data" / "log_standard_4_08_to_4_21_pure.csv"
    frame = pl.read_csv(log)
    plain = read_dataset("kuairand", root, tmp_path / "plain")
    frame.select(reversed(frame.columns)).write_csv(log)
    assert read_dataset("kuairand", root, tmp_path / "turned").meta.fingerprint == plain.meta.fingerprint
    frame.with_columns(price=0.5).write_csv(log)
    assert read_dataset("kuairand", root, tmp_path / "more").interactions().collect()["price"].unique().to_list() == [
        0.5
    ]


def test_an_extra_column_in_one_file_only(kuairand, tmp_path, forms):
    kuairand(forms.usual_lines(), name="log_standard_4_22_to_5_08_pure.csv")
    root = kuairand()
    log = root / "data" / "log_standard_4_22_to_5_08_pure.csv"
    pl.read_csv(log).with_columns(price=0.5).write_csv(log)
    with pytest.raises(
        DataError, match=r"column 'price' is not the same in all files .*found: Float64; expected: none"
    ):
        read_dataset("kuairand", root, tmp_path / "out")


def test_options_of_others_are_refused(kuairand, tmp_path):
    with pytest.raises(ConfigError, match="--columns means nothing to `segrec read kuairand`"):
        find_reader("kuairand")(kuairand(), ReadOptions(columns=tmp_path / "MAP.yaml"))


def test_the_real_sample(samples, tmp_path):
    split = SplitRequest.asked(None, "2022-04-29", "2022-04-30")
    source = samples / "kuairand_pure_sample"
    dataset = read_dataset("kuairand", source, tmp_path / "out", ReadOptions(split=split))
    raw = pl.read_csv(next(source.glob("log_standard*.csv")))
    possible = raw.filter(pl.col("duration_ms") > 0).unique()
    assert dataset.meta.rejected == {"exact duplicate": 2_750, "duration_ms <= 0": 1_665}
    assert sum(dataset.meta.rows.values()) == possible.height == 90_369
    assert dataset.meta.rows == {"train": 55_373, "valid": 15_071, "test": 19_925}
    frame = dataset.interactions().collect()
    assert frame["watch_ms"].sum() == possible["play_time_ms"].sum()
    assert frame["is_click"].sum() == possible["is_click"].sum()
    assert frame["author_id"].null_count() == 0
    shutil.rmtree(dataset.path)
