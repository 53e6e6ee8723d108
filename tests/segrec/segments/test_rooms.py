"""Rooms: order, runs, label shift, what is known when; worked out by hand on two rooms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segrec.encoders.encoder import Withheld
from segrec.records import DataError, DatasetFolder, DatasetMeta, Rate, SplitRule, write_segment_vectors
from segrec.segments.rooms import Rooms

NAN = float("nan")


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetFolder:
    """Room 7 starts at 1,000 s and has a gap before its fourth segment; room 3 starts at 500 s; room 9 is test."""
    starts = {3: [500, 530], 7: [1000, 1030, 1060, 2000, 2030], 9: [5000]}
    rows = [
        {"item_id": item, "segment": place, "start_ms": start * 1000, "end_ms": (start + 30) * 1000}
        for item, all_starts in starts.items()
        for place, start in enumerate(all_starts)
    ]
    frame = pl.DataFrame(rows, schema_overrides={"segment": pl.Int32}).with_columns(
        lvtr=pl.Series([0.5, 0.6, 0.0, 0.1, 0.2, 0.3, 0.4, 0.9], dtype=pl.Float32),
        entries=pl.Series([2, 5, 1, 10, 5, 10, 5, 10]),
    )
    (tmp_path / "segments").mkdir()
    frame.reverse().write_parquet(tmp_path / "segments" / "part-0.parquet")
    items = pl.DataFrame({"item_id": [3, 7, 9], "author_id": [1, 2, 1], "split": ["train", "train", "test"]})
    items.write_parquet(tmp_path / "items.parquet")
    meta = DatasetMeta(
        format="made", segment_ms=30_000, licence="none", source="a test", fingerprint="f",
        split=SplitRule(rule="time", valid_from_ms=2_060_000, test_from_ms=4_000_000),
        rows={"train": 0, "valid": 0, "test": 0}, rates={"lvtr": Rate(trials="entries", known_after_ms=60_000)},
    )  # fmt: skip
    (tmp_path / "dataset.json").write_text(meta.model_dump_json())
    return DatasetFolder.open(tmp_path)


def test_rooms_by_start_and_segments_in_time_order(dataset: DatasetFolder) -> None:
    rooms = Rooms.of(dataset)
    assert rooms.frame["item_id"].to_list() == [3, 3, 7, 7, 7, 7, 7, 9]
    assert rooms.frame["segment"].to_list() == [0, 1, 0, 1, 2, 3, 4, 0]
    assert rooms.offsets.tolist() == [0, 2, 7, 8]
    assert rooms.room.tolist() == [0, 0, 1, 1, 1, 1, 1, 2]


def test_a_gap_begins_a_run(dataset: DatasetFolder) -> None:
    rooms = Rooms.of(dataset)
    assert rooms.run_offsets.tolist() == [0, 2, 5, 7, 8]
    assert rooms.place_in_run.tolist() == [0, 1, 0, 1, 2, 0, 1, 0]


def test_the_label_shift_never_crosses_a_run_and_late_outcomes_are_left_out(dataset: DatasetFolder) -> None:
    target = Rooms.of(dataset).target("lvtr", 1)
    # Segment 3 of room 7 ends at 2,030 s: its long views are known at 2,090 s, after valid began.
    np.testing.assert_array_equal(target.values, np.float32([0.6, NAN, 0.1, 0.2, NAN, NAN, NAN, NAN]))
    np.testing.assert_array_equal(target.trials, np.float32([5, NAN, 10, 5, NAN, 5, NAN, NAN]))
    unshifted = Rooms.of(dataset).target("lvtr", 0)
    np.testing.assert_array_equal(unshifted.values, np.float32([0.5, 0.6, 0.0, 0.1, 0.2, NAN, NAN, 0.9]))


def test_what_is_known_at_the_end_of_a_segment_is_two_segments_old(dataset: DatasetFolder) -> None:
    # 60 s after its end a rate is known: at the end of segment 2 that of segment 0; after the gap that of segment 2.
    assert Rooms.of(dataset).newest_known("lvtr", 1).tolist() == [-1, -1, -1, -1, 2, 4, 4, -1]
    assert Rooms.of(dataset).newest_known("lvtr", 0).tolist() == [-1, -1, -1, -1, -1, 4, 4, -1]


def test_withheld_rooms_are_train_rooms_that_start_inside(dataset: DatasetFolder) -> None:
    kept = Rooms.of(dataset, withheld=Withheld(600_000, 6_000_000)).frame["item_id"].unique(maintain_order=True)
    assert kept.to_list() == [3, 9]


def test_vector_rows(dataset: DatasetFolder) -> None:
    index = pl.DataFrame({"item_id": [7, 3], "segment": [1, 0], "row": [0, 1]})
    write_segment_vectors(
        dataset.path / "segments" / "visual", index, [np.ones((2, 3), np.float32)], dim=3, dtype="float32", model="m"
    )
    rooms = Rooms.of(dataset)
    assert rooms.vector_rows(dataset.vectors("visual")).tolist() == [1, -1, -1, 0, -1, -1, -1, -1]


def test_an_unknown_rate_or_an_empty_split_is_refused(dataset: DatasetFolder) -> None:
    with pytest.raises(DataError, match=r"has no rate 'ctr'.*lvtr"):
        Rooms.of(dataset).target("ctr", 0)
    with pytest.raises(DataError, match="has no segment in valid"):
        Rooms.of(dataset, ["valid"])
    (dataset.path / "items.parquet").unlink()
    with pytest.raises(DataError, match="has no live rooms"):
        Rooms.of(dataset)
