"""Ids to codes: 0 missing, 1 unseen, known ids from 2 on in sorted order."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec.records import ConfigError, DataError
from segrec.tables import IdCounts, Vocabulary


def test_numbers_by_hand() -> None:
    vocabulary = Vocabulary.fit(pl.Series("item_id", [30, 10, 30, None, 20]))
    assert vocabulary.size == 5
    assert vocabulary.encode(pl.Series([20, None, 99, 30, 10])).tolist() == [3, 0, 1, 4, 2]
    assert vocabulary.to_frame().to_dict(as_series=False) == {"id": [10, 20, 30], "code": [2, 3, 4], "count": [1, 1, 2]}


def test_strings_by_hand() -> None:
    vocabulary = Vocabulary.fit(pl.Series(["b", "a", "b", ""]))
    assert vocabulary.encode(pl.Series(["", "b", None, "B"])).tolist() == [2, 4, 0, 1]


def test_rare_ids_are_unseen() -> None:
    vocabulary = Vocabulary.fit(pl.Series([1, 1, 2, 3, 3, 3]), min_count=2)
    codes = vocabulary.encode(pl.Series([1, 2, 3, None, 7]))
    assert codes.tolist() == [2, 1, 3, 0, 1]
    counts = Vocabulary.counts_of(codes)
    assert counts == IdCounts(known=2, unseen=2, missing=1)
    assert counts.rows == 5


@pytest.mark.parametrize("dtype", [pl.Int32, pl.UInt8, pl.Int64])
def test_whole_numbers_of_any_width_are_the_same_ids(dtype: type[pl.DataType]) -> None:
    vocabulary = Vocabulary.fit(pl.Series([1, 5], dtype=pl.Int64))
    assert vocabulary.encode(pl.Series([5, 1, 2], dtype=dtype)).tolist() == [3, 2, 1]


def test_categories_are_strings() -> None:
    vocabulary = Vocabulary.fit(pl.Series(["x", "y"], dtype=pl.Categorical))
    assert vocabulary.encode(pl.Series(["y", "z"])).tolist() == [3, 1]


def test_nothing_known() -> None:
    vocabulary = Vocabulary.fit(pl.Series("item_id", [], dtype=pl.Int64))
    assert vocabulary.size == 2
    assert vocabulary.encode(pl.Series([4, None])).tolist() == [1, 0]
    assert vocabulary.encode(pl.Series([], dtype=pl.Int64)).tolist() == []


def test_all_null_is_all_missing_whatever_the_type() -> None:
    vocabulary = Vocabulary.fit(pl.Series(["a"]))
    assert vocabulary.encode(pl.Series([None, None])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pl.Series("score", [1.5]), "column 'score' holds Float64 .expected ids: whole numbers or strings"),
        (pl.Series("tags", [[1]]), r"column 'tags' holds List\(Int64\)"),
    ],
)
def test_what_is_no_id_is_refused(values: pl.Series, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Vocabulary.fit(values)


def test_another_type_than_fitted_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"column 'user_id' holds String .expected: Int64"):
        Vocabulary.fit(pl.Series([1])).encode(pl.Series("user_id", ["1"]))
    with pytest.raises(ConfigError, match="min_count must be at least 1"):
        Vocabulary.fit(pl.Series([1]), min_count=0)


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 5)), max_size=30),
    others=st.lists(st.integers(-3, 8), max_size=20),
)
def test_codes_lead_back_to_ids(values: list[int | None], others: list[int]) -> None:
    fitted, asked = pl.Series("id", values, dtype=pl.Int64), pl.Series("id", values + others, dtype=pl.Int64)
    vocabulary = Vocabulary.fit(fitted)
    codes = vocabulary.encode(asked)
    known = {value for value in values if value is not None}
    assert vocabulary.decode(codes).to_list() == [value if value in known else None for value in asked.to_list()]
    assert codes.dtype == np.int64
    assert vocabulary.size == len(known) + 2


@pytest.mark.parametrize("values", [[3, 1, 2], ["b", "a"]], ids=["numbers", "strings"])
def test_parquet_round_trip(values: list[object]) -> None:
    vocabulary, file = Vocabulary.fit(pl.Series(values)), io.BytesIO()
    vocabulary.to_frame().write_parquet(file)
    file.seek(0)
    again = Vocabulary.from_frame(pl.read_parquet(file))
    assert again.encode(pl.Series(values)).tolist() == vocabulary.encode(pl.Series(values)).tolist()
    assert again.counts.to_list() == [1] * len(values)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pl.DataFrame({"id": [1], "code": [2]}), r"items: column 'count' is missing \(found: id, code; expected: id"),
        (pl.DataFrame({"id": [2, 1], "code": [2, 3], "count": [1, 1]}), "items: is not a vocabulary"),
        (pl.DataFrame({"id": [1, 1], "code": [2, 3], "count": [1, 1]}), "items: is not a vocabulary"),
        (pl.DataFrame({"id": [1, None], "code": [2, 3], "count": [1, 1]}), "items: is not a vocabulary"),
        (pl.DataFrame({"id": [1, 2], "code": [3, 2], "count": [1, 1]}), "items: is not a vocabulary"),
        (pl.DataFrame({"id": [1.0], "code": [2], "count": [1]}), "items: is not a vocabulary"),
    ],
)
def test_a_damaged_vocabulary_is_refused(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Vocabulary.from_frame(frame, "items")
