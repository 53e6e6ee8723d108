"""Authors join the log by position or by hash, with the same answer."""

from __future__ import annotations

import polars as pl
import pytest

from segrec.datasets.authors import Authors


def _items(tmp_path, ids, **columns):
    pl.DataFrame({"item_id": ids, **columns}).write_parquet(tmp_path / "items.parquet")
    return Authors(tmp_path / "items.parquet")


@pytest.mark.parametrize("ids", [[2, 0, 3], [2_000, 0, 3_000_000], [-2, 0, 3], ["2", "0", "3"]])
def test_known_and_unknown_items(tmp_path, ids):
    authors = _items(tmp_path, ids, author_id=[10, 11, None])
    other = 1 if isinstance(ids[0], int) else "1"
    log = pl.DataFrame({"item_id": [ids[0], other, ids[1], ids[2], ids[0]], "x": range(5)})
    assert authors.join(log)["author_id"].to_list() == [10, None, 11, None, 10]
    assert authors.join(log).drop("author_id").equals(log)


def test_items_beyond_the_table(tmp_path):
    authors = _items(tmp_path, [0, 1], author_id=[10, 11])
    assert authors.join(pl.DataFrame({"item_id": [-1, 2, 2**40]}))["author_id"].to_list() == [None] * 3


@pytest.mark.parametrize("dtype", [pl.Int64, pl.String])
def test_no_authors_at_all(tmp_path, dtype):
    log = pl.DataFrame({"item_id": ["1"]}).cast(dtype)
    assert Authors(tmp_path / "none.parquet").join(log).schema["author_id"] == dtype
    assert _items(tmp_path, [1], topic=["a"]).join(log)["author_id"].to_list() == [None]


def test_the_logs_own_authors_stay(tmp_path):
    authors = _items(tmp_path, [0], author_id=[10])
    log = pl.DataFrame({"item_id": [0], "author_id": [7]})
    assert authors.join(log).equals(log)
