"""Slots and waiting outcomes by hand."""

from __future__ import annotations

import numpy as np
import pytest

from segrec.scoring.live_outcomes import PLACES, PendingRates, StreamerPasts
from segrec.scoring.live_slots import NO_SLOT, RoomSlots


def remember(slots: RoomSlots, room: str, start: int, score: float) -> None:
    found = slots.find([room])
    slots.remember(found, np.array([start]), np.array([start + 10]), np.array([score], np.float32))


def test_rooms_take_slots_and_give_them_back() -> None:
    """Three slots: a, b, c; a is touched, so d and e take those of b and c."""
    slots = RoomSlots(3, 2)
    first, evicted = slots.take(["a", "b", "c"])
    assert sorted(first.tolist()) == [0, 1, 2]
    assert evicted == 0
    slots.touch(["a"])
    later, evicted = slots.take(["d", "e"])
    assert evicted == 2
    assert sorted(later.tolist()) == sorted(first[1:].tolist())
    assert list(slots.slot_of) == ["a", "d", "e"]
    assert slots.find(["b", "a"]).tolist() == [NO_SLOT, first[0]]
    slots.drop(["d"])
    assert (len(slots), slots.take(["f"])[1]) == (2, 0)


def test_the_newest_scores_are_remembered() -> None:
    """Two remembered: of starts 0, 10, 20 the first is gone; another room's are its own."""
    slots = RoomSlots(2, 2)
    slots.take(["a", "b"])
    for start, score in ((0, 0.1), (10, 0.2), (20, 0.3)):
        remember(slots, "a", start, score)
    rows = slots.find(["a", "a", "a", "b"])
    known, scores = slots.stored(rows, np.array([0, 10, 20, 20]))
    assert known.tolist() == [False, True, True, False]
    assert scores[1:3].tolist() == pytest.approx([0.2, 0.3])
    slots.drop(["a"])
    slots.take(["a"])
    assert not slots.stored(slots.find(["a"]), np.array([20]))[0].any()


def test_idle_rooms_by_their_newest_end() -> None:
    slots = RoomSlots(3, 2)
    slots.take(["a", "b", "c"])
    remember(slots, "a", 0, 0.5)
    remember(slots, "b", 90, 0.5)
    remember(slots, "c", 100, 0.5)
    assert slots.idle(100) == ["a"]
    assert slots.idle(101) == ["a", "b"]


def add(pending: PendingRates, slot: int, end_ms: int, known_ms: int, pair: tuple[float, float]) -> bool:
    one = [np.array([number]) for number in (slot, 0, end_ms, known_ms)]
    return bool(pending.add(*one, np.array([pair]))[0])


def test_outcomes_wait_and_come_once() -> None:
    """Known at 70 and 100; asked at 69, 70, 500."""
    pending = PendingRates(2, 1)
    assert add(pending, 1, 10, 70, (3.0, 4.0))
    assert add(pending, 1, 40, 100, (1.0, 2.0))
    slot = np.array([1])
    assert pending.due(slot, np.array([69])).tolist() == [[[0.0, 0.0]]]
    assert pending.due(slot, np.array([70])).tolist() == [[[3.0, 4.0]]]
    assert pending.due(slot, np.array([500])).tolist() == [[[1.0, 2.0]]]
    assert pending.due(slot, np.array([10**9])).tolist() == [[[0.0, 0.0]]]


def test_outcomes_out_of_order_or_too_many_are_refused() -> None:
    """The places are free again once their outcomes were due; a new room in the slot begins anew."""
    pending = PendingRates(1, 1)
    assert [add(pending, 0, end, 60 + end, (1.0, 1.0)) for end in (20, 20, 10)] == [True, False, False]
    assert [add(pending, 0, 20 + end, 90, (1.0, 1.0)) for end in range(1, PLACES + 1)] == [True] * 15 + [False]
    assert pending.due(np.array([0]), np.array([90])).tolist() == [[[16.0, 16.0]]]
    assert add(pending, 0, 60, 120, (1.0, 1.0))
    pending.clear(np.array([0]))
    assert add(pending, 0, 5, 65, (1.0, 2.0))
    assert pending.due(np.array([0]), np.array([10**9])).tolist() == [[[1.0, 2.0]]]


def test_a_streamers_past_as_of_a_time() -> None:
    """Told out of order; folding keeps what later rooms see; a frame brings all of it back."""
    pasts = StreamerPasts(2)
    for known_ms, pair in ((30, (3.0, 30.0)), (10, (1.0, 10.0)), (20, (2.0, 20.0))):
        pasts.add("s", 1, known_ms, pair)
    assert pasts.as_of("s", 9).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert pasts.as_of("s", 20)[1].tolist() == [3.0, 30.0]
    assert pasts.as_of("t", 100).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    pasts.fold(20)
    again = StreamerPasts(2)
    again.load(pasts.frame())
    for one in (pasts, again):
        assert one.as_of("s", 29)[1].tolist() == [3.0, 30.0]
        assert one.as_of("s", 30)[1].tolist() == [6.0, 60.0]
    assert pasts.frame()["known_ms"].to_list() == [None, 30]
