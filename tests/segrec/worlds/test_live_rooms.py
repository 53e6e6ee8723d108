from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from segrec.worlds.live import LiveConfig
from segrec.worlds.live_rooms import DAY_MS, FIRST_DAY_MS, LiveRooms, RoomsConfig, draw_rooms, wandering
from segrec.worlds.live_streamers import ACTIVITIES, Streamers, StreamersConfig, draw_streamers


def drawn(rooms: int = 60, seed: int = 1, **moves: float) -> tuple[LiveRooms, Streamers]:
    rng = np.random.default_rng(seed)
    streamers = draw_streamers(StreamersConfig(), rooms=rooms, rng=rng)
    return draw_rooms(RoomsConfig(rooms=rooms, **moves), streamers, rng), streamers


def test_segments_of_a_room_follow_each_other_without_a_gap():
    rooms, _ = drawn()
    same = rooms.room[1:] == rooms.room[:-1]
    assert (rooms.start_ms[1:][same] == rooms.end_ms[:-1][same]).all()
    assert (np.diff(rooms.begin_ms) >= 0).all()
    assert rooms.begin_ms.min() >= FIRST_DAY_MS
    assert (rooms.begin_ms % 1000 == 0).all()


def test_most_segments_last_30_seconds_and_the_others_20_to_60():
    lasts = np.subtract(drawn()[0].end_ms, drawn()[0].start_ms)
    varying = lasts[lasts != 30_000]
    assert varying.min() >= 20_000
    assert varying.max() <= 60_000
    assert 0.07 < len(varying) / len(lasts) < 0.13
    even, _ = drawn(varying_share=0)
    assert (even.end_ms - even.start_ms == 30_000).all()


def test_a_streamer_is_never_live_twice_at_once():
    rooms, _ = drawn(rooms=200, days=1)
    for streamer in range(rooms.streamer.max() + 1):
        own = np.flatnonzero(rooms.streamer == streamer)
        assert len(own) >= 5
        assert (rooms.begin_ms[own][1:] > rooms.over_ms[own][:-1]).all()


def test_segment_at_finds_every_segment_by_its_first_and_last_millisecond():
    rooms, _ = drawn(rooms=20, days=1)
    everywhere = np.arange(len(rooms.start_ms))
    for at_ms in (rooms.start_ms, rooms.end_ms - 1, (rooms.start_ms + rooms.end_ms) // 2):
        assert (rooms.segment_at(rooms.room, at_ms) == everywhere).all()


def test_transition_by_hand():
    repertoire = np.full((1, 6), 0.1)
    repertoire[0, 0] = 0.5
    streamers = Streamers(
        np.array([0]), np.array([0]), repertoire, np.zeros((1, 6)), np.zeros((1, 6)), np.ones(1), np.zeros(1)
    )
    transition = streamers.transition()[0]
    assert transition[0, 0] == pytest.approx(7 / 8 + 1 / 8 * 0.5)  # chat: chosen anew every 8 segments
    assert transition[0, 1] == pytest.approx(1 / 8 * 0.1)
    assert transition[2, 0] == pytest.approx(1 / 4 * 0.5)  # dance: every 4
    assert transition.sum(axis=1) == pytest.approx(np.ones(6))


def test_activities_move_by_the_transition_matrix():
    rooms, streamers = drawn(rooms=400)
    transition = streamers.transition()[rooms.streamer[rooms.room]]
    stays = rooms.room[1:] == rooms.room[:-1]
    before, after = rooms.activity[:-1][stays], rooms.activity[1:][stays]
    chances = transition[:-1][stays][np.arange(len(before)), before]
    for activity in range(len(ACTIVITIES)):
        seen, expected = np.bincount(after[before == activity], minlength=6), chances[before == activity].sum(axis=0)
        assert ((seen - expected) ** 2 / expected).sum() < stats.chi2.ppf(0.9999, 5)


@pytest.mark.parametrize("persistence", [0.0, 0.6, 0.95])
def test_wandering_is_standard_normal_with_the_autocorrelation_it_is_told(persistence):
    lengths = np.full(2_000, 12)
    path = wandering(persistence, lengths, np.random.default_rng(0)).reshape(2_000, 12)
    assert path.mean() == pytest.approx(0, abs=0.06)
    assert path.std(axis=0) == pytest.approx(np.ones(12), abs=0.08)
    assert np.corrcoef(path[:, 3], path[:, 4])[0, 1] == pytest.approx(persistence, abs=0.08)
    assert np.corrcoef(path[:, 3], path[:, 5])[0, 1] == pytest.approx(persistence**2, abs=0.08)


def test_new_streamers_come_in_the_last_fifth_of_the_days():
    rng = np.random.default_rng(4)
    streamers = draw_streamers(StreamersConfig(new_share=0.25), rooms=240, rng=rng)
    rooms = draw_rooms(RoomsConfig(rooms=240, days=10), streamers, rng)
    new = streamers.joins[rooms.streamer] > 0
    assert (streamers.joins > 0).sum() == 10
    assert rooms.begin_ms[new].min() >= FIRST_DAY_MS + 8 * DAY_MS
    assert rooms.begin_ms[~new].min() < FIRST_DAY_MS + 2 * DAY_MS


def test_excitement_mixes_what_is_seen_and_what_is_heard():
    rooms, _ = drawn(heard_share=0.36)
    assert rooms.excitement == pytest.approx(0.8 * rooms.seen + 0.6 * rooms.heard)
    assert (drawn(heard_share=0)[0].excitement == drawn(heard_share=0)[0].seen).all()


def test_there_is_a_streamer_for_six_rooms_and_each_category_has_about_as_many():
    rooms, streamers = drawn(rooms=144)
    assert len(streamers.author_id) == 24
    assert np.bincount(streamers.category).tolist() == [4] * 6
    assert np.bincount(rooms.streamer).tolist() == [6] * 24
    assert streamers.repertoire.sum(axis=1) == pytest.approx(np.ones(24))
    own = streamers.repertoire[np.arange(24), streamers.category]
    assert 0.4 < own.mean() < 0.75
    assert sorted(streamers.author_id.tolist()) == list(range(24))


def test_a_config_survives_its_own_yaml(tmp_path):
    config = LiveConfig.of(None, ["rooms.rooms=9", "klive.separator=caret_a"])
    (tmp_path / "world.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert LiveConfig.of(tmp_path / "world.yaml") == config
