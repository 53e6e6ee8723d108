from __future__ import annotations

import numpy as np
import pytest

from segrec.worlds.jagged import positions_of
from segrec.worlds.live_content import ContentConfig, LiveContent, draw_content
from segrec.worlds.live_rooms import LiveRooms, RoomsConfig, draw_rooms
from segrec.worlds.live_streamers import StreamersConfig, draw_streamers


@pytest.fixture(scope="module")
def rooms() -> LiveRooms:
    rng = np.random.default_rng(2)
    streamers = draw_streamers(StreamersConfig(), rooms=100, rng=rng)
    return draw_rooms(RoomsConfig(rooms=100, segments=30), streamers, rng)


def content_of(rooms: LiveRooms, seed: int = 3, **changes: float) -> LiveContent:
    return draw_content(ContentConfig.checked(changes), rooms, np.random.default_rng(seed))


def drift_in(vectors: np.ndarray, content: LiveContent) -> np.ndarray:
    """(T, 6) the moving direction as far as it can be read from vectors, without knowing the projection."""
    aim = content.topic[:, 7:13]
    return vectors @ np.linalg.lstsq(vectors, aim, rcond=None)[0]


@pytest.mark.parametrize(("lag", "lead"), [(0, 0), (2, 0), (0, 2), (3, 2)])
def test_text_matches_frames_best_at_the_true_offset(rooms, lag, lead):
    content = content_of(
        rooms, largest_lag=lag, largest_lead=lead, drift_persistence=0.7, frozen_share=0.0, silent_share=0.0
    )
    assert set(content.text_offset.tolist()) == set(range(-lag, lead + 1))
    seen = drift_in(content.visual, content)
    spoken = content.text @ np.linalg.lstsq(content.text, content.topic[content.spoken_of, 7:13], rcond=None)[0]
    position, last = positions_of(rooms.lengths), np.repeat(rooms.lengths - 1, rooms.lengths)
    for true in range(-lag, lead + 1):
        rows = np.flatnonzero((content.text_offset == true) & (position >= 4) & (position <= last - 4))
        matches = [(spoken[rows] * seen[rows + offset]).sum(axis=1).mean() for offset in range(-4, 5)]
        assert int(np.argmax(matches)) - 4 == true


def test_offsets_are_piecewise_constant_and_never_leave_the_room(rooms):
    content = content_of(rooms, largest_lag=3, largest_lead=2)
    position, last = positions_of(rooms.lengths), np.repeat(rooms.lengths - 1, rooms.lengths)
    reached = position + content.text_offset
    assert (reached >= 0).all()
    assert (reached <= last).all()
    inner = (position[1:] > 3) & (position[1:] < last[1:] - 2)
    changes = (np.diff(content.text_offset) != 0)[inner].mean()
    assert changes == pytest.approx(5 / 6 / 12, abs=0.02)  # anew every 12 segments, another one 5 times of 6


def test_without_lag_and_lead_text_is_aligned(rooms):
    assert (content_of(rooms, largest_lag=0, largest_lead=0).text_offset == 0).all()


def test_frozen_frames_repeat_the_vector_before_them(rooms):
    content = content_of(rooms, frozen_share=0.2, frozen_segments=4)
    repeats = (content.visual[1:] == content.visual[:-1]).all(axis=1)
    assert (repeats == content.frozen[1:]).all()
    assert not content.frozen[positions_of(rooms.lengths) == 0].any()
    assert content.frozen.mean() == pytest.approx(0.2, abs=0.04)
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], content.frozen, [0]]))))[::2]
    assert runs.mean() == pytest.approx(4, abs=0.8)


def test_a_freeze_hides_the_state_and_text_goes_on(rooms):
    content = content_of(rooms, frozen_share=0.3, drift_persistence=0.0, largest_lag=0, silent_share=0.0)
    left = ((drift_in(content.visual, content) - content.topic[:, 7:13]) ** 2).mean(axis=1)
    assert left[content.frozen].mean() > 5 * left[~content.frozen].mean()
    changed = (content.text[1:] != content.text[:-1]).any(axis=1)
    assert changed[content.frozen[1:]].all()


def test_silent_segments_have_no_text(rooms):
    content = content_of(rooms, silent_share=0.25)
    assert ((content.text == 0).all(axis=1) == content.silent).all()
    assert content.silent.mean() == pytest.approx(0.25, abs=0.04)


def test_only_text_shows_the_excitement_that_is_heard(rooms):
    content = content_of(rooms, largest_lag=0, silent_share=0.0, frozen_share=0.0)
    half = rooms.room < 50

    def read(vectors: np.ndarray, aim: np.ndarray) -> float:
        weights = np.linalg.lstsq(vectors[half], aim[half], rcond=None)[0]
        return float(np.corrcoef(vectors[~half] @ weights, aim[~half])[0, 1])

    assert read(content.visual, rooms.seen) > 0.98
    assert read(content.text, rooms.seen) > 0.9
    assert read(content.text, rooms.heard) > 0.9
    assert abs(read(content.visual, rooms.heard)) < 0.15


def test_nothing_frozen_nothing_silent_on_request(rooms):
    content = content_of(rooms, frozen_share=0.0, silent_share=0.0)
    assert not content.frozen.any()
    assert not content.silent.any()
