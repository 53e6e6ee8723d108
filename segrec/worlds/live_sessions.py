"""What happens at the impressions of a made live world: entries, watch times, comments, likes, shares and gifts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat
from scipy.special import expit

from segrec.records import Config
from segrec.worlds.jagged import Bools, Floats, Ints
from segrec.worlds.live_audience import Audience, Exposures
from segrec.worlds.live_content import LiveContent
from segrec.worlds.live_rates import SegmentRates
from segrec.worlds.live_rooms import LiveRooms
from segrec.worlds.live_streamers import ACTIVITIES

LONG_VIEW_MS = 60_000
"A long view lasts longer than this."
_BETWEEN_MS = 1_000
"Least time between two impressions of one user."
_SHORTEST_WATCH_MS = 300


class SessionsConfig(Config):
    """What users do in a room."""

    long_watch_s: PositiveFloat = 120.0
    "Mean time that a long view goes on after its first 60 s."
    short_watch_s: PositiveFloat = 20.0
    "Mean of the exponential, cut to 60 s, by which the other entries last."
    talk: NonNegativeFloat = 1.0
    "Factor of the activities' comment rates."
    talk_excitement: float = 0.3
    "Weight of the excitement in the logarithm of the comment and like rates."
    likes_per_minute: NonNegativeFloat = 0.25
    gifts_per_minute: NonNegativeFloat = 0.02
    shares_per_minute: NonNegativeFloat = 0.005
    follow_share: float = Field(default=0.02, ge=0, le=1)
    "Share of entries after which the user follows the streamer."


@dataclass(frozen=True)
class Impressions:
    """N impressions that took place, in order of time: a user who still watches a room is shown nothing."""

    user: Ints
    "(N,)"
    segment: Ints
    "(N,) flat index."
    at_ms: Ints
    "(N,) epoch ms; an entry begins at once."
    click_probability: Floats
    "(N,)"
    stay_probability: Floats
    "(N,) probability of a long view once the room is entered, were the room to go on."
    watch_ms: Ints
    "(N,) 0 = not entered; cut where the room ends."
    censored: Bools
    "(N,) the room ends within 60 s of the impression: a long view could not be seen, whatever the user meant to do."

    @property
    def clicked(self) -> Bools:
        """(N,)"""
        clicked: Bools = self.watch_ms > 0
        return clicked

    @property
    def trial(self) -> Bools:
        """(N,) entries whose long view counts."""
        return self.clicked & ~self.censored


@dataclass(frozen=True)
class Events:
    """E things that viewers do, in order of impression."""

    impression: Ints
    "(E,) row of the impressions."
    segment: Ints
    "(E,) flat index of the segment in which it happens."
    at_ms: Ints
    "(E,) epoch ms, while the user watches."


def draw_impressions(
    config: SessionsConfig, exposures: Exposures, rates: SegmentRates, rooms: LiveRooms, audience: Audience,
    *, rng: np.random.Generator,
) -> Impressions:  # fmt: skip
    """Outcomes of the exposures, each drawn from its own probability; then those that meet a watching user go.

    Whether an exposure takes place depends on earlier outcomes of that user only, never on its own: the probabilities
    of those that took place stay exact.
    """
    user, segment, activity = exposures.user, exposures.segment, rooms.activity[exposures.segment]
    click = expit(rates.click_logit[segment] + audience.taste[user, activity])
    stay = expit(rates.stay_logit[segment] + audience.stay_taste[user, activity])
    n = len(user)
    watch = np.where(rng.random(n) < stay, _long_watch_ms(config, n, rng), _short_watch_ms(config, n, rng))
    left_ms = rooms.over_ms[rooms.room[segment]] - exposures.at_ms
    watch = np.where(rng.random(n) < click, np.minimum(watch, left_ms), 0)
    drawn = Impressions(user, segment, exposures.at_ms, click, stay, watch, left_ms <= LONG_VIEW_MS)
    return _rows(drawn, _taking_place(drawn))


def draw_events(
    rate_per_minute: Floats, impressions: Impressions, rooms: LiveRooms, rng: np.random.Generator
) -> Events:
    """A Poisson process while somebody watches, with the rate (T,) of the segment that it goes on in."""
    most = float(rate_per_minute.max(initial=0.0))
    counts = rng.poisson(most * impressions.watch_ms / 60_000)
    impression = np.repeat(np.arange(len(counts)), counts)
    inside = (rng.random(len(impression)) * impressions.watch_ms[impression]).astype(np.int64)
    at_ms = impressions.at_ms[impression] + inside
    segment = rooms.segment_at(rooms.room[impressions.segment[impression]], at_ms)
    kept = rng.random(len(segment)) * most < rate_per_minute[segment]
    order = np.lexsort((at_ms[kept], impression[kept]))
    return Events(impression[kept][order], segment[kept][order], at_ms[kept][order])


def comment_rates(config: SessionsConfig, rooms: LiveRooms, content: LiveContent) -> Floats:
    """(T,) comments a viewer a minute: by what the text speaks of; none where the room is silent."""
    by_activity = np.array([activity.comments_per_minute for activity in ACTIVITIES])
    said = content.spoken_of
    excited = np.exp(config.talk_excitement * rooms.excitement[said])
    rates: Floats = config.talk * by_activity[rooms.activity[said]] * excited * ~content.silent
    return rates


def excited_rates(config: SessionsConfig, per_minute: float, rooms: LiveRooms) -> Floats:
    """(T,) likes, shares or gifts a viewer a minute."""
    rates: Floats = per_minute * np.exp(config.talk_excitement * rooms.excitement)
    return rates


def _long_watch_ms(config: SessionsConfig, n: int, rng: np.random.Generator) -> Ints:
    beyond: Ints = rng.exponential(config.long_watch_s * 1000, n).astype(np.int64)
    return LONG_VIEW_MS + 1 + beyond


def _short_watch_ms(config: SessionsConfig, n: int, rng: np.random.Generator) -> Ints:
    """An exponential cut to 0.3 .. 60 s, by the inverse of its distribution function."""
    mean, span = config.short_watch_s * 1000, LONG_VIEW_MS - _SHORTEST_WATCH_MS
    below = -np.expm1(-span / mean)
    more: Ints = (-mean * np.log1p(-below * rng.random(n))).astype(np.int64)
    return _SHORTEST_WATCH_MS + more


def _taking_place(drawn: Impressions) -> Ints:
    """Rows in order of time, without those of a user who is watching, or who was shown something a second ago."""
    order = np.lexsort((drawn.segment, drawn.user, drawn.at_ms))
    busy = drawn.at_ms[order] + drawn.watch_ms[order] + _BETWEEN_MS
    free_ms: dict[int, int] = {}
    kept = []
    rows = zip(order.tolist(), drawn.user[order].tolist(), drawn.at_ms[order].tolist(), busy.tolist(), strict=True)
    for row, user, at_ms, until in rows:
        if at_ms >= free_ms.get(user, 0):
            free_ms[user] = until
            kept.append(row)
    return np.array(kept, dtype=np.int64)


def _rows(impressions: Impressions, rows: Ints) -> Impressions:
    return Impressions(*(getattr(impressions, name)[rows] for name in Impressions.__dataclass_fields__))
