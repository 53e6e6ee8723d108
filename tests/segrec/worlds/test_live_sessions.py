from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from segrec.records import KEY
from segrec.worlds.live import LiveWorld
from segrec.worlds.live_audience import draw_exposures
from segrec.worlds.live_sessions import comment_rates, excited_rates
from segrec.worlds.live_streamers import ACTIVITIES

COUNTED = {"comments": "comment_cnt", "likes": "like_cnt", "shares": "share_cnt", "gifts": "gift_cnt"}


@pytest.fixture(scope="module")
def rows(live_world: LiveWorld) -> pl.DataFrame:
    """Impressions with their truth, segment, and the end of their room."""
    rooms = live_world.rooms
    room = dict(zip(rooms.item_id.tolist(), range(len(rooms.item_id)), strict=True))
    frame = pl.concat([live_world.impressions, live_world.truth.drop(KEY)], how="horizontal")
    place = frame["item_id"].replace_strict(room).to_numpy()
    return frame.with_columns(
        segment=pl.Series(rooms.segment_at(place, frame["time_ms"].to_numpy())),
        over_ms=pl.Series(rooms.over_ms[place]),
        stay=pl.col("long_view_probability") / pl.col("click_probability"),
    )


def assert_drawn_from(outcome: np.ndarray, probability: np.ndarray, group: np.ndarray) -> None:
    """Chi-square of the groups' sums with the exact variance of a sum of unequal coins."""
    p = probability.astype(float)
    off = np.bincount(group, outcome - p)
    spread = np.bincount(group, p * (1 - p))
    large = spread > 1
    assert large.sum() > 300
    square = (off[large] ** 2 / spread[large]).sum()
    low, high = stats.chi2.ppf([1e-4, 1 - 1e-4], large.sum())
    assert low * 0.97 < square < high * 1.03
    assert abs(off.sum()) < 4.5 * np.sqrt(spread.sum())


def test_clicks_of_segments_are_drawn_from_the_truth(rows):
    assert_drawn_from(rows["is_click"].to_numpy(), rows["click_probability"].to_numpy(), rows["segment"].to_numpy())


def test_long_views_of_segments_are_drawn_from_the_truth(rows):
    trials = rows.filter(pl.col("is_click") == 1, pl.col("long_view").is_not_null())
    assert_drawn_from(trials["long_view"].to_numpy(), trials["stay"].to_numpy(), trials["segment"].to_numpy())


def test_long_view_probability_is_that_of_the_flag(rows):
    known = rows.filter(pl.col("long_view").is_not_null(), pl.col("over_ms") - pl.col("time_ms") > 60_000)
    probability = known["long_view_probability"].to_numpy().astype(float)
    for part in np.array_split(np.argsort(probability), 8):
        spread = np.sqrt((probability[part] * (1 - probability[part])).sum())
        assert abs(known["long_view"].to_numpy()[part].sum() - probability[part].sum()) < 4.5 * spread


def test_truth_of_a_segment_is_the_mean_over_those_who_are_counted(rows, live_world):
    truth = live_world.truth_segments.with_row_index("segment").cast({"segment": pl.Int64})
    means = rows.group_by("segment").agg(
        seen=pl.col("click_probability").mean(),
        stayed=pl.col("stay").filter(pl.col("is_click") == 1, pl.col("long_view").is_not_null()).mean(),
    )
    joined = truth.join(means, on="segment")
    assert joined.height > 0.99 * truth.height
    assert (joined["ctr"] - joined["seen"]).abs().max() < 1e-6
    counted = joined.filter(pl.col("stayed").is_not_null())
    assert (counted["lvtr"] - counted["stayed"]).abs().max() < 1e-6
    uncounted = joined.filter(pl.col("stayed").is_null())
    assert uncounted.height >= len(live_world.rooms.lengths)  # each room's last segment
    expected = live_world.rates.lvtr[uncounted["segment"].to_numpy()]
    assert uncounted["lvtr"].to_numpy() == pytest.approx(expected)


def test_entries_within_60_s_of_the_rooms_end_are_censored_whatever_they_did(rows):
    clicked = rows.filter(pl.col("is_click") == 1)
    early = clicked["over_ms"] - clicked["time_ms"] > 60_000
    assert (clicked["long_view"].is_not_null() == early).all()
    late = clicked.filter(~early)
    assert late.height > 500
    assert (late["watch_ms"] < 20_000).any()  # also those who left before the end
    assert rows.filter(pl.col("is_click") == 0)["long_view"].null_count() == 0


def test_counting_only_those_who_left_would_be_too_low(rows, live_world):
    """The rule's reason: keeping late entries that were seen to leave counts them as short views only."""
    late = rows.filter(pl.col("is_click") == 1, pl.col("long_view").is_null())
    left = late.filter(pl.col("time_ms") + pl.col("watch_ms") < pl.col("over_ms"))
    assert left.height > 200
    assert (left["watch_ms"] > 60_000).sum() == 0
    assert left["stay"].mean() > 0.3


def test_nobody_watches_longer_than_the_room_is_on(rows):
    end = rows["time_ms"] + rows["watch_ms"]
    assert (end <= rows["over_ms"]).all()
    assert (end == rows["over_ms"]).sum() > 100


def test_watch_times_follow_the_flag(rows):
    long, short = (rows.filter(pl.col("is_click") == 1, pl.col("long_view") == flag)["watch_ms"] for flag in (1, 0))
    assert long.min() > 60_000
    assert (short.min(), short.max()) >= (300, 300)
    assert short.max() <= 60_000
    assert short.median() < 20_000
    assert rows.filter(pl.col("is_click") == 0)["watch_ms"].max() == 0


