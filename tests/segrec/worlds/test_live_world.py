from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from sklearn.linear_model import RidgeCV

from segrec.records import ConfigError
from segrec.worlds.live import LiveConfig, LiveWorld, make_live


def equal(first: object, second: object) -> bool:
    if isinstance(first, np.ndarray):
        return bool((first == second).all())
    if isinstance(first, pl.DataFrame):
        return first.equals(second)
    if isinstance(first, dict):
        return all(equal(first[key], second[key]) for key in first)
    if dataclasses.is_dataclass(first):
        return all(equal(getattr(first, field), getattr(second, field)) for field in first.__dataclass_fields__)
    return first == second


def test_the_same_config_makes_the_same_world(make_live_world):
    assert equal(make_live_world("seed=4"), make_live_world("seed=4"))
    assert not equal(make_live_world("seed=4").rooms, make_live_world("seed=5").rooms)


def test_content_can_be_changed_without_changing_rooms_and_people(make_live_world):
    first, second = make_live_world(), make_live_world("content.visual_noise=3", "content.largest_lag=0")
    assert equal(first.rooms, second.rooms)
    assert first.truth.equals(second.truth)
    assert first.truth_segments.equals(second.truth_segments)
    assert not equal(first.content.visual, second.content.visual)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rooms.rooms=0", "field 'rooms.rooms': Input should be greater than 0 (found: 0)"),
        ("rooms.segments=2", "field 'rooms.segments': Input should be greater than or equal to 3"),
        ("rooms.heard_share=1.5", "field 'rooms.heard_share': Input should be less than or equal to 1"),
        ("content.frozen_share=1", "field 'content.frozen_share': Input should be less than 1 (found: 1)"),
        ("content.largest_lag=-1", "field 'content.largest_lag': Input should be greater than or equal to 0"),
        ("klive.separator=pipe", "field 'klive.separator': Input should be 'tab', 'comma', 'space' or 'caret_a'"),
        ("rates.nose=1", "unknown field 'rates.nose' (known: click_base, "),
        ("audience.exposures=0", "field 'audience.exposures': Input should be greater than 0"),
    ],
)
def test_a_wrong_setting_is_one_line(setting, message):
    with pytest.raises(ConfigError) as refused:
        LiveConfig.of(None, [setting])
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        ("rooms.rooms=1", "rooms.segments=3"),
        ("content.largest_lag=50", "content.largest_lead=50"),
        ("audience.exposures=0.01",),
        ("audience.users=1",),
        ("sessions.likes_per_minute=0", "sessions.talk=0"),
        ("rooms.varying_share=1", "rooms.days=1"),
    ],
)
def test_extreme_worlds_are_worlds(make_live_world, settings):
    world = make_live_world(*settings)
    truth = world.truth_segments
    assert truth.select(pl.col("ctr", "lvtr", "ctr_next", "lvtr_next").is_between(0, 1).all()).row(0) == (True,) * 4
    assert truth.height == world.segments.height == len(world.content.visual)
    assert (world.segments["viewers"] >= 0).all()


