"""Hashed and raw ids: the same codes everywhere, inside the table, missing ones apart."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec.records import ConfigError
from segrec.tables import HashedIds, IdSettings, RawKeys, Vocabulary, id_codes
from segrec.tables.id_codes import MISSING_KEY, mixed


def test_the_mixing_is_splitmix64() -> None:
    # first outputs of splitmix64 seeded with 0 and with 1234567 (its published test vector)
    found = [int(mixed(np.array([start], dtype=np.uint64), 0)[0]) for start in (0, 1234567)]
    assert found == [0xE220A8397B1DCDAF, 6457827717110365317]


@pytest.mark.parametrize(
    ("values", "rows", "seed", "codes"),
    [
        (pl.Series([1, 2, 3, None, -5]), 102, 0, [67, 12, 55, 0, 16]),
        (pl.Series([1, 2, 3, None, -5]), 102, 7, [35, 57, 72, 0, 34]),
        (pl.Series(["a", "b", None, "a"]), 102, 0, [25, 8, 0, 25]),
        (pl.Series([True, False], dtype=pl.Boolean), 4, 0, None),
        (pl.Series(["x"], dtype=pl.Categorical), 4, 0, None),
        (pl.Series([None, None], dtype=pl.Null), 9, 0, [0, 0]),
        (pl.Series([], dtype=pl.Int64), 9, 0, []),
    ],
)
def test_known_codes_do_not_change_between_runs(
    values: pl.Series, rows: int, seed: int, codes: list[int] | None
) -> None:
    found = HashedIds(rows, seed).encode(values)
    assert found.dtype == np.int64
    if codes is not None:
        assert found.tolist() == codes


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**62), 2**62))), st.integers(4, 10**6), st.integers(0, 2**31))
def test_hashed_codes_lie_inside_the_table(ids: list[int | None], rows: int, seed: int) -> None:
    codes = HashedIds(rows, seed).encode(pl.Series(ids, dtype=pl.Int64))
    for value, code in zip(ids, codes, strict=True):
        assert (code == 0) if value is None else (2 <= code < rows)
    again = HashedIds(rows, seed).encode(pl.Series(ids[::-1], dtype=pl.Int64))[::-1]
    assert np.array_equal(codes, again)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=20))
def test_texts_hash_by_their_value_alone(ids: list[str | None]) -> None:
    codes = HashedIds(50).encode(pl.Series(ids, dtype=pl.String))
    alone = [HashedIds(50).encode(pl.Series([text], dtype=pl.String))[0] for text in ids]
    assert codes.tolist() == alone


def test_hashes_spread_evenly() -> None:
    counts = np.bincount(HashedIds(102).encode(pl.Series(range(100_000))), minlength=102)
    assert counts[:2].tolist() == [0, 0]
    # 100 rows of 1000 expected ids each: five binomial deviations are 157
    assert abs(counts[2:] - 1000).max() < 157


def test_raw_keys_are_the_numbers_themselves_and_hashes_of_texts() -> None:
    keys = RawKeys(10)
    assert keys.encode(pl.Series([5, None, -7])).tolist() == [5, MISSING_KEY, -7]
    texts = keys.encode(pl.Series(["a", "b", None, "a"]))
    assert texts.tolist() == [3405396810240292928, 3841435576750469764, MISSING_KEY, 3405396810240292928]
    assert keys.missing == MISSING_KEY
    assert keys.size == 10


def test_outermost_numbers_and_other_types_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"column 'user' holds .* which managed ids keep for themselves"):
        RawKeys(10).encode(pl.Series("user", [2**63 - 1]))
    with pytest.raises(ConfigError, match="column 'price' holds Float64"):
        HashedIds(10).encode(pl.Series("price", [0.5]))


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        ({"ids": "hash"}, "ids=hash needs rows"),
        ({"ids": "managed"}, "ids=managed needs rows"),
        ({"rows": 100}, "ids=vocabulary counts its own rows; leave rows out"),
        ({"ids": "hash", "rows": 3}, "field 'rows'"),
        ({"ids": "hash", "rows": 9, "hash_seed": -1}, "field 'hash_seed'"),
        ({"ids": "cuckoo"}, "field 'ids'"),
    ],
)
def test_bad_settings_are_one_line(given_settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        IdSettings.checked(given_settings)
    assert "\n" not in str(error.value)


def test_settings_make_their_codes() -> None:
    assert id_codes(IdSettings(ids="hash", rows=9, hash_seed=3)) == HashedIds(9, 3)
    assert id_codes(IdSettings(ids="managed", rows=9)) == RawKeys(9)
    assert Vocabulary.fit(pl.Series([1])).missing == 0
    with pytest.raises(ValueError, match="fitted on rows"):
        id_codes(IdSettings())
