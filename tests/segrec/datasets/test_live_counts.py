"""Counts by event time: numbers by hand, and a double loop as oracle."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec.datasets.live_counts import Segments, audience, long_view

MINUTE = 60_000


def _segments(*rows):
    return Segments.of(pl.DataFrame(rows, schema=["room", "start_ms", "end_ms"], orient="row"))


def _sessions(*rows):
    frame = pl.DataFrame(rows, schema=["room", "time_ms", "end_ms", "long_view"], orient="row")
    return frame.with_columns(is_open=pl.lit(False))


def _shows(*rows):
    return pl.DataFrame(rows, schema={"room": pl.Int64, "time_ms": pl.Int64}, orient="row")


def test_a_room_by_hand():
    segments = _segments((0, 0, 100), (0, 100, 200), (1, 0, 100))
    sessions = _sessions(
        (0, 0, 99, 0), (0, 50, 100, 1), (0, 60, 150, None), (0, 100, 101, 1), (1, 99, 500, None), (1, 100, 120, 1)
    )
    made = audience(segments, sessions, _shows((0, 99), (0, 100), (0, 200), (1, 5)))
    found = {name: values.to_list() for name, values in made.items()}
    assert found == {
        "viewers": [3, 2, 1],  # the one that left at 100 is no viewer of 100 .. 200
        "exposures": [4, 2, 2],
        "clicks": [3, 1, 1],
        "entries": [2, 1, 0],  # without the ones whose outcome nobody saw
        "long_views": [1, 1, 0],
        "leaves": [1, 3, 0],  # at 99; at 100, 101 and 150; room 1's leave after its last segment
        "ctr": [0.75, 0.5, 0.5],
        "lvtr": [0.5, 1.0, None],
    }


def test_open_sessions_watch_but_do_not_leave():
    sessions = _sessions((0, 10, 90, 1)).with_columns(is_open=pl.lit(True))
    made = audience(_segments((0, 0, 100)), sessions, _shows())
    assert (made["viewers"][0], made["leaves"][0], made["ctr"][0]) == (1, 0, 1.0)


def test_a_long_view_is_longer_than_a_minute_and_unknown_where_the_room_was_not_seen_so_long():
    sessions = pl.DataFrame({"time_ms": [0, 0, 40_000, 40_000], "watch_ms": [MINUTE, MINUTE + 1, 10, 5 * MINUTE]})
    until = np.array([10 * MINUTE, 10 * MINUTE, 100_000, 100_001])
    assert long_view(sessions, until, MINUTE).to_list() == [0, 1, None, 1]
    assert long_view(sessions.tail(1), np.array([100_000]), MINUTE).to_list() == [None], (
        "early ends and late ones alike"
    )


times = st.integers(0, 40)
events = st.lists(st.tuples(st.integers(0, 2), times, times), max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), times), max_size=12, unique=True), events)
def test_against_a_double_loop(borders, happened):
    rows = []
    for room in range(3):
        ends = sorted(time for where, time in borders if where == room)
        rows += [(room, start, end) for start, end in pairwise(ends)]
    segments = Segments.of(
        pl.DataFrame(rows, schema={"room": pl.Int64, "start_ms": pl.Int64, "end_ms": pl.Int64}, orient="row")
    )
    room, one, two = (np.array([row[place] for row in happened], np.int64) for place in range(3))
    begin, end = np.minimum(one, two), np.maximum(one, two)
    counted = [sum(r == where and s <= t < e for where, t in zip(room, begin, strict=True)) for r, s, e in rows]
    assert segments.counts(room, begin).tolist() == counted
    # A session of no length at all is nobody's viewer, whether or not it falls on a border.
    lasting = end > begin
    sessions = list(zip(room[lasting], begin[lasting], end[lasting], strict=True))
    expected = [sum(r == where and b < e and f > s for where, b, f in sessions) for r, s, e in rows]
    assert segments.present(room[lasting], begin[lasting], end[lasting]).tolist() == expected
    at = segments.at(room, begin)
    for place, (where, time) in zip(at, zip(room, begin, strict=True), strict=True):
        inside = [row for row, (r, s, e) in enumerate(rows) if r == where and s <= time < e]
        assert inside == ([place] if place >= 0 else [])
