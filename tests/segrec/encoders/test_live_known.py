"""What is known of a live room: by hand, never from the future, the same at once and one push at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segrec.encoders.live_known import KnownColumns, KnownState, known_table, pulled, streamer_past
from segrec.encoders.live_pulls import learned_columns
from segrec.records import DatasetFolder
from segrec.segments.rooms import Rooms
from segrec.testing.live_dataset import make_live_dataset

PULLS = (10.0,) * 6


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    return make_live_dataset(tmp_path_factory.mktemp("known") / "dataset")


def columns(shift: int = 1) -> KnownColumns:
    return KnownColumns(("lvtr",), (True,), (0.5,), ("likes",), (60_000,), (PULLS,), shift)


def logit(rate: float) -> float:
    return float(np.log(rate / (1 - rate)))


def push(state: KnownState, minutes: int, likes: float, successes: float, trials: float) -> dict[str, float]:
    found = state.push(
        np.array([0]), np.array([minutes * 60_000]), np.array([[likes]]), np.array([[[successes, trials]]])
    )
    return dict(zip(state.columns.names, found[0].tolist(), strict=True))


def test_two_pushes_by_hand() -> None:
    state = KnownState(columns(), 2)
    state.begin(np.array([0]), np.array([0]), np.array([[[8.0, 10.0]]]))
    first = push(state, 1, likes=3, successes=0, trials=0)
    streamer = (8 + 10 * 0.5) / 20
    assert first["lvtr_streamer"] == pytest.approx(logit(streamer))
    assert first["lvtr_room"] == first["lvtr_newest"] == first["lvtr_streamer"]
    assert first["lvtr_streamer_trials"] == pytest.approx(np.log(11))
    assert first["likes_now"] == pytest.approx(np.log(4))
    assert np.isnan(first["likes_change"])
    assert first["time"] == pytest.approx(np.log(2))
    second = push(state, 2, likes=7, successes=1, trials=5)
    room = (1 + 10 * streamer) / 15
    recent = room
    for _ in range(3):
        recent = (1 + 10 * recent) / 15
    assert second["lvtr_room"] == pytest.approx(logit(room), abs=1e-6)
    assert second["lvtr_recent_2"] == pytest.approx(logit(recent), abs=1e-6)
    assert second["lvtr_newest"] == pytest.approx(logit((1 + 10 * recent) / 15), abs=1e-6)
    assert second["likes_change"] == pytest.approx(np.log(8) - np.log(4), abs=1e-6)


def test_without_shift_the_counters_are_those_of_the_segment_before() -> None:
    state = KnownState(columns(shift=0), 1)
    state.begin(np.array([0]), np.array([0]), np.zeros((1, 1, 2)))
    assert np.isnan(push(state, 1, likes=3, successes=0, trials=0)["likes_now"])
    assert push(state, 2, likes=9, successes=0, trials=0)["likes_now"] == pytest.approx(np.log(4))


def test_old_rates_fade_and_the_newest_stays_until_a_newer_one() -> None:
    state = KnownState(columns(), 1)
    state.begin(np.array([0]), np.array([0]), np.zeros((1, 1, 2)))
    for known in ((4.0, 8.0), (0.0, 0.0), (0.0, 0.0)):
        push(state, 1, 0, *known)
    assert state.pairs[0, 0, 1].tolist() == [4, 8]
    assert state.pairs[0, 0, 4].tolist() == pytest.approx([2, 4])
    assert state.pairs[0, 0, 5].tolist() == [4, 8]


def test_streamers_past_is_what_was_known_when_the_room_began(dataset: DatasetFolder) -> None:
    """Against a plain loop over all segments."""
    rooms = Rooms.of(dataset)
    found = streamer_past(rooms, rooms, ["lvtr", "ctr"])
    frame = rooms.frame
    for place, first in enumerate(rooms.offsets[:-1]):
        author, begun = frame["author_id"][int(first)], int(rooms.start_ms[first])
        for rate, trials, delay, slot in (("lvtr", "entries", 60_000, 0), ("ctr", "exposures", 0, 1)):
            seen = frame.filter((pl.col("author_id") == author) & (pl.col("end_ms") + delay <= begun))
            seen = seen.filter(pl.col(rate).is_not_null())
            expected = [float((seen[rate].cast(pl.Float64) * seen[trials]).sum()), float(seen[trials].sum())]
            assert found[place, slot].tolist() == pytest.approx(expected)
    assert found.sum() > 0


def test_known_table_holds_the_newest_known_rate(dataset: DatasetFolder) -> None:
    """`newest` with hardly any pull is the logit of the rate at `Rooms.newest_known`."""
    rooms = Rooms.of(dataset, ["test"])
    plain = KnownColumns.of(rooms, 1)
    loose = replace(plain, pulls=tuple((1e-6,) * 6 for _ in plain.rates))
    table = pl.DataFrame(known_table(rooms, loose, Rooms.of(dataset)), schema=plain.names)
    newest, rates = rooms.newest_known("lvtr", 1), rooms.frame["lvtr"].to_numpy()
    seen = 0
    for row, known in enumerate(newest):
        if known >= 0 and 0 < rates[known] < 1:
            assert table["lvtr_newest"][row] == pytest.approx(logit(float(rates[known])), abs=1e-3)
            seen += 1
    assert seen > 10


def test_rooms_that_run_side_by_side_do_not_mix(dataset: DatasetFolder) -> None:
    """Pushing two rooms in turn is the table of both."""
    rooms = Rooms.of(dataset, ["valid"])
    known = learned_columns(rooms, 1, rooms)
    both = known_table(rooms, known, rooms)
    second = slice(int(rooms.offsets[1]), int(rooms.offsets[2]))
    alone = Rooms(dataset, rooms.frame[second], np.array([0, second.stop - second.start]))
    assert known_table(alone, known, rooms) == pytest.approx(both[second], nan_ok=True)


def test_columns_survive_json(dataset: DatasetFolder) -> None:
    known = learned_columns(Rooms.of(dataset, ["train"]), 0, Rooms.of(dataset))
    assert KnownColumns.of_plain(known.plain()) == known
    assert len(known.names) == 2 * 9 + 2 * len(dataset.meta.counters) + 1


def test_pulls_follow_the_noise() -> None:
    assert pulled(np.array([3.0, 4.0]), np.array(0.5), 4.0) == pytest.approx(5 / 8)


def test_streamers_who_are_all_alike_are_pulled_hard(tmp_path: Path) -> None:
    """Rates move inside rooms and no streamer differs: the room's past must not be trusted fully."""
    dataset = make_live_dataset(tmp_path / "dataset", rooms=40, segments=30)
    known = learned_columns(Rooms.of(dataset, ["train"]), 1, Rooms.of(dataset))
    of_lvtr = known.pulls[known.rates.index("lvtr")]
    assert of_lvtr[0] >= 200
    assert of_lvtr[1] < of_lvtr[0]
