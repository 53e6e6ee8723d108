"""Side features as numbers: what is used, how text and dates are coded, what unknown ids give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segrec.encoders.side_columns import SideColumns
from segrec.records import DatasetFolder, DatasetMeta, SplitRule

DAY = 86_400_000
VIEWS = pl.DataFrame(
    {
        "user_id": [1, 2, 9],
        "item_id": [10, 11, 99],
        "time_ms": [20 * DAY, 21 * DAY, 22 * DAY],
        "duration_ms": [5000, 6000, 7000],
        "hour": [3, 4, 5],
        "tab": [0, 1, None],
    }
)


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetFolder:
    pl.DataFrame(
        {"user_id": [1, 2], "age_range": ["18-23", "24-30"], "follows": [7, None], "left_out": [1, 1]}
    ).write_parquet(tmp_path / "users.parquet")
    pl.DataFrame(
        {
            "item_id": [10, 11],
            "upload_dt": ["1970-01-11", None],
            "tags": ["b", "a"],
            "words": [["x"], ["y"]],
            "tab": [5, 5],
        }
    ).write_parquet(tmp_path / "items.parquet")
    meta = DatasetMeta(
        format="table", split=SplitRule(rule="time"), rows={"train": 3}, context=["tab"],
        user_features=["age_range", "follows"], item_features=["upload_dt", "tags", "words", "tab"],
        licence="-", source="-", fingerprint="-",
    )  # fmt: skip
    return DatasetFolder(tmp_path, meta)


def test_every_column_by_hand(dataset: DatasetFolder) -> None:
    side = SideColumns.fit(VIEWS, dataset)
    assert side.names == ("tab", "hour", "duration_ms", "age_range", "follows", "upload_dt", "tags")
    nan = np.nan
    expected = [
        [0, 3, 5000, 2, 7, 10, 3],  # uploaded on day 10, seen on day 20; texts are coded in sorted order from 2 on
        [1, 4, 6000, 3, nan, nan, 2],
        [nan, 5, 7000, nan, nan, nan, nan],
    ]
    np.testing.assert_array_equal(side.numbers(VIEWS), np.array(expected, dtype=np.float32))


def test_text_not_seen_in_training_is_nan_and_rows_keep_their_order(dataset: DatasetFolder) -> None:
    side = SideColumns.fit(VIEWS.head(1), dataset)
    found = side.numbers(VIEWS.reverse())
    assert np.isnan(found[:, side.names.index("tags")]).tolist() == [True, True, False]
    assert found[:, side.names.index("duration_ms")].tolist() == [7000, 6000, 5000]


def test_without_side_tables_context_remains(tmp_path: Path, dataset: DatasetFolder) -> None:
    bare = DatasetFolder(tmp_path / "nothing", dataset.meta.model_copy(update={"context": []}))
    assert SideColumns.fit(VIEWS, bare).names == ("hour", "duration_ms")
    assert SideColumns.fit(VIEWS.select("user_id", "item_id", "time_ms"), bare).numbers(VIEWS).shape == (3, 0)
