"""The content hash: what it sees, and what it must not see."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec.datasets.fingerprint import ContentHash


def _hash(*frames):
    content = ContentHash()
    for frame in frames:
        content.add(frame)
    return content.hexdigest()


FRAME = pl.DataFrame(
    {"id": [1, 2, 3], "name": ["a", "bc", None], "x": [0.5, None, 2.0], "on": [True, False, None],
     "v": [[1, 2], [], [3]], "at": [datetime(2024, 1, 1)] * 3}
)  # fmt: skip


def test_known_value():
    """Written down once: a change here refuses every score table in the field."""
    frame = pl.DataFrame({"user_id": [1, 2], "tag": ["a", None]}, schema={"user_id": pl.Int64, "tag": pl.String})
    assert _hash(frame) == "488557fc5a54218bb8b24ca028d5a1bd5110950930ad9a9c036793a8f79cb8de"


@pytest.mark.parametrize(
    "other",
    [
        FRAME.with_columns(id=pl.Series([1, 2, 4])),
        FRAME.with_columns(name=pl.Series(["ab", "c", None])),
        FRAME.with_columns(name=pl.Series(["a", "bc", ""])),
        FRAME.with_columns(x=pl.Series([0.5, 0.0, 2.0])),
        FRAME.with_columns(on=pl.Series([True, False, False])),
        FRAME.with_columns(v=pl.Series([[1], [2], [3]])),
        FRAME.with_columns(at=datetime(2024, 1, 2)),
        FRAME.with_columns(pl.col("id").cast(pl.Int32)),
        FRAME.rename({"id": "ids"}),
        FRAME.reverse(),
        FRAME.head(2),
        FRAME.drop("on"),
    ],
)
def test_every_change_is_seen(other):
    assert _hash(other) != _hash(FRAME)


def test_column_order_and_chunks_are_not_seen():
    assert _hash(FRAME.select(reversed(FRAME.columns))) == _hash(FRAME)
    assert _hash(pl.concat([FRAME.head(1), FRAME.tail(2)], rechunk=False)) == _hash(FRAME)


TEXTS = st.lists(
    st.tuples(st.one_of(st.none(), st.text(max_size=4)), st.lists(st.integers(0, 3), max_size=3)), max_size=12
)


@given(rows=TEXTS, cut=st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_any_cut_gives_the_same_hash(rows, cut):
    frame = pl.DataFrame(rows, schema={"name": pl.String, "v": pl.List(pl.Int64)}, orient="row")
    assert _hash(frame[:cut], frame[cut:]) == _hash(frame)


def test_parquet_and_ipc_round_trips_keep_it(tmp_path):
    for compression in ("zstd", "snappy", "uncompressed"):
        FRAME.write_parquet(tmp_path / "a.parquet", compression=compression, row_group_size=1)
        assert _hash(pl.read_parquet(tmp_path / "a.parquet")) == _hash(FRAME)
