from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segrec.worlds.jagged import list_column, positions_of, row_sums, rows_of, running_sums

LENGTHS = np.array([2, 1, 3])
VALUES = np.array([1.0, 2.0, 10.0, 4.0, 5.0, 6.0])


def test_rows_and_positions_by_hand():
    assert rows_of(LENGTHS).tolist() == [0, 0, 1, 2, 2, 2]
    assert positions_of(LENGTHS).tolist() == [0, 1, 0, 0, 1, 2]


def test_sums_by_hand():
    assert row_sums(VALUES, LENGTHS).tolist() == [3.0, 10.0, 15.0]
    assert running_sums(VALUES, LENGTHS).tolist() == [1.0, 3.0, 10.0, 4.0, 9.0, 15.0]


def test_lists_by_hand():
    assert list_column("x", VALUES, LENGTHS).to_list() == [[1.0, 2.0], [10.0], [4.0, 5.0, 6.0]]


def test_no_rows_at_all():
    nothing = np.zeros(0, dtype=np.int64)
    assert row_sums(np.zeros(0), nothing).tolist() == []
    assert running_sums(np.zeros(0), nothing).tolist() == []
    assert list_column("x", np.zeros(0), nothing).to_list() == []


@given(st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=6), min_size=1, max_size=8))
def test_agree_with_rows_summed_one_by_one(rows):
    lengths = np.array([len(row) for row in rows])
    flat = np.array([value for row in rows for value in row])
    assert row_sums(flat, lengths) == pytest.approx([sum(row) for row in rows], abs=1e-9)
    running = [value for row in rows for value in np.cumsum(row)]
    assert running_sums(flat, lengths) == pytest.approx(running, abs=1e-9)
