"""`segrec read` end to end, and the contract that every reader keeps."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import polars as pl
import pytest

import segrec.datasets
from segrec.datasets import DATASETS, ReadOptions, find_reader, read_dataset
from segrec.records import SPLITS, ConfigError, DatasetFolder
from segrec.splitting import SplitRequest


@pytest.fixture(params=["kuairand", "segmm", "table"])
def made(request, kuairand, segmm, table):
    """(format, source, options) of a small log of each format."""
    if request.param == "table":
        log, columns = table()
        return "table", log, ReadOptions(columns=columns)
    folder = {"kuairand": kuairand, "segmm": segmm}[request.param]()
    return request.param, folder, ReadOptions()


def test_contract_columns_types_order_and_splits(made, tmp_path):
    name, source, options = made
    dataset = read_dataset(name, source, tmp_path / "out", options)
    frame = dataset.interactions().collect()
    assert frame.columns[:7] == ["user_id", "item_id", "author_id", "time_ms", "duration_ms", "watch_ms", "split"]
    for column, dtype in {
        "time_ms": pl.Int64,
        "duration_ms": pl.Int64,
        "watch_ms": pl.Int64,
        "split": pl.String,
    }.items():
        assert frame.schema[column] == dtype
    for column in ("user_id", "item_id", "author_id"):
        assert frame.schema[column] in (pl.Int64, pl.String)
    assert frame.drop("author_id").null_count().sum_horizontal().item() == 0
    assert frame.select(pl.col("duration_ms").min() > 0, pl.col("watch_ms").min() >= 0).row(0) == (True, True)
    assert frame["time_ms"].is_sorted()
    for file in dataset.interaction_files():
        day = pl.read_parquet(file)
        assert day.equals(day.sort("time_ms", "user_id", "item_id", maintain_order=True))
    assert {*dataset.meta.flags, *dataset.meta.context} <= set(frame.columns)
    assert all(frame.schema[flag] == pl.Int8 for flag in dataset.meta.flags)
    assert {part: frame.filter(split=part).height for part in SPLITS} == dataset.meta.rows
    assert (dataset.meta.format, bool(dataset.meta.licence), len(dataset.meta.fingerprint)) == (name, True, 64)
    assert sorted(file.name for file in dataset.path.iterdir() if file.name.startswith(".")) == []


def test_contract_the_same_source_gives_the_same_fingerprint(made, tmp_path):
    name, source, options = made
    one = read_dataset(name, source, tmp_path / "one", options).meta
    assert read_dataset(name, source, tmp_path / "two", options).meta == one
    other = options.model_copy(update={"split": SplitRequest(rule="published")})
    assert read_dataset(name, source, tmp_path / "other", other).meta.fingerprint != one.fingerprint, "splits count"


def test_contract_an_opened_reader_reads_twice(made):
    name, source, options = made
    log = find_reader(name)(source, options)
    assert pl.concat(log.batches()).equals(pl.concat(log.batches()))


@pytest.mark.parametrize("rule", ["time", "users", "published"])
def test_every_split_of_kuairand(cli, kuairand, tmp_path, rule):
    code, shown, _ = cli("read", "kuairand", kuairand(), "--out", tmp_path / "out", "--split", rule)
    assert code == 0
    dataset = DatasetFolder.open(tmp_path / "out")
    assert dataset.meta.split.rule == rule
    assert dataset.meta.split.seed == (2024 if rule == "published" else None)
    assert f"split by {rule}" in shown
    if rule == "users":
        counts = dataset.interactions().group_by("user_id", "split").len().collect()
        assert counts.filter(split="test")["len"].to_list() == [2] * 4


def test_what_is_told(cli, kuairand, forms, tmp_path):
    lines = [*forms.usual_lines(), forms.usual_lines()[0], forms.log_line(1, 1, forms.april_8, duration=0)]
    root = kuairand(lines)
    (root / "data" / "video_features_statistic_pure.csv").write_text("video_id,play_cnt\n0,1.5\n")
    code, shown, error = cli(
        "read", "kuairand", root, "--out", tmp_path / "out", "--valid-from", "2022-04-10", "--test-from", "2022-04-11",
        "--only", "is_click",
    )  # fmt: skip
    assert (code, error) == (0, "")
    assert shown.splitlines() == [
        f"{tmp_path / 'out'}: 20 rows (train 8, valid 4, test 8), split by time",
        "rejected: duration_ms <= 0: 1",
        "left out: is_click = 0: 21",
        "source: KuaiRand (https://zenodo.org/records/10439422); licence: CC BY-SA 4.0",
        "note: video_features_statistic_* was not read: its averages over the whole month leak the future "
        "(--with-month-averages reads it)",
    ]


def test_table_with_vectors_at_the_command_line(cli, table, tmp_path):
    log, columns = table()
    pl.DataFrame({"item_id": [1], "segment": [0], "vector": [[0.5, 1.0]]}).write_parquet(tmp_path / "v.parquet")
    columns.write_text(columns.read_text() + "vectors: {text: {file: v.parquet}}\nlicence: MIT\nsource: my log\n")
    arguments = ["--columns", columns, "--segment-ms", 3000, "--vectors-type", "float16"]
    code, shown, _ = cli("read", "table", log, "--out", tmp_path / "out", *arguments)
    assert code == 0
    assert "segments/text: 1 vectors of 2 x float16, v.parquet (as delivered)" in shown
    assert "source: my log; licence: MIT" in shown
    assert DatasetFolder.open(tmp_path / "out").meta.segment_ms == 3000


def test_another_package_brings_a_reader(monkeypatch):
    theirs = EntryPoint("theirs", "segrec.datasets.segmm:read_segmm", "segrec.datasets")
    monkeypatch.setattr(segrec.datasets, "entry_points", lambda group: [theirs])
    assert find_reader("theirs") is DATASETS["segmm"]
    with pytest.raises(ConfigError, match=r"known: .*kuairand, segmm, table, theirs"):
        find_reader("other")
