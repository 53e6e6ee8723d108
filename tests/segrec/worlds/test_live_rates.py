from __future__ import annotations

import numpy as np
import pytest

from segrec.worlds.live import LiveWorld, announced_next
from segrec.worlds.live_audience import Audience, AudienceConfig, draw_audience
from segrec.worlds.live_rates import MeanRates, RateModel, segment_rates
from segrec.worlds.live_streamers import ACTIVITIES


def sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def brute_rates(audience: Audience, category: int, activity: int, click: float, stay: float) -> tuple[float, float]:
    """(ctr, lvtr) as sums over all users."""
    clicks = audience.shown[category] * sigmoid(click + audience.taste[:, activity])
    both = clicks * sigmoid(stay + audience.stay_taste[:, activity])
    return clicks.sum(), both.sum() / clicks.sum()


@pytest.fixture(scope="module")
def audience() -> Audience:
    return draw_audience(AudienceConfig(users=80), np.random.default_rng(0))


def test_one_user_by_hand():
    alone = Audience(np.array([1]), np.full((1, 6), 0.5), np.full((1, 6), -0.25), np.ones((6, 1)))
    ctr, lvtr = MeanRates.of(alone).at(np.array([0]), np.array([3]), np.array([-0.5]), np.array([0.25]))
    assert (ctr[0], lvtr[0]) == pytest.approx((0.5, 0.5), abs=1e-3)  # the logits cancel


def test_tabled_rates_equal_sums_over_users(audience):
    rng = np.random.default_rng(1)
    tables = MeanRates.of(audience)
    category, activity = rng.integers(6, size=200), rng.integers(6, size=200)
    click, stay = rng.normal(-1, 1.5, 200), rng.normal(0, 2, 200)
    ctr, lvtr = tables.at(category, activity, click, stay)
    expected = [brute_rates(audience, *row) for row in zip(category, activity, click, stay, strict=True)]
    assert np.stack([ctr, lvtr], axis=1) == pytest.approx(np.array(expected), abs=1.5e-3)


def test_rates_beyond_the_grid_are_those_of_its_end(audience):
    ctr, _ = MeanRates.of(audience).at(np.array([0, 0]), np.array([0, 0]), np.array([9.0, 50.0]), np.zeros(2))
    assert ctr[0] == ctr[1] > 0.99


def simulated_next(world: LiveWorld, segment: int, draws: int, announced: bool) -> np.ndarray:
    """(draws, 2) ctr and lvtr of the segment after `segment`, the chain moved on by the plainest means."""
    rng = np.random.default_rng(segment)
    moves, rates, rooms, streamers = world.config.rooms, world.config.rates, world.rooms, world.streamers
    streamer = rooms.streamer[rooms.room[segment]]
    chance = streamers.transition()[streamer, rooms.activity[segment]]
    activity = rng.choice(6, size=draws, p=chance / chance.sum())
    moved = {}
    for name, keep in {"excitement": moves.excitement_persistence, "hidden": moves.hidden_persistence}.items():
        moved[name] = keep * getattr(rooms, name)[segment] + np.sqrt(1 - keep**2) * rng.normal(size=draws)
    if announced:
        activity[:] = rooms.activity[segment + 1]
        moved["excitement"][:] = rooms.excitement[segment + 1]
    effects = np.array([(each.click_logit, each.stay_logit) for each in ACTIVITIES])[activity]
    click = rates.click_base + effects[:, 0] + streamers.click_talent[streamer, activity]
    click += rates.click_excitement * moved["excitement"] + rates.click_hidden * moved["hidden"]
    stay = rates.stay_base + effects[:, 1] + streamers.stay_talent[streamer, activity]
    stay += rates.stay_excitement * moved["excitement"] + rates.stay_hidden * moved["hidden"]
    category, audience = streamers.category[streamer], world.audience
    clicks = audience.shown[category][:, None] * sigmoid(click + audience.taste[:, activity])
    both = clicks * sigmoid(stay + audience.stay_taste[:, activity])
    return np.stack([clicks.sum(axis=0), both.sum(axis=0) / clicks.sum(axis=0)], axis=1)


