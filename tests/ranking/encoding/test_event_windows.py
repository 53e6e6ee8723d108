"""Rows keep references to their past; the codes appear when a bag is asked for, in the right row."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking.batching import make_batch
from ranking.encoding.event_windows import EventCodes, EventWindows
from ranking.rows.encoded_rows import EncodedRows

EVENTS = EventCodes(
    places={"past_item": np.array([0, 1, 2, 2], dtype=np.int32), "past_hour": np.array([1, 0, 0, 1], dtype=np.int32)},
    codes={"past_item": np.array([0, 7, 9], dtype=np.int32), "past_hour": np.array([3, 4], dtype=np.int32)},
)


def windows(*pairs):
    start, end = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return EventWindows(start, end, EVENTS)


def lists(bag):
    values, offsets = bag
    return [values[first:last].tolist() for first, last in pairwise(offsets)]


def test_gathered_by_hand():
    past = windows((0, 2), (3, 3), (1, 4))
    assert lists(past.bag("past_item")) == [[0, 7], [], [7, 9, 9]]
    assert lists(past.bag("past_hour")) == [[4, 3], [], [3, 3, 4]]
    assert lists(past.take(np.array([2, 1, 2])).bag("past_item")) == [[7, 9, 9], [], [7, 9, 9]]
    assert lists(past.take(slice(1, 3)).bag("past_item")) == [[], [7, 9, 9]]
    joined = EventWindows.concatenated([past, windows((2, 3)), windows()])
    assert lists(joined.bag("past_item")) == [[0, 7], [], [7, 9, 9], [9]]


def test_no_events_and_no_rows():
    nothing = EventCodes({"past_item": np.zeros(0, np.int32)}, {"past_item": np.zeros(2, np.int32)})
    assert lists(EventWindows(np.zeros(2, np.int64), np.zeros(2, np.int64), nothing).bag("past_item")) == [[], []]
    assert lists(windows().bag("past_item")) == []


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted), max_size=8), st.data())
def test_taking_then_gathering_is_gathering_then_taking(pairs, data):
    past = windows(*pairs)
    places = data.draw(st.lists(st.integers(0, len(pairs) - 1), max_size=8)) if pairs else []
    whole = lists(past.bag("past_item"))
    assert lists(past.take(np.array(places, dtype=np.int64)).bag("past_item")) == [whole[place] for place in places]


def rows_with(past):
    n = len(past.start)
    return EncodedRows(
        ids=np.arange(n, dtype=np.int32)[None] + 2,
        bags={"tag": (np.arange(n, dtype=np.int32), np.arange(n + 1))},
        dense=np.zeros((n, 0), dtype=np.float32),
        past=past,
    )


def test_a_batch_holds_ids_then_bags_then_sequences():
    rows = EncodedRows.concatenated([rows_with(windows((0, 2), (1, 1))), rows_with(windows((2, 4)))])
    names = ("item", "tag", "past_item", "past_hour")
    batch = make_batch(rows.take(np.array([2, 0])), names, 2, max_segments=1)
    jagged = batch.sparse.to_dict()
    assert batch.sparse.keys() == list(names)
    assert [part.tolist() for part in jagged["past_item"].to_dense()] == [[9, 9], [0, 7]]
    assert [part.tolist() for part in jagged["past_hour"].to_dense()] == [[3, 4], [4, 3]]
    assert [part.tolist() for part in jagged["item"].to_dense()] == [[2], [2]]


def test_a_row_costs_two_numbers_however_long_its_past():
    past = windows((0, 4), (0, 4))
    assert past.start.nbytes + past.end.nbytes == 32
    assert past.take(np.array([0])).events is past.events is EventWindows.concatenated([past, past]).events


def test_rows_without_histories_have_no_sequence():
    with pytest.raises(KeyError, match="past_item"):
        EncodedRows(np.zeros((1, 1), np.int32), {}, np.zeros((1, 0), np.float32)).bag("past_item")
