"""The dataset folder: what is there, what is optional, what is damaged."""

from __future__ import annotations

import json

import polars as pl
import pytest

from segrec.records import DataError, DatasetFolder, DatasetMeta, SplitRule, scan_parquet

META = DatasetMeta(
    format="table", split=SplitRule(rule="time", valid_from_ms=2, test_from_ms=3),
    rows={"train": 1, "valid": 1, "test": 1}, licence="none", source="made", fingerprint="f" * 64,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for day, time in (("1970-01-02", 3), ("1970-01-01", 1), ("1970-01-01", 2)):
        place = tmp_path / "interactions" / f"day={day}"
        place.mkdir(parents=True, exist_ok=True)
        split = {1: "train", 2: "valid", 3: "test"}[time]
        pl.DataFrame({"user_id": [1], "time_ms": [time], "split": [split]}).write_parquet(
            place / f"part-{time:05}.parquet"
        )
    (tmp_path / "dataset.json").write_text(META.model_dump_json())
    return tmp_path


def test_interactions_in_order_of_days_and_parts(folder):
    dataset = DatasetFolder.open(folder)
    assert dataset.meta == META
    assert dataset.interactions().collect()["time_ms"].to_list() == [1, 2, 3]
    assert dataset.interactions(["test", "train"]).collect()["time_ms"].to_list() == [1, 3]
    assert dataset.interactions().collect_schema().names() == ["user_id", "time_ms", "split"], "no column of the folder"


def test_everything_else_is_optional(folder):
    dataset = DatasetFolder.open(str(folder))
    optional = (dataset.users(), dataset.items(), dataset.highlights(), dataset.truth(), dataset.segments())
    assert optional == (None,) * 5
    assert dataset.vector_names() == []
    with pytest.raises(DataError, match=r"has no segment vectors 'visual' .found: none.; make them with"):
        dataset.vectors("visual")
    pl.DataFrame({"user_id": [1], "age": [3]}).write_parquet(folder / "users.parquet")
    users = dataset.users()
    assert users is not None
    assert users["age"].to_list() == [3]


def test_not_a_dataset_folder(tmp_path):
    with pytest.raises(
        DataError, match=r"is not a dataset folder .dataset.json is missing.; make one with `segrec read`"
    ):
        DatasetFolder.open(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        json.dumps({**META.model_dump(), "schema_version": 2}),
        json.dumps({**META.model_dump(), "more": 1}),
        "[]",
    ],
)
def test_a_description_that_does_not_parse(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=r"dataset.json: does not parse .*read the source again") as told:
        DatasetFolder.open(tmp_path)
    assert "\n" not in str(told.value)


def test_no_interactions(tmp_path):
    (tmp_path / "dataset.json").write_text(META.model_dump_json())
    with pytest.raises(DataError, match="has no interactions; this command needs a dataset with impressions"):
        DatasetFolder.open(tmp_path).interactions()


def test_a_damaged_file_is_named(folder):
    bad = folder / "interactions" / "day=1970-01-02" / "part-00003.parquet"
    bad.write_bytes(bad.read_bytes()[:50])
    with pytest.raises(DataError, match=r"part-00003.parquet: cannot be read as Parquet"):
        DatasetFolder.open(folder).interactions()
    with pytest.raises(DataError, match=r"none.parquet: cannot be read as Parquet"):
        scan_parquet([folder / "none.parquet"])
