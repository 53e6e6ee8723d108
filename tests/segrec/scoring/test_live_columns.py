"""Segments as columns: the same scores and counts as one object a segment, and what is refused at the door."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec.records import ConfigError
from segrec.scoring.live_columns import SegmentArrays, SegmentColumns
from segrec.scoring.live_segments import LiveSegment

if TYPE_CHECKING:
    from conftest import LiveCase

TIMES = {"start_ms": np.array([0, 0]), "end_ms": np.array([30, 30])}


def columns_of(made: LiveCase, rows: list[int]) -> SegmentColumns:
    """ctr comes with the segment; a row of NaN where a vector is missing."""
    segments = [made.segment(row, "ctr") for row in rows]
    widths = {name: len(scales.means) for name, scales in made.encoder.inputs.content_scales.items()}
    rates = np.array([segment.rates["ctr"] for segment in segments], np.float64).reshape(len(rows), 2)
    return SegmentColumns(
        rooms=np.array([made.told[row]["item_id"] for row in rows], np.int64),
        start_ms=np.array([segment.start_ms for segment in segments], np.int64),
        end_ms=np.array([segment.end_ms for segment in segments], np.int64),
        streamers=np.array([segment.streamer for segment in segments], np.int64),
        vectors={
            name: np.array([segment.vectors.get(name, np.full(width, np.nan)) for segment in segments]).reshape(
                len(rows), width
            )
            for name, width in widths.items()
        },
        counters={
            name: np.array([segment.counters[name] for segment in segments], np.float64)
            for name in made.dataset.meta.counters
        },
        rates={"ctr": (rates[:, 0], rates[:, 1])},
    )


@pytest.mark.parametrize("name", ["next_segment", "own_segment", "content_only"])
def test_columns_give_what_objects_give(name: str, request: pytest.FixtureRequest) -> None:
    """Bit by bit, rooms twice in a call and missing vectors among them; lvtr is observed in between."""
    made: LiveCase = request.getfixturevalue(name)
    objects, columns, order = made.scorer(), made.scorer(), made.in_time()
    for first in range(0, len(order), 17):
        rows = order[first : first + 17]
        found = columns.push_columns(columns_of(made, rows))
        columns.observe([made.outcome(row) for row in rows])
        assert found.tobytes() == made.push(objects, rows).tobytes()
    assert columns.counts == objects.counts
    assert list(columns.slots.slot_of) == list(objects.slots.slot_of)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 8))
def test_both_forms_become_the_same_arrays(next_segment: LiveCase, seed: int, count: int) -> None:
    """Any rows in any order, some vectors and some rates unknown."""
    draw = np.random.default_rng(seed)
    rows = draw.choice(len(next_segment.wanted), count).tolist()
    told = columns_of(next_segment, rows)
    values, trials = told.rates["ctr"]
    unknown, nothing = draw.random((2, count)) < 0.3
    told = replace(
        told, rates={"ctr": (np.where(unknown | nothing, np.nan, values), np.where(unknown, np.nan, trials))}
    )
    segments = [next_segment.segment(row) for row in rows]
    pushes = [
        (int(room), replace(one, rates={} if without else {"ctr": (value, weight)}))
        for room, one, without, value, weight in zip(told.rooms, segments, unknown, *told.rates["ctr"], strict=True)
    ]
    one = SegmentArrays.of(pushes, next_segment.encoder)
    other = SegmentArrays.of_columns(told, next_segment.encoder)
    assert (list(one.rooms), list(one.streamers)) == (list(other.rooms), list(other.streamers))
    for name in ("start_ms", "end_ms", "counters", "pairs"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("text", "visual"):
        np.testing.assert_array_equal(one.contents[name], other.contents[name])
        np.testing.assert_array_equal(one.present[name], other.present[name])


def test_what_is_left_out_is_unknown(next_segment: LiveCase) -> None:
    """Only rooms and times: as segments with nothing in them."""
    found = next_segment.scorer().push_columns(SegmentColumns(rooms=["a", 7], **TIMES))
    wanted = next_segment.scorer().push_many([("a", LiveSegment(0, 30)), (7, LiveSegment(0, 30))])
    assert found.tobytes() == wanted.tobytes()


def test_rates_of_columns_by_hand(next_segment: LiveCase) -> None:
    """Known (0.25 of 8), nothing to count, not known; lvtr not told at all."""
    told = SegmentColumns(
        rooms=[1, 2, 3],
        start_ms=np.zeros(3, np.int64),
        end_ms=np.ones(3, np.int64),
        rates={"ctr": (np.array([0.25, np.nan, np.nan]), np.array([8.0, 5.0, np.nan]))},
    )
    pairs = SegmentArrays.of_columns(told, next_segment.encoder).pairs
    np.testing.assert_array_equal(pairs[:, 0], [[2.0, 8.0], [0.0, 0.0], [np.nan, np.nan]])
    assert np.isnan(pairs[:, 1]).all()


def test_great_values_are_no_infinities(content_only: LiveCase) -> None:
    """The sum of the row is infinite in float32, its values are not."""
    vectors = {"text": np.full((2, 6), 3e38, np.float32)}
    arrays = SegmentArrays.of_columns(SegmentColumns(rooms=[1, 2], vectors=vectors, **TIMES), content_only.encoder)
    assert (arrays.present["text"].all(), arrays.present["visual"].any()) == (True, False)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"end_ms": np.array([30, 0])}, r"room 8 ends at 0 \(expected: after its start 0\)"),
        ({"end_ms": np.array([30])}, r"end_ms has 1 rows \(expected: 2, one a room\)"),
        ({"streamers": [1]}, r"streamers has 1 rows"),
        ({"counters": {"comments": np.zeros(3)}}, r"counter 'comments' has 3 rows"),
        ({"rates": {"ctr": (np.zeros(2), np.zeros(1))}}, r"trials of 'ctr' has 1 rows"),
        ({"rates": {"ctr": (np.zeros(2), None)}}, r"rate 'ctr' needs its trials"),
        ({"rates": {"ctr": (np.zeros(2), np.array([1, np.nan]))}}, r"rate 'ctr' needs its trials"),
        ({"rates": {"cvr": (np.zeros(2), np.ones(2))}}, r"unknown rate 'cvr' \(known: ctr, lvtr\)"),
        ({"vectors": {"frames": np.zeros((2, 6))}}, r"vectors 'frames' are unknown \(known: visual, text\)"),
        ({"vectors": {"text": np.zeros((2, 5))}}, r"vectors 'text' have shape \(2, 5\) \(expected: \(2, 6\)\)"),
        ({"vectors": {"text": np.zeros(2)}}, r"vectors 'text' have shape \(2,\)"),
        ({"vectors": {"text": np.array([[0] * 6, [0] * 5 + [np.nan]])}}, r"'text' of room 8 has a NaN or infinite"),
        ({"vectors": {"text": np.full((2, 6), np.inf)}}, r"'text' of room 7 has a NaN or infinite value"),
    ],
)
def test_bad_columns_change_nothing(next_segment: LiveCase, changed: dict[str, object], message: str) -> None:
    scorer = next_segment.scorer()
    with pytest.raises(ConfigError, match=message):
        scorer.push_columns(SegmentColumns(**{"rooms": [7, 8], **TIMES, **changed}))
    assert (len(scorer), scorer.counts["scored"]) == (0, 0)
