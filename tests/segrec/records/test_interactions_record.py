"""The expressions of a view by hand and against the publisher's rule."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segrec.records import exit_segment, segment_count, skip_views


@pytest.mark.parametrize(
    ("duration", "watch", "count", "exit_at"),
    [
        (12_000, 0, 3, 0),
        (12_000, 1, 3, 0),
        (12_000, 5_000, 3, 0),
        (12_000, 5_001, 3, 1),
        (12_000, 10_001, 3, 2),
        (12_000, 11_999, 3, 2),
        (12_000, 12_000, 3, 3),
        (12_000, 99_999, 3, 3),
        (5_000, 4_999, 1, 0),
        (5_001, 5_000, 2, 0),
        (1, 1, 1, 1),
    ],
)
def test_segments_by_hand(duration, watch, count, exit_at):
    frame = pl.DataFrame({"duration_ms": [duration], "watch_ms": [watch]})
    assert frame.select(segment_count(5000), exit_segment(5000).alias("e")).row(0) == (count, exit_at)


@given(duration=st.integers(1, 10**6), watch=st.integers(0, 10**6), segment=st.integers(1, 10**5))
def test_segments_whatever_the_grid(duration, watch, segment):
    frame = pl.DataFrame({"duration_ms": [duration], "watch_ms": [watch]})
    count, exit_at = frame.select(segment_count(segment), exit_segment(segment).alias("e")).row(0)
    assert count == len(range(0, duration, segment))
    if watch >= duration:
        assert exit_at == count
    else:
        assert 0 <= exit_at < count
        assert watch == 0 or exit_at * segment < watch <= (exit_at + 1) * segment


def test_rows_of_the_skip_task():
    frame = pl.DataFrame({"watch_ms": [0, 1, 1, 1, 1], "duration_ms": [10, 0, 199_999, 200_000, 1]})
    assert frame.select(skip_views())["watch_ms"].to_list() == [False, False, True, False, True]
