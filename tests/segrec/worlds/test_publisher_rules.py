from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segrec.worlds.publisher_rules import exit_span_ms, least_long_view_ms, least_valid_play_ms, play_probability


@pytest.mark.parametrize(
    ("duration_ms", "valid_ms", "long_ms"),
    [
        (5_000, 5_000, 5_000),
        (7_000, 7_000, 7_000),
        (7_001, 7_001, 7_001),
        (12_000, 7_001, 12_000),
        (18_000, 7_001, 18_000),
        (18_001, 7_001, 18_000),
        (199_000, 7_001, 18_000),
    ],
)
def test_shortest_plays_that_count(duration_ms, valid_ms, long_ms):
    assert least_valid_play_ms(np.array([duration_ms])).tolist() == [valid_ms]
    assert least_long_view_ms(np.array([duration_ms])).tolist() == [long_ms]


def test_exit_spans_by_hand():
    first, last = exit_span_ms(np.array([0, 1, 2]), np.array([12_000] * 3))
    assert first.tolist() == [1, 5_001, 10_001]
    assert last.tolist() == [5_000, 10_000, 11_999]


def test_valid_play_of_three_segments_by_hand():
    # 12 s: hazards .5 .4 .2; valid play = more than 7 s: 3,000 of the 5,000 ms of segment 1, and all that follows.
    exits = np.array([0.5, 0.2, 0.06, 0.24])
    lengths, duration = np.array([3]), np.array([12_000])
    valid = play_probability(exits, lengths, duration, least_valid_play_ms(duration))
    assert valid == pytest.approx([0.2 * 0.6 + 0.06 + 0.24])
    # Up to 18 s only the whole video is a long view.
    assert play_probability(exits, lengths, duration, least_long_view_ms(duration)) == pytest.approx([0.24])


def test_long_view_inside_the_last_segment_by_hand():
    # 19 s: the last segment ends views at 15,001 .. 18,999 ms: 1,000 of these 3,999 reach 18,000.
    exits = np.array([0.5, 0.2, 0.06, 0.12, 0.12])
    duration = np.array([19_000])
    long = play_probability(exits, np.array([4]), duration, least_long_view_ms(duration))
    assert long == pytest.approx([0.12 * 1_000 / 3_999 + 0.12])


def test_rows_do_not_touch_each_other():
    exits = np.array([0.5, 0.2, 0.06, 0.24, 0.3, 0.7])
    lengths, duration = np.array([3, 1]), np.array([12_000, 5_000])
    assert play_probability(exits, lengths, duration, least_valid_play_ms(duration)) == pytest.approx([0.42, 0.7])


@given(st.integers(5_000, 60_000), st.integers(0, 2**32 - 1))
def test_counts_every_millisecond(duration_ms, seed):
    lengths, duration = np.array([-(-duration_ms // 5_000)]), np.array([duration_ms])
    exits = np.random.default_rng(seed).dirichlet(np.ones(lengths[0] + 1))
    least = int(least_long_view_ms(duration)[0])
    expected = exits[-1]
    for segment in range(lengths[0]):
        every_ms = np.arange(segment * 5_000 + 1, min((segment + 1) * 5_000, duration_ms - 1) + 1)
        expected += exits[segment] * (every_ms >= least).mean() if len(every_ms) else 0.0
    assert play_probability(exits, lengths, duration, np.array([least])) == pytest.approx([expected])