def test_a_user_is_in_one_place_at_a_time(rows):
    by_user = rows.sort("user_id", "time_ms")
    same = by_user["user_id"].to_numpy()[1:] == by_user["user_id"].to_numpy()[:-1]
    free = (by_user["time_ms"] + by_user["watch_ms"]).to_numpy()[:-1] + 1_000
    assert (by_user["time_ms"].to_numpy()[1:] >= free)[same].all()
    assert same.sum() > 10_000
    assert not rows.select(KEY).is_duplicated().any()
    assert rows["time_ms"].is_sorted()


@pytest.mark.parametrize("name", COUNTED)
def test_events_happen_while_the_user_watches(live_world, rows, name):
    events = live_world.events[name]
    owner = rows[events["row"].to_numpy()]
    assert owner["user_id"].equals(events["user_id"])
    assert owner["item_id"].equals(events["item_id"])
    assert (events["time_ms"] >= owner["time_ms"]).all()
    assert (events["time_ms"] < owner["time_ms"] + owner["watch_ms"]).all()
    rooms, segment = live_world.rooms, events["segment"].to_numpy()
    at_ms = events["time_ms"].to_numpy()
    assert (rooms.start_ms[segment] <= at_ms).all()
    assert (at_ms < rooms.end_ms[segment]).all()
    assert (np.bincount(events["row"], minlength=rows.height) == rows[COUNTED[name]].to_numpy()).all()
    assert (np.bincount(segment, minlength=len(rooms.start_ms)) == live_world.segments[name].to_numpy()).all()


@pytest.mark.parametrize("name", ["likes", "gifts", "comments"])
def test_events_come_at_the_rate_they_are_told(live_world, rows, name):
    """Expected: the integral of the segments' rate over the time that each session lasts."""
    config, rooms = live_world.config.sessions, live_world.rooms
    rates = {
        "likes": excited_rates(config, config.likes_per_minute, rooms),
        "gifts": excited_rates(config, config.gifts_per_minute, rooms),
        "comments": comment_rates(config, rooms, live_world.content),
    }
    expected = 0.0
    for room, item in enumerate(rooms.item_id.tolist()):
        own = rooms.room == room
        at_ms = np.append(rooms.begin_ms[room], rooms.end_ms[own])
        total = np.append(0, np.cumsum(rates[name][own] * np.diff(at_ms) / 60_000))
        sessions = rows.filter(pl.col("item_id") == item, pl.col("is_click") == 1)
        begun = sessions["time_ms"].to_numpy()
        expected += (np.interp(begun + sessions["watch_ms"], at_ms, total) - np.interp(begun, at_ms, total)).sum()
    assert abs(live_world.events[name].height - expected) < 4.5 * np.sqrt(expected)


def test_nobody_comments_in_silence(live_world):
    silent = np.flatnonzero(live_world.content.silent)
    comments = live_world.segments["comments"].to_numpy()
    assert comments[silent].sum() == 0
    assert comments.sum() > 1_000


def test_comments_speak_of_what_the_text_speaks_of(live_world):
    comments, rooms, content = live_world.events["comments"], live_world.rooms, live_world.content
    spoken_of = rooms.activity[content.spoken_of[comments["segment"].to_numpy()]]
    for text, activity in zip(comments["content"].to_list(), spoken_of.tolist(), strict=True):
        assert text in ACTIVITIES[activity].phrases


def test_viewers_are_the_sessions_that_overlap_the_segment(live_world, rows):
    rooms = live_world.rooms
    for room in (0, 17):
        own = rows.filter(pl.col("item_id") == int(rooms.item_id[room]), pl.col("is_click") == 1)
        segments = live_world.segments.filter(pl.col("item_id") == int(rooms.item_id[room]))
        begun, gone = own["time_ms"].to_numpy(), (own["time_ms"] + own["watch_ms"]).to_numpy()
        spans = segments.select("start_ms", "end_ms").iter_rows()
        counted = [int(((begun < end) & (gone > start)).sum()) for start, end in spans]
        assert segments["viewers"].to_list() == counted


def test_counts_of_segments_are_those_of_impressions(live_world, rows):
    counted = rows.group_by("segment").agg(
        exposures=pl.len(), clicks=pl.col("is_click").sum(),
        entries=((pl.col("is_click") == 1) & pl.col("long_view").is_not_null()).sum(),
        long_views=(pl.col("long_view").fill_null(0) * pl.col("is_click")).sum(),
    )  # fmt: skip
    table = live_world.segments.drop("segment").with_row_index("segment").cast({"segment": pl.Int64})
    joined = table.join(counted, on="segment", suffix="_again")
    for name in ("exposures", "clicks", "entries", "long_views"):
        assert (joined[name] == joined[f"{name}_again"]).all()
        assert joined[name].sum() == table[name].sum()


def test_exposure_counts_say_nothing_of_the_state(live_world):
    """Only the streamer and the segment's length make them: what is left is Poisson noise."""
    rooms, streamers, config = live_world.rooms, live_world.streamers, live_world.config.audience
    exposures = draw_exposures(config, live_world.audience, rooms, streamers, np.random.default_rng(0))
    counts = np.bincount(exposures.segment, minlength=len(rooms.start_ms))
    expected = config.exposures * streamers.exposure[rooms.streamer[rooms.room]]
    expected = expected * (rooms.end_ms - rooms.start_ms) / 30_000
    off = (counts - expected) / np.sqrt(expected)
    assert off.std() == pytest.approx(1, abs=0.08)
    assert abs(np.corrcoef(off, rooms.excitement)[0, 1]) < 0.12
    assert (exposures.at_ms >= rooms.start_ms[exposures.segment]).all()
    assert (exposures.at_ms < rooms.end_ms[exposures.segment]).all()
