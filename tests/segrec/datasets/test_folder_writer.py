"""The writer alone: rejected rows by their first reason, given splits, side tables, what counts for the fingerprint."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest

from segrec.datasets.folder_writer import write_dataset
from segrec.datasets.impossible_rows import impossible, take_out
from segrec.datasets.log_source import LogSource, ReadOptions, VectorSource
from segrec.datasets.side_tables import write_side_table
from segrec.records import DataError, DatasetFolder

LOG = pl.DataFrame(
    {"user_id": [1, 2, 3, 4], "item_id": [5, 6, 5, 7], "time_ms": [10, 20, 30, 40], "duration_ms": [1000] * 4,
     "watch_ms": [0, 10, 20, 30], "split": ["train", "train", "valid", "test"], "liked": [0, 1, 0, 1]},
    schema_overrides={"liked": pl.Int8},
)  # fmt: skip


def _source(frame=LOG, **more):
    given = {"given_split": "split" in frame.columns, "flags": ("liked",), **more}
    return LogSource(
        format="test", licence="none", source="made", batches=lambda: iter([frame[:2], frame[2:]]), **given
    )


def test_first_reason_counts():
    rows = [
        (None, 1, 1, 1, 1, 1), (1, None, -1, 1, 1, 1), (1, 1, -1, 0, 1, 1), (1, 1, 1, 0, -1, 1), (1, 1, 1, 1, -1, 1),
        (1, 1, 1, None, 1, 1), (1, 1, 5_000_000_000_000, 1, 1, 1), (1, 1, 1, 1, 1, None), (1, 1, 0, 1, 0, 0),
    ]  # fmt: skip
    names = ["user_id", "item_id", "time_ms", "duration_ms", "watch_ms", "liked"]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Int64), orient="row")
    counted: Counter[str] = Counter()
    kept = take_out(frame, impossible(frame.schema, ["liked"], {}), counted)
    assert kept.rows() == [(1, 1, 0, 1, 0, 0)]
    assert counted == {
        "missing user_id": 1, "missing item_id": 1, "time_ms < 0": 1, "duration_ms <= 0": 1, "watch_ms < 0": 1,
        "missing duration_ms": 1, "time_ms after 2100": 1, "missing liked": 1,
    }  # fmt: skip


def test_an_empty_text_is_no_id():
    frame = LOG.with_columns(user_id=pl.Series(["a", "", "b", None]))
    counted: Counter[str] = Counter()
    assert take_out(frame, impossible(frame.schema, [], {}), counted).height == 2
    assert counted == {"missing user_id": 2}


def test_the_folder_by_hand(tmp_path):
    dataset = write_dataset(_source(), tmp_path / "out", ReadOptions())
    assert dataset.interactions().collect().select(LOG.columns).equals(LOG)
    assert dataset.meta.rows == {"train": 2, "valid": 1, "test": 1}
    assert sorted(file.name for file in dataset.path.iterdir()) == ["dataset.json", "interactions"]
    assert DatasetFolder.open(tmp_path / "out").meta == dataset.meta


def test_a_given_split_that_leaves_a_part_empty(tmp_path):
    frame = LOG.with_columns(split=pl.lit("train"))
    with pytest.raises(DataError, match="split by 'given' leaves valid and test without rows"):
        write_dataset(_source(frame), tmp_path / "out", ReadOptions())
    assert list(tmp_path.iterdir()) == []


def test_what_the_fingerprint_sees(tmp_path):
    items = pl.DataFrame({"item_id": [5, 6, 7], "topic": ["a", "b", None]})
    users = pl.DataFrame({"user_id": [1], "age": [20]})
    index = pl.DataFrame({"item_id": [5], "segment": [0], "row": [0]})
    vectors = VectorSource("text", index, lambda: [np.ones((1, 2))], 2, "m")

    def fingerprint(name, frame=LOG, **more):
        return write_dataset(_source(frame, **more), tmp_path / name, ReadOptions()).meta.fingerprint

    plain = fingerprint("plain")
    with_items = fingerprint("items", items=lambda: iter([items]))
    assert fingerprint("vectors", vectors=(vectors,)) == plain
    assert fingerprint("users", users=lambda: iter([users])) == plain
    assert fingerprint("chunks", items=lambda: iter([items[:1], items[1:]])) == with_items
    changed = [
        fingerprint("topic", items=lambda: iter([items.with_columns(topic=pl.lit("c"))])),
        fingerprint("grid", segment_ms=3000),
        fingerprint("split", LOG.with_columns(split=pl.col("split").reverse())),
        fingerprint("watch", LOG.with_columns(pl.col("watch_ms") + 1)),
    ]
    assert len({plain, with_items, *changed}) == 6


def test_side_tables_keep_the_first_of_an_id(tmp_path):
    frames = [
        pl.DataFrame({"user_id": [1, None, 2], "age": [20, 0, 30]}),
        pl.DataFrame({"user_id": [1, 3], "age": [99, 40]}),
    ]
    dropped: Counter[str] = Counter()
    written = write_side_table(tmp_path / "users.parquet", "user_id", frames, dropped)
    assert pl.read_parquet(tmp_path / "users.parquet").rows() == [(1, 20), (2, 30), (3, 40)]
    assert dropped == {"users: missing user_id": 1, "users: repeated user_id": 1}
    assert written.features == ("age",)
    clean = [pl.DataFrame({"user_id": [1, 2, 3], "age": [20, 30, 40]})]
    assert (
        write_side_table(tmp_path / "clean.parquet", "user_id", clean, Counter()).content_hash == written.content_hash
    )


def test_a_side_table_without_rows_is_not_written(tmp_path):
    assert write_side_table(tmp_path / "users.parquet", "user_id", [], Counter()).features == ()
    assert list(tmp_path.iterdir()) == []
