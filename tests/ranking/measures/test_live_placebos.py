"""Placebos of live tables: same rooms, segments and ends; only what they take away is gone."""

import math

import polars as pl
import pytest

from ranking.measures.placebos import PLACEBOS, write_placebo
from segrec.records import ScoreMeta, ScoreTable, write_score_table

DAY_MS = 86_400_000


@pytest.fixture
def log(make_dataset):
    """Room 10 and 11 are train, 12 is test; room 10 is shown at 5 and 35, room 12 at 40, 41 and 61."""
    rows = pl.DataFrame(
        {
            "user_id": [1, 2, 1, 2, 3], "item_id": [10, 10, 12, 12, 12], "author_id": [0] * 5,
            "time_ms": [5, 35, 40, 41, 61], "duration_ms": [None] * 5, "watch_ms": [0] * 5,
            "split": ["train", "train", "test", "test", "test"],
        },
        schema_overrides={"duration_ms": pl.Int64},
    )  # fmt: skip
    items = pl.DataFrame({"item_id": [10, 11, 12], "start_ms": [0, 0, 0], "split": ["train", "train", "test"]})
    return make_dataset(rows, items=items)


@pytest.fixture
def table(tmp_path):
    frame = pl.DataFrame(
        {
            "item_id": [12] * 3 + [10] * 2 + [11], "segment": [0, 1, 2, 0, 1, 0], "end_ms": [30, 60, 90, 30, 60, 30],
            "score": [0.1, 0.2, 0.3, 0.5, 0.7, 0.9],
        }
    )  # fmt: skip
    meta = ScoreMeta(
        form="live", kind="relevance", encoder="enc", encoder_hash="h", dataset_fingerprint="f" * 64, segment_ms=5000,
        trained_until_ms=1, fitted_on=["train"],
    )  # fmt: skip
    write_score_table(tmp_path / "real.parquet", [frame], meta)
    return ScoreTable.open(tmp_path / "real.parquet")


def made(table, log, placebo, tmp_path, seed=0):
    return write_placebo(table, log, placebo, tmp_path / f"{placebo}.{seed}.parquet", seed=seed)


@pytest.mark.parametrize("placebo", PLACEBOS)
def test_rooms_and_ends_stay(placebo, table, log, tmp_path):
    new = made(table, log, placebo, tmp_path)
    rows = ["item_id", "segment", "end_ms"]
    assert new.frame().select(rows).collect().equals(table.frame().select(rows).sort("item_id", "end_ms").collect())
    assert (new.meta.form, new.meta.encoder) == ("live", f"enc+placebo_{placebo}")
    new.check_usable(log)


def test_shuffled_stays_inside_the_room(table, log, tmp_path):
    seen = set()
    for seed in range(20):
        frame = made(table, log, "shuffled", tmp_path, seed).frame().collect()
        of_room = {item: part["score"].to_list() for (item,), part in frame.group_by("item_id")}
        assert sorted(of_room[12]) == pytest.approx([0.1, 0.2, 0.3])
        assert sorted(of_room[10]) == pytest.approx([0.5, 0.7])
        seen.add(tuple(of_room[12]))
    assert len(seen) > 3


def test_position_is_the_mean_of_train_rooms(table, log, tmp_path):
    frame = made(table, log, "position", tmp_path).frame().collect()
    of_room = {item: part["score"].to_list() for (item,), part in frame.group_by("item_id", maintain_order=True)}
    # segment 0: (.5 + .9) / 2; segment 1: .7; segment 2 no train room has: the last mean
    assert of_room == {10: pytest.approx([0.7, 0.7]), 11: pytest.approx([0.7]), 12: pytest.approx([0.7, 0.7, 0.7])}


def test_popularity_counts_what_was_shown_before_the_segments_end(table, log, tmp_path):
    frame = made(table, log, "popularity", tmp_path).frame().collect()
    of_room = {item: part["score"].to_list() for (item,), part in frame.group_by("item_id", maintain_order=True)}
    shown = {10: [1, 2], 11: [0], 12: [0, 2, 3]}
    assert of_room == {room: pytest.approx([math.log1p(n) for n in counts]) for room, counts in shown.items()}