def test_next_rates_are_the_expectation_of_the_simulated_chain(make_live_world):
    world = make_live_world("content.largest_lead=1", "rates.stay_hidden=0.5", "seed=3")
    announced = announced_next(world.content)
    last = world.rooms.last_of_room == np.arange(len(announced))
    chosen = [*np.flatnonzero(announced)[:4], *np.flatnonzero(~announced & ~last)[:8], int(np.flatnonzero(last)[0])]
    for segment in chosen:
        rates = simulated_next(world, int(segment), 4_000, bool(announced[segment]))
        told = np.array([world.rates.ctr_next[segment], world.rates.lvtr_next[segment]])
        error = rates.std(axis=0) / np.sqrt(len(rates))
        assert (np.abs(rates.mean(axis=0) - told) < 4.5 * error + 1.5e-3).all()


def test_announced_segments_are_those_that_text_was_ahead_of(live_world):
    content, announced = live_world.content, announced_next(live_world.content)
    expected = set()
    for row, offset in enumerate(content.text_offset.tolist()):
        if offset > 0 and not content.silent[row]:
            expected.add(row + offset - 1)
    assert set(np.flatnonzero(announced).tolist()) == expected
    assert 0.1 < announced.mean() < 0.5


def test_what_text_announces_makes_the_expectation_sharper(live_world):
    announced, rates, rooms = announced_next(live_world.content), live_world.rates, live_world.rooms
    inner = rooms.last_of_room > np.arange(len(announced))
    errors = np.abs(rates.lvtr_next[:-1] - rates.lvtr[1:])
    assert errors[(announced & inner)[:-1]].mean() < 0.5 * errors[(~announced & inner)[:-1]].mean()


@pytest.mark.parametrize("rate", ["ctr", "lvtr"])
def test_next_rates_are_calibrated_against_what_came(live_world, rate):
    truth, rooms = live_world.truth_segments, live_world.rooms
    inner = (rooms.last_of_room > np.arange(truth.height))[:-1]
    came, told = truth[rate].to_numpy()[1:][inner], truth[f"{rate}_next"].to_numpy()[:-1][inner]
    slope, base = np.polyfit(told, came, 1)
    assert slope == pytest.approx(1, abs=0.08)
    assert base == pytest.approx(0, abs=0.04)
    assert -0.015 < (came - told).mean() < 0.005  # who likes it is watching already, and is not shown it again


def test_without_any_movement_the_next_segment_is_like_this_one(make_live_world):
    world = make_live_world("rates.activity_weight=0", "rates.click_excitement=0", "rates.stay_excitement=0",
                            "rates.click_hidden=0", "rates.stay_hidden=0", "streamers.talent_spread=0",
                            "audience.taste_spread=0", "audience.patience_spread=0")  # fmt: skip
    assert world.rates.ctr_next == pytest.approx(world.rates.ctr, abs=1e-9)
    assert world.rates.lvtr_next == pytest.approx(world.rates.lvtr, abs=1e-9)
    talent = world.streamers.stay_talent[world.rooms.streamer[world.rooms.room], 0]
    assert world.rates.lvtr == pytest.approx(sigmoid(-0.4 + talent), abs=1e-3)


def test_the_state_moves_the_rates_as_told(live_world):
    config, rooms, streamers = live_world.config, live_world.rooms, live_world.streamers
    model = RateModel(config.rates, streamers, MeanRates.of(live_world.audience))
    streamer = rooms.streamer[rooms.room]
    click, stay = model.logits(streamer, rooms.activity, rooms.excitement, rooms.hidden)
    more = model.logits(streamer, rooms.activity, rooms.excitement + 1, rooms.hidden)
    assert more[0] - click == pytest.approx(np.full(len(click), config.rates.click_excitement))
    assert more[1] - stay == pytest.approx(np.full(len(stay), config.rates.stay_excitement))
    again = segment_rates(model, config.rooms, rooms, announced_next(live_world.content))
    assert (again.lvtr_next == live_world.rates.lvtr_next).all()
