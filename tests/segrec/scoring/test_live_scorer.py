"""Live scoring: whatever order rooms' segments come in, the scores are those of whole rooms afterwards."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec.layers.causal_decoder import CausalDecoder
from segrec.records import ConfigError
from segrec.scoring.live import LiveScorerConfig
from segrec.scoring.live_segments import LiveSegment, RateOutcome
from segrec.segments.rooms import Rooms

if TYPE_CHECKING:
    from conftest import LiveCase

SEGMENT_MS = 30_000


@pytest.mark.parametrize("name", ["next_segment", "own_segment", "content_only"])
def test_a_stream_in_time_order_gets_the_scores_of_whole_rooms(name: str, request: pytest.FixtureRequest) -> None:
    made: LiveCase = request.getfixturevalue(name)
    scorer, found = made.scorer(), np.full(len(made.wanted), np.nan, np.float32)
    for row in made.in_time():
        found[row] = made.push(scorer, [row])[0]
    np.testing.assert_allclose(found, made.wanted, rtol=0, atol=1e-5)
    runs, rooms = len(made.rooms.run_offsets) - 1, len(made.rooms.offsets) - 1
    assert (scorer.counts["scored"], scorer.counts["gap"], len(scorer)) == (len(found), runs - rooms, rooms)
    assert runs > rooms


@pytest.mark.parametrize("idle_ms", [60_000, 10**12])
def test_a_scorer_that_begins_later_knows_streamers_from_a_dataset(own_segment: LiveCase, idle_ms: int) -> None:
    """Train rooms are remembered, valid and test rooms stream: the scores are those with all rooms at hand."""
    scorer = own_segment.scorer(idle_ms=idle_ms)
    history = Rooms.of(own_segment.dataset, ["train"])
    scorer.remember(history)
    rows = [row for row in own_segment.in_time() if row >= len(history.end_ms)]
    found = np.concatenate([own_segment.push(scorer, [row]) for row in rows])
    np.testing.assert_allclose(found, own_segment.wanted[rows], rtol=0, atol=1e-5)
    unknowing, first = own_segment.scorer(), rows[0]
    assert abs(own_segment.push(unknowing, [first])[0] - own_segment.wanted[first]) > 1e-4


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), longest=st.sampled_from([1, 9, 40]))
def test_any_interleaving_with_duplicates_gives_the_same_scores(
    next_segment: LiveCase, seed: int, longest: int
) -> None:
    """Rooms run against each other in any order, calls hold any number of segments, some are told twice."""
    scorer, draw, order = next_segment.scorer(), np.random.default_rng(seed), []
    left = [list(range(first, last)) for first, last in pairwise(next_segment.rooms.offsets.tolist())]
    while any(left):
        room = int(draw.choice([number for number, rows in enumerate(left) if rows]))
        order += [left[room].pop(0)] * (2 if draw.random() < 0.1 else 1)
    at = 0
    while at < len(order):
        rows = order[at : at + int(draw.integers(1, longest + 1))]
        found = next_segment.push_with_rates(scorer, rows)
        np.testing.assert_allclose(found, next_segment.wanted[rows], rtol=0, atol=1e-5)
        at += len(rows)
    assert scorer.counts["duplicate"] == len(order) - len(next_segment.wanted)
    assert scorer.counts["late"] == 0


def test_late_segments_are_counted_and_change_nothing(content_only: LiveCase) -> None:
    """Window 5: the newest 5 starts are remembered, older ones are late, as is one between two of them."""
    scorer, wanted = content_only.scorer(), content_only.wanted
    content_only.push(scorer, list(range(8)))
    assert np.isnan(content_only.push(scorer, [0, 1, 2])).all()
    np.testing.assert_allclose(content_only.push(scorer, [7, 3]), wanted[[7, 3]], atol=1e-5)
    between = content_only.segment(6)
    assert np.isnan(scorer.push(1000, LiveSegment(between.start_ms + 1, between.end_ms)))
    assert (scorer.counts["late"], scorer.counts["duplicate"]) == (4, 2)
    np.testing.assert_allclose(content_only.push(scorer, [8, 9]), wanted[[8, 9]], atol=1e-5)


def test_late_segments_as_an_error(content_only: LiveCase) -> None:
    """Nothing of the call is scored; duplicates are no error."""
    scorer, starts = content_only.scorer(late="error"), content_only.rooms.start_ms
    content_only.push(scorer, [0, 1, 2])
    late = rf"room 1000 starts before its newest one \(found: {starts[3]}, expected: >= {starts[4]}\)"
    with pytest.raises(ConfigError, match=late):
        content_only.push(scorer, [2, 4, 3])
    rows = [2, 3, 3, 4, 1]
    np.testing.assert_allclose(content_only.push(scorer, rows), content_only.wanted[rows], atol=1e-5)
    assert (scorer.counts["scored"], scorer.counts["duplicate"]) == (5, 3)


def test_the_room_pushed_longest_ago_goes_first(content_only: LiveCase) -> None:
    """Two slots, three rooms: room 0 was pushed again, so room 1 goes; when it comes back it begins anew."""
    first, scorer = content_only.rooms.offsets.tolist(), content_only.scorer(capacity=2)
    for row in (first[0], first[1], first[0] + 1, first[2]):
        content_only.push(scorer, [row])
    assert list(scorer.slots.slot_of) == [1000, 1002]
    again = float(content_only.push(scorer, [first[1] + 1])[0])
    alone = content_only.scorer().push(1001, content_only.segment(first[1] + 1))
    assert again == pytest.approx(alone, abs=1e-6)
    assert scorer.counts["evicted_full"] == 2
    found = content_only.push(scorer, [first[2] + 1])
    np.testing.assert_allclose(found, content_only.wanted[[first[2] + 1]], atol=1e-5)


def test_more_rooms_in_a_call_than_slots(content_only: LiveCase) -> None:
    scorer, rows = content_only.scorer(capacity=5), content_only.rooms.offsets[:-1].tolist()
    np.testing.assert_allclose(content_only.push(scorer, rows), content_only.wanted[rows], atol=1e-5)
    assert (len(scorer), scorer.counts["evicted_full"]) == (5, 7)


def test_idle_rooms_are_forgotten(content_only: LiveCase) -> None:
    """idle_ms = 10 segments: room 0 goes when room 1 begins 24 segments later; room 1 itself comes back too late."""
    first, scorer = content_only.rooms.offsets.tolist(), content_only.scorer(idle_ms=10 * SEGMENT_MS)
    content_only.push(scorer, [first[0]])
    content_only.push(scorer, [first[1]])
    assert list(scorer.slots.slot_of) == [1001]
    assert scorer.counts["evicted_idle"] == 1
    end = content_only.segment(first[1]).end_ms
    scorer.push(1001, LiveSegment(end + 11 * SEGMENT_MS, end + 12 * SEGMENT_MS))
    assert (scorer.counts["evicted_idle"], scorer.counts["gap"], len(scorer)) == (2, 0, 1)


def test_an_outcome_waits_until_it_is_known(next_segment: LiveCase) -> None:
    """lvtr is known 60 s after the end: told at once it changes the score of the segment that ends 60 s later, not
    before. With ctr (known at the end) it changes the next one.
    """
    start, vectors = int(next_segment.rooms.start_ms[0]), next_segment.segment(0).vectors
    times = [start + number * SEGMENT_MS for number in range(6)]
    segments = [LiveSegment(begin, end, 1, vectors) for begin, end in pairwise(times)]

    def scores(*told: RateOutcome) -> list[float]:
        scorer = next_segment.scorer()
        first = scorer.push(7, segments[0])
        scorer.observe(told)
        return [first, *(scorer.push(7, segment) for segment in segments[1:])]

    plain = scores()
    for rate, since in (("lvtr", 2), ("ctr", 1)):
        changed = scores(RateOutcome(7, times[1], rate, 0.99, 500))
        same = [one == other for one, other in zip(plain, changed, strict=True)]
        assert same == [number < since for number in range(5)], rate
    assert scores(RateOutcome(7, times[1], "lvtr", np.nan, 0)) == plain


def test_a_rate_that_comes_with_its_segment_is_looked_at_where_it_is_known(
    next_segment: LiveCase, own_segment: LiveCase
) -> None:
    """The next segment's rate is predicted at this one's end: its own ctr is known. Its own rate is predicted as of
    its start: only the segment after it looks at that ctr.
    """
    for made, since in ((next_segment, 0), (own_segment, 1)):
        found = []
        for rates in ({}, {"ctr": (0.9, 400)}):
            scorer, start = made.scorer(), int(made.rooms.start_ms[0])
            told = LiveSegment(start, start + SEGMENT_MS, 1, rates=rates)
            after = LiveSegment(start + SEGMENT_MS, start + 2 * SEGMENT_MS, 1)
            found.append([scorer.push("room", told), scorer.push("room", after)])
        assert [one == other for one, other in zip(*found, strict=True)] == [since > 0, False]


def test_outcomes_that_are_refused(next_segment: LiveCase) -> None:
    """Told twice, told after a later one, more than 16 that wait, of a room that is not here."""
    scorer = next_segment.scorer()
    next_segment.push(scorer, [0, 1])
    assert scorer.counts["outcome"] == 4
    scorer.observe([next_segment.outcome(1), next_segment.outcome(0), RateOutcome(5, 0, "ctr", 0.1, 3)])
    assert (scorer.counts["outcome_refused"], scorer.counts["outcome_unknown_room"]) == (2, 1)
    end = next_segment.segment(1).end_ms
    scorer.observe([RateOutcome(1000, end + number, "lvtr", 0.1, 3) for number in range(1, 20)])
    assert (scorer.counts["outcome"], scorer.counts["outcome_refused"]) == (4 + 14, 2 + 5)


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (RateOutcome(1000, 1, "cvr", 0.5, 1), r"unknown rate 'cvr' \(known: ctr, lvtr\)"),
        (RateOutcome(1000, 1, "ctr", 0.5), r"an outcome of rate 'ctr' needs its trials"),
    ],
)
def test_bad_outcomes(next_segment: LiveCase, outcome: RateOutcome, message: str) -> None:
    """The good one beside it is not taken either."""
    scorer = next_segment.scorer()
    scorer.push(1000, next_segment.segment(0))
    with pytest.raises(ConfigError, match=message):
        scorer.observe([next_segment.outcome(0), outcome])
    assert scorer.counts["outcome"] == 0


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        (LiveSegment(30, 30), r"room 'r' ends at 30 \(expected: after its start 30\)"),
        (LiveSegment(0, 30, vectors={"visual": np.zeros(5)}), r"'visual' of room 'r' has shape \(5,\) .*\(6,\)"),
        (LiveSegment(0, 30, vectors={"text": np.full(6, np.nan)}), r"'text' of room 'r' has a NaN or infinite value"),
        (LiveSegment(0, 30, vectors={"text": np.full(6, np.inf)}), r"'text' of room 'r' has a NaN or infinite value"),
        (
            LiveSegment(0, 30, vectors={"frames": np.zeros(6)}),
            r"'frames' of room 'r' is unknown \(known: visual, text\)",
        ),
    ],
)
def test_bad_segments_change_nothing(content_only: LiveCase, segment: LiveSegment, message: str) -> None:
    scorer = content_only.scorer()
    with pytest.raises(ConfigError, match=message):
        scorer.push_many([("good", LiveSegment(0, 30)), ("r", segment)])
    assert len(scorer) == 0
    assert np.isfinite(scorer.push("r", LiveSegment(0, 30)))


@pytest.mark.parametrize(
    ("streamers", "message"), [((1, "two"), "streamers are of several types"), (("one", "two"), "another type|Int64")]
)
def test_streamers_of_another_type_change_nothing(
    next_segment: LiveCase, streamers: tuple[int | str, ...], message: str
) -> None:
    scorer = next_segment.scorer()
    segments = [LiveSegment(0, 30, streamer=streamer) for streamer in streamers]
    with pytest.raises(ConfigError, match=message):
        scorer.push_many(list(zip(("a", "b"), segments, strict=True)))
    assert len(scorer) == 0


def test_half_precision_state_gives_nearly_the_same(content_only: LiveCase) -> None:
    scorer = content_only.scorer(state="float16")
    found = content_only.push(scorer, list(range(60)))
    np.testing.assert_allclose(found, content_only.wanted[:60], rtol=0, atol=5e-3)
    assert scorer.decoded.nbytes < 0.6 * content_only.scorer().decoded.nbytes


@pytest.mark.parametrize(("width", "heads", "layers", "limit"), [(64, 4, 2, 2e9), (512, 8, 3, 3e9)])
def test_ten_thousand_rooms_fit(width: int, heads: int, layers: int, limit: float, next_segment: LiveCase) -> None:
    """Keys and values on `meta` (nothing is taken), the rest as it is: all buffers of 10,000 rooms, window 20."""
    decoder = CausalDecoder(width, heads, layers, window=20, feedforward=8, dropout=0.0)
    state = decoder.new_state(10_000, device="meta")
    assert state.nbytes == 10_000 * (layers * 20 * width * 2 * 4 + 8)
    rest = next_segment.scorer(capacity=10_000)
    assert state.nbytes + rest.nbytes - rest.decoded.nbytes < limit


@pytest.mark.parametrize("field", ["capacity", "idle_ms"])
def test_bad_settings(field: str) -> None:
    with pytest.raises(ConfigError, match=rf"{field} must be at least 1 \(found: 0\)"):
        LiveScorerConfig(**{field: 0})


def test_nothing_in_nothing_out(content_only: LiveCase) -> None:
    assert content_only.scorer().push_many([]).shape == (0,)
