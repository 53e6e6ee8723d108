"""Rows dealt from lanes: by hand, and for any sizes each row once, the same batches for any number of processes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.rows.lanes import Lanes

SIZES = st.lists(st.integers(1, 30), max_size=40)


def test_the_largest_pieces_go_to_the_emptiest_lanes():
    lanes = Lanes([5, 3, 4, 1, 2], 2)
    assert lanes.pieces == [[0, 4, 3], [2, 1]]  # 5 | 4, 3 beside 4, 2 beside 5, 1 to the first of two equal ones
    assert lanes.rows.tolist() == [8, 7]


def test_equal_pieces_go_round():
    assert Lanes([4] * 6, 3).pieces == [[0, 3], [1, 4], [2, 5]]


def test_rows_are_dealt_in_turn_until_a_lane_is_empty():
    lanes = Lanes([3, 1, 2], 3)  # lanes of 3, 2 and 1 rows; turns: 0 1 2 | 0 1 | 0
    assert lanes.rows.tolist() == [3, 2, 1]
    turns = [0, 1, 2, 0, 1, 0]
    for rows in range(7):
        assert lanes.dealt(rows).tolist() == [turns[:rows].count(lane) for lane in range(3)]


@given(SIZES, st.integers(1, 12))
def test_dealing_never_takes_back(sizes, count):
    lanes = Lanes(sizes, count)
    dealt = np.array([lanes.dealt(rows) for rows in range(sum(sizes) + 1)])
    assert dealt.sum(axis=1).tolist() == list(range(sum(sizes) + 1))
    assert (np.diff(dealt, axis=0) >= 0).all()
    assert (dealt <= lanes.rows).all()
    assert dealt[-1].tolist() == lanes.rows.tolist()


@given(SIZES, st.integers(1, 12))
def test_each_piece_lies_in_one_lane_and_lanes_are_even(sizes, count):
    lanes = Lanes(sizes, count)
    assert sorted(piece for pieces in lanes.pieces for piece in pieces) == list(range(len(sizes)))
    assert lanes.rows.max() - lanes.rows.min() <= max(sizes, default=0)


@settings(max_examples=50)
@given(SIZES, st.integers(1, 6), st.integers(0, 2**32), st.integers(0, 3), st.integers(1, 60))
def test_windows_hold_each_row_of_a_lane_once(sizes, count, seed, epoch, window_rows):
    lanes = Lanes(sizes, count)
    for lane in range(count):
        windows = lanes.windows(lane, seed, epoch, window_rows)
        assert windows == lanes.windows(lane, seed, epoch, window_rows)
        assert sorted(piece for window in windows for piece in window.pieces) == sorted(lanes.pieces[lane])
        assert [window.first for window in windows] == [0, *np.cumsum([window.rows for window in windows])][:-1]
        assert all(sorted(window.order()) == list(range(window.rows)) for window in windows)
        assert all(sum(sizes[piece] for piece in window.pieces) == window.rows for window in windows)
        last = [sizes[window.pieces[-1]] for window in windows]
        assert all(window.rows - end < window_rows for window, end in zip(windows, last, strict=True))


def test_a_short_lane_is_one_window():
    [window] = Lanes([3] * 16, 8).windows(0, seed=0, epoch=0, window_rows=6)
    assert window.rows == 6


def test_first_windows_of_long_lanes_end_at_different_times():
    lanes = Lanes([1] * 800, 8)
    assert [lanes.windows(lane, 0, 0, 40)[0].rows for lane in range(8)] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert {window.rows for window in lanes.windows(0, 0, 0, 40)[1:-1]} == {40}


def test_order_follows_seed_epoch_and_lane():
    lanes = Lanes([4] * 64, 2)
    first = lanes.windows(0, 1, 0, 64)
    assert [window.pieces for window in first] != [window.pieces for window in lanes.windows(0, 2, 0, 64)]
    assert [window.pieces for window in first] != [window.pieces for window in lanes.windows(0, 1, 1, 64)]
    assert first[0].order().tolist() != lanes.windows(1, 1, 0, 64)[0].order().tolist()
