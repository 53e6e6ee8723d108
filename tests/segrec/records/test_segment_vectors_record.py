"""Segment vectors: streamed in, mapped out, and checked."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from segrec.records import DataError, SegmentVectors, write_segment_vectors

INDEX = pl.DataFrame({"item_id": [2, 1, 1], "segment": [0, 1, 0], "row": [0, 1, 2]})
ROWS = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float64)


def _write(folder, chunks, index=INDEX, dtype="float32"):
    return write_segment_vectors(folder, index, iter(chunks), dim=2, dtype=dtype, model="m r1")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_round_trip(tmp_path, dtype):
    meta = _write(tmp_path, [ROWS[:2], ROWS[2:]], dtype=dtype)
    vectors = SegmentVectors.open(tmp_path)
    assert vectors.meta == meta
    assert (meta.dim, meta.rows, meta.model) == (2, 3, "m r1")
    assert vectors.index().rows() == [(1, 0, 2), (1, 1, 1), (2, 0, 0)]
    assert vectors.matrix.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(vectors.matrix, ROWS)


def test_the_hash_is_that_of_the_numbers_not_of_the_pieces(tmp_path):
    one = _write(tmp_path / "one", [ROWS])
    assert _write(tmp_path / "two", [ROWS[:1], ROWS[1:]]).sha256 == one.sha256
    assert _write(tmp_path / "three", [ROWS + 1]).sha256 != one.sha256


BAD = ROWS.copy()
BAD[1, 1] = np.nan


@pytest.mark.parametrize(
    ("chunks", "index", "message"),
    [
        ([ROWS[:, :1]], INDEX, r"another width .found: .3, 1.; expected: .n, 2."),
        ([ROWS[0]], INDEX, "another width"),
        ([ROWS[:1], BAD[1:]], INDEX, "vector of row 1 has a NaN or infinite value"),
        ([ROWS[:2]], INDEX, "fewer vectors than index rows .found: 2; expected: 3"),
        ([ROWS, ROWS], INDEX, "more vectors than index rows .found: >= 6; expected: 3"),
        ([ROWS], INDEX.with_columns(segment=0), "pair occurs twice"),
    ],
)
def test_refusals(tmp_path, chunks, index, message):
    with pytest.raises(DataError, match=message):
        _write(tmp_path, chunks, index)


def test_damaged_folders(tmp_path):
    _write(tmp_path, [ROWS])
    np.save(tmp_path / "vectors.npy", ROWS[:2])
    with pytest.raises(DataError, match=r"has another shape .found: .2, 2.; expected: .3, 2."):
        SegmentVectors.open(tmp_path)
    (tmp_path / "vectors.npy").write_bytes(b"cut")
    with pytest.raises(DataError, match="holds no segment vectors"):
        SegmentVectors.open(tmp_path)
    (tmp_path / "vectors.json").write_text("{}")
    with pytest.raises(DataError, match="holds no segment vectors"):
        SegmentVectors.open(tmp_path)
