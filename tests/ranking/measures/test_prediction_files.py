"""Predictions from elsewhere: matched by key whatever their order, and refused when they are not one a row."""

from __future__ import annotations

import math

import polars as pl
import pytest

from ranking.measures.prediction_files import read_predictions
from segrec.records import DataError

ROWS = pl.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [10, 20, 10, 10], "time_ms": [5, 5, 6, 6]})
"The last two are one key twice."


@pytest.fixture
def write(tmp_path):
    def written(**columns):
        file = tmp_path / "predictions.parquet"
        pl.DataFrame(columns).write_parquet(file)
        return file

    return written


def test_matched_by_key_in_the_rows_order(write):
    file = write(
        item_id=[10, 20, 10, 99],
        user_id=[2, 1, 1, 9],
        time_ms=[6, 5, 5, 7],
        prediction=[0.3, 0.2, 0.1, 0.9],
        more=[0] * 4,
    )
    assert read_predictions(file, ROWS).tolist() == [0.1, 0.2, 0.3, 0.3]


def test_a_file_of_several_labels_gives_the_one_asked_for(write):
    file = write(
        user_id=[1, 1, 2], item_id=[10, 20, 10], time_ms=[5, 5, 6],
        prediction_is_click=[0.1, 0.2, 0.3], prediction_long_view=[0.4, 0.5, 0.6],
    )  # fmt: skip
    assert read_predictions(file, ROWS, label="long_view").tolist() == [0.4, 0.5, 0.6, 0.6]
    with pytest.raises(DataError, match="column 'prediction' is missing"):
        read_predictions(file, ROWS, label="is_like")


def test_a_key_as_often_as_in_the_dataset_keeps_its_order(write):
    file = write(user_id=[2, 1, 1, 2], item_id=[10, 20, 10, 10], time_ms=[6, 5, 5, 6], prediction=[0.4, 0.2, 0.1, 0.5])
    assert read_predictions(file, ROWS).tolist() == [0.1, 0.2, 0.4, 0.5]


def test_other_integer_types_and_integer_predictions_are_fine(write):
    file = write(
        user_id=pl.Series([1, 1, 2], dtype=pl.Int32), item_id=pl.Series([10, 20, 10], dtype=pl.UInt16),
        time_ms=[5, 5, 6], prediction=[0, 1, 1],
    )  # fmt: skip
    assert read_predictions(file, ROWS).tolist() == [0.0, 1.0, 1.0, 1.0]


KEYS = {"user_id": [1, 1, 2], "item_id": [10, 20, 10], "time_ms": [5, 5, 6]}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({**KEYS, "score": [0.1] * 3}, "column 'prediction' is missing .found: user_id, item_id, time_ms, score"),
        ({"user_id": [1], "item_id": [10], "prediction": [0.1]}, "column 'time_ms' is missing"),
        ({**KEYS, "prediction": ["a", "b", "c"]}, "column 'prediction' is not numeric .found: String"),
        ({**KEYS, "user_id": ["1", "1", "2"], "prediction": [0.1] * 3}, "column 'user_id' has another type"),
        ({**KEYS, "prediction": [0.1, math.nan, 0.2]}, r"a prediction is no probability \(1 rows\)"),
        ({**KEYS, "prediction": [0.1, None, 0.2]}, r"found: prediction None for .* = \(1, 20, 5\)"),
        ({**KEYS, "prediction": [0.1, 0.2, 1.2]}, r"found: prediction 1.2 for .* = \(2, 10, 6\)"),
        ({**KEYS, "prediction": [0.1, -0.2, 1.0]}, "a prediction is no probability"),
        (
            {"user_id": [1, 1, 1, 2], "item_id": [10, 10, 20, 10], "time_ms": [5, 5, 5, 6], "prediction": [0.1] * 4},
            r"a key occurs more than once \(2 rows\)",
        ),
        (
            {"user_id": [2, 2, 2, 1, 1], "item_id": [10] * 4 + [20], "time_ms": [6, 6, 6, 5, 5], "prediction": [0] * 5},
            r"a key occurs more than once \(3 rows\)",
        ),
        (
            {"user_id": [1, 2], "item_id": [10, 10], "time_ms": [5, 6], "prediction": [0.1, 0.2]},
            r"lacks 1 of 4 rows .found: none for \(user_id, item_id, time_ms\) = \(1, 20, 5\)",
        ),
    ],
)  # fmt: skip
def test_bad_files(columns, message, write):
    with pytest.raises(DataError, match=message):
        read_predictions(write(**columns), ROWS)


def test_a_key_too_seldom(tmp_path):
    file = tmp_path / "two.parquet"
    keys = {"user_id": [7, 7], "item_id": [1, 1], "time_ms": [3, 3]}
    pl.DataFrame({**keys, "prediction": [0.1, 0.2]}).write_parquet(file)
    with pytest.raises(DataError, match="a key occurs too seldom"):
        read_predictions(file, pl.DataFrame({name: values[:1] * 3 for name, values in keys.items()}))


def test_no_file_and_no_parquet(tmp_path):
    with pytest.raises(DataError, match="is not there"):
        read_predictions(tmp_path / "nowhere.parquet", ROWS)
    (tmp_path / "text.parquet").write_text("user_id,prediction")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_predictions(tmp_path / "text.parquet", ROWS)