@settings(max_examples=25, deadline=None)
@given(
    rooms=st.integers(1, 4), segments=st.integers(3, 9), users=st.integers(1, 12), exposures=st.floats(0.02, 8),
    lag=st.integers(0, 5), lead=st.integers(0, 5), share=st.floats(0, 0.9), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_world_agrees_with_itself(*, rooms, segments, users, exposures, lag, lead, share, seed):
    world = make_live(LiveConfig.checked({
        "seed": seed,
        "rooms": {"rooms": rooms, "segments": segments, "varying_share": share},
        "audience": {"users": users, "exposures": exposures},
        "content": {"largest_lag": lag, "largest_lead": lead, "frozen_share": share, "silent_share": share},
    }))  # fmt: skip
    table, truth, shown = world.segments, world.truth_segments, world.impressions
    assert table["exposures"].sum() == shown.height == world.truth.height
    assert table["clicks"].sum() == shown["is_click"].sum() == (shown["watch_ms"] > 0).sum()
    assert (table["long_views"] <= table["entries"]).all()
    assert (table["entries"] <= table["clicks"]).all()
    assert (table["clicks"] <= table["viewers"]).all()
    for rate in ("ctr", "lvtr", "ctr_next", "lvtr_next"):
        assert truth[rate].is_between(0, 1).all()
    assert truth.select("item_id", "end_ms").equals(table.select("item_id", "end_ms"))
    assert (world.rooms.room[world.content.spoken_of] == world.rooms.room).all()
    assert not np.isnan(world.content.visual).any()


def test_highlights_are_the_top_share_of_each_room(live_world):
    truth = live_world.truth_segments
    for (_,), room in truth.group_by(["item_id"]):
        marked = room.filter(pl.col("highlight") == 1)["lvtr"]
        assert marked.len() == max(1, round(0.3 * room.height))
        assert marked.min() >= room.filter(pl.col("highlight") == 0)["lvtr"].max()


@dataclasses.dataclass
class NextRate:
    """A world whose newest fifth of the rooms is unseen: what predicts the long-view rate of the next segment."""

    world: LiveWorld

    def __post_init__(self) -> None:
        rooms, segments = self.world.rooms, self.world.segments
        self.rate = (segments["long_views"] / segments["entries"]).to_numpy()
        follows = (rooms.last_of_room > np.arange(len(self.rate)))[:-1]
        self.next = np.full(len(self.rate), np.nan)
        self.next[:-1][follows] = self.rate[1:][follows]
        known = ~np.isnan(self.next)
        self.test = known & (rooms.room >= 0.8 * len(rooms.lengths))
        self.train = known & ~self.test
        self.ids = np.eye(len(self.world.streamers.author_id))[rooms.streamer[rooms.room]]

    def learned(self, inputs: np.ndarray) -> np.ndarray:
        fitted = RidgeCV(alphas=[1, 10, 100, 1000]).fit(inputs[self.train], self.next[self.train])
        return fitted.predict(inputs)

    def last_known(self) -> np.ndarray:
        """Newest rate that is known at the segment's end: of a segment that ended 60 s before."""
        rooms = self.world.rooms
        newest = rooms.segment_at(rooms.room, np.maximum(rooms.end_ms - 60_000, rooms.begin_ms[rooms.room])) - 1
        inside = newest >= 0
        inside &= rooms.room[np.maximum(newest, 0)] == rooms.room
        return np.where(inside, self.rate[np.maximum(newest, 0)], np.nanmean(self.rate[self.train]))

    def tau_room(self, predicted: np.ndarray) -> float:
        """Mean over unseen rooms of tau-b against the true rate."""
        truth, room = np.append(self.world.truth_segments["lvtr"].to_numpy()[1:], np.nan), self.world.rooms.room
        rooms = [self.test & (room == number) for number in np.unique(room[self.test])]
        return float(np.mean([kendalltau(predicted[rows], truth[rows])[0] for rows in rooms]))

    def fit(self, predicted: np.ndarray) -> float:
        """Correlation with the true rate over unseen rooms."""
        truth = np.append(self.world.truth_segments["lvtr"].to_numpy()[1:], np.nan)
        return float(np.corrcoef(predicted[self.test], truth[self.test])[0, 1])


@pytest.fixture(scope="module")
def task() -> NextRate:
    sets = ["rooms.rooms=150", "rooms.segments=36", "audience.users=1500", "seed=1"]
    return NextRate(make_live(LiveConfig.of(None, sets)))


def test_frames_tell_more_than_text_and_text_more_than_ids(task):
    content = task.world.content
    visual, text, ids = (task.fit(task.learned(part)) for part in (content.visual, content.text, task.ids))
    assert visual > text + 0.05
    assert text > ids + 0.05
    assert ids > 0.1
    together = task.learned(np.hstack([content.visual, content.text, task.ids]))
    assert task.fit(together) > visual + 0.02


def test_content_beats_the_last_value_and_the_oracle_beats_content(task):
    content = task.world.content
    last = task.tau_room(task.last_known())
    learned = task.tau_room(task.learned(np.hstack([content.visual, content.text])))
    oracle = task.tau_room(task.world.truth_segments["lvtr_next"].to_numpy())
    assert 0.05 < last < 0.3
    assert learned > last + 0.15
    assert oracle > learned + 0.02
    assert 0.7 < (learned - last) / (oracle - last) < 0.97


def test_aligned_text_tells_more_than_late_text(task):
    late = task.fit(task.learned(task.world.content.text))
    aligned = NextRate(make_live(task.world.config.model_copy(
        update={"content": task.world.config.content.model_copy(update={"largest_lag": 0})}
    )))  # fmt: skip
    assert aligned.fit(aligned.learned(aligned.world.content.text)) > late + 0.05


def test_the_state_of_the_room_matters_for_a_click_beyond_ids(task):
    """Mean click probability of a (user, room) pair changes with what goes on: ids alone cannot tell it."""
    truth = task.world.truth.with_columns(task.world.impressions["author_id"])
    of_author = pl.col("click_probability").mean().over("author_id")
    of_room = pl.col("click_probability").mean().over("item_id")
    spread = truth.select(all=pl.col("click_probability").var(), room=of_room.var(), author=of_author.var()).row(0)
    assert spread[1] < 0.5 * spread[0]
    assert spread[2] < 0.5 * spread[0]
