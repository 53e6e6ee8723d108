"""The true rates of a made live world: what a segment's state does to clicks and long views, now and one step on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field, NonNegativeFloat
from scipy.special import expit

from segrec.records import Config
from segrec.worlds.jagged import Bools, Floats, Ints
from segrec.worlds.live_audience import Audience
from segrec.worlds.live_rooms import LiveRooms, RoomsConfig
from segrec.worlds.live_streamers import ACTIVITIES, Streamers

_GRID = np.linspace(-9, 9, 145)
"Logits at which mean rates are tabled; in between they are interpolated (error below 1e-3)."
_NODES = 5


class RatesConfig(Config):
    """Logit of a click (of a long view) in segment t by user u =

    base + activity_weight activity + talent + excitement_weight excitement(t) + hidden_weight hidden(t)
    + the user's taste for the activity (patience, and a share of that taste).
    """

    click_base: float = -0.9
    stay_base: float = -0.4
    activity_weight: NonNegativeFloat = 1.0
    click_excitement: float = 0.5
    "Weight of the excitement, which the vectors show, in the logit of a click."
    stay_excitement: float = 0.7
    "The same for a long view."
    click_hidden: NonNegativeFloat = 0.1
    "Weight of what no content shows."
    stay_hidden: NonNegativeFloat = 0.15
    highlight_share: float = Field(default=0.3, gt=0, lt=1)
    "Share of a room's segments that are marked as highlights: those of the highest true long-view rate."


@dataclass(frozen=True)
class SegmentRates:
    """True logits and rates of T segments, before it is drawn who comes."""

    click_logit: Floats
    "(T,) of a click, without the user's part."
    stay_logit: Floats
    "(T,) of a long view, without the user's part."
    ctr: Floats
    "(T,) expected share of clicks among those whom the service shows rooms of this category."
    lvtr: Floats
    "(T,) expected share of long views among those of them who enter."
    ctr_next: Floats
    "(T,) expectation of the next segment's ctr given all that is settled in this one: see `segment_rates`."
    lvtr_next: Floats
    "(T,) the same for lvtr."


@dataclass(frozen=True)
class MeanRates:
    """Mean click rate and long-view rate over the audience, tabled by category, activity and the two logits."""

    click: Floats
    "(C, A, G) mean probability of a click at _GRID."
    both: Floats
    "(C, A, G, G) mean probability of a click and a long view."

    @classmethod
    def of(cls, audience: Audience) -> MeanRates:
        """Tables over all users of `audience` with their chances to be shown a room."""
        clicks = [expit(_GRID[:, None] + taste) for taste in audience.taste.T]
        stays = [expit(_GRID[:, None] + logit) for logit in audience.stay_taste.T]
        return cls(
            np.stack([[click @ shown for click in clicks] for shown in audience.shown]),
            np.stack(
                [
                    [(click * shown) @ stay.T for click, stay in zip(clicks, stays, strict=True)]
                    for shown in audience.shown
                ]
            ),
        )

    def at(self, category: Ints, activity: Ints, click_logit: Floats, stay_logit: Floats) -> tuple[Floats, Floats]:
        """(ctr, lvtr) at these places (arrays that broadcast): lvtr = E[click and long view] / E[click]."""
        low, x = _place(click_logit)
        left, y = _place(stay_logit)
        click = self.click[category, activity, low] * (1 - x) + self.click[category, activity, low + 1] * x
        rows = [
            self.both[category, activity, row, left] * (1 - y) + self.both[category, activity, row, left + 1] * y
            for row in (low, low + 1)
        ]
        return click, (rows[0] * (1 - x) + rows[1] * x) / click


@dataclass(frozen=True)
class RateModel:
    """How a segment's state makes its rates."""

    config: RatesConfig
    streamers: Streamers
    tables: MeanRates

    def logits(self, streamer: Ints, activity: Ints, excitement: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        """(of a click, of a long view), without the user's part."""
        config, streamers = self.config, self.streamers
        effect = config.activity_weight * np.array([(each.click_logit, each.stay_logit) for each in ACTIVITIES])
        click = config.click_base + effect[activity, 0] + streamers.click_talent[streamer, activity]
        stay = config.stay_base + effect[activity, 1] + streamers.stay_talent[streamer, activity]
        click = click + config.click_excitement * excitement + config.click_hidden * hidden
        return click, stay + config.stay_excitement * excitement + config.stay_hidden * hidden

    def rates(self, streamer: Ints, activity: Ints, excitement: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        """(ctr, lvtr) expected over the audience."""
        logits = self.logits(streamer, activity, excitement, hidden)
        return self.tables.at(self.streamers.category[streamer], activity, *logits)


def segment_rates(model: RateModel, moves: RoomsConfig, rooms: LiveRooms, announced: Bools) -> SegmentRates:
    """Rates of each segment, and the expectation one segment on.

    What is settled in segment t is its own state and, where `announced` (T,) says that text spoke of it by then, the
    activity and the excitement of segment t + 1. The rest is expected over the chain: activities by the transition
    matrix, excitement and hidden part by Gauss-Hermite quadrature over their autoregressive steps. A room's last
    segment has the expectation that it would have, were the room to go on.
    """
    streamer = rooms.streamer[rooms.room]
    following = np.minimum(np.arange(len(streamer)) + 1, rooms.last_of_room)
    chance = model.streamers.transition()[streamer, rooms.activity]
    chance[announced] = np.eye(len(ACTIVITIES))[rooms.activity[following[announced]]]
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    expected = np.zeros((2, len(streamer)))
    for e, e_weight in zip(nodes, weights, strict=True):
        excitement = _moved(moves.excitement_persistence, rooms.excitement, e)
        excitement[announced] = rooms.excitement[following[announced]]
        for h, h_weight in zip(nodes, weights, strict=True):
            hidden = _moved(moves.hidden_persistence, rooms.hidden, h)
            for activity in range(len(ACTIVITIES)):
                there = model.rates(streamer, np.full(len(streamer), activity), excitement, hidden)
                expected += chance[:, activity] * e_weight * h_weight * np.stack(there)
    state = (streamer, rooms.activity, rooms.excitement, rooms.hidden)
    return SegmentRates(*model.logits(*state), *model.rates(*state), *expected)


def _moved(persistence: float, value: Floats, step: float) -> Floats:
    moved: Floats = persistence * value + np.sqrt(1 - persistence**2) * step
    return moved


def _place(logit: Floats) -> tuple[Ints, Floats]:
    """Grid point below, and the share of the way to the next one; logits beyond the grid count as its ends."""
    steps = (np.clip(logit, _GRID[0], _GRID[-1]) - _GRID[0]) / (_GRID[1] - _GRID[0])
    low = np.minimum(steps.astype(np.int64), len(_GRID) - 2)
    return low, steps - low
