"""The audience of a made live world: users' tastes, and which rooms they are shown while those are on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from segrec.records import Config
from segrec.worlds.jagged import Floats, Ints
from segrec.worlds.live_rooms import SEGMENT_MS, LiveRooms
from segrec.worlds.live_streamers import ACTIVITIES, Streamers


class AudienceConfig(Config):
    """Who watches, and what they are shown."""

    users: PositiveInt = 4_000
    "Number of users."
    exposures: PositiveFloat = 130.0
    "Mean number of users who are shown a room of mean popularity in 30 s."
    taste_spread: NonNegativeFloat = 0.6
    "Standard deviation of a user's taste for an activity, in logits of a click."
    taste_in_stay: NonNegativeFloat = 0.3
    "Share of the taste that also counts in the logit of a long view."
    patience_spread: NonNegativeFloat = 0.5
    "Standard deviation of a user's patience, in logits of a long view."
    activity_spread: NonNegativeFloat = 0.7
    "Standard deviation of the logarithm of a user's share of the exposures."
    policy_sharpness: NonNegativeFloat = 0.5
    "Weight of what the service believes of a user's taste for a category in choosing whom to show a room."
    estimate_error: NonNegativeFloat = 0.6
    "Standard deviation of the error in that belief."


@dataclass(frozen=True)
class Audience:
    """Latents of U users over A activities (and as many categories); public ids are a permutation."""

    user_id: Ints
    "(U,)"
    taste: Floats
    "(U, A) logits of a click while the activity goes on."
    stay_taste: Floats
    "(U, A) logits of a long view of those who enter meanwhile: patience and a share of the taste."
    shown: Floats
    "(A, U) probability that a user is the one who is shown a room of a category; rows sum to 1."


@dataclass(frozen=True)
class Exposures:
    """N impressions: a room's cover is shown to a user while the room is on."""

    user: Ints
    "(N,)"
    segment: Ints
    "(N,) flat index of the segment in which it happens, ascending."
    at_ms: Ints
    "(N,) epoch ms inside the segment."


def draw_audience(config: AudienceConfig, rng: np.random.Generator) -> Audience:
    """Users drawn from the config; taste, patience and activity are independent of each other."""
    n = config.users
    taste = rng.normal(0, config.taste_spread, (n, len(ACTIVITIES)))
    believed = taste + rng.normal(0, config.estimate_error, taste.shape)
    activity = rng.normal(0, config.activity_spread, n)
    weight = np.exp(config.policy_sharpness * believed.T + activity)
    patience = rng.normal(0, config.patience_spread, n)
    return Audience(
        user_id=rng.permutation(n).astype(np.int64) + 1,
        taste=taste,
        stay_taste=patience[:, None] + config.taste_in_stay * taste,
        shown=weight / weight.sum(axis=1, keepdims=True),
    )


def draw_exposures(
    config: AudienceConfig, audience: Audience, rooms: LiveRooms, streamers: Streamers, rng: np.random.Generator
) -> Exposures:
    """Poisson many in each segment, by the streamer's popularity and the segment's length and nothing else: this
    count says nothing of the state. Users are independent draws from `audience.shown` of the streamer's category."""
    streamer = rooms.streamer[rooms.room]
    lasts = rooms.end_ms - rooms.start_ms
    counts = rng.poisson(config.exposures * streamers.exposure[streamer] * lasts / SEGMENT_MS)
    segment = np.repeat(np.arange(len(counts)), counts)
    category = streamers.category[streamer][segment]
    user = np.empty(len(segment), np.int64)
    for number, chances in enumerate(audience.shown):
        rows = np.flatnonzero(category == number)
        drawn = np.searchsorted(np.cumsum(chances), rng.random(len(rows)), side="right")
        user[rows] = np.minimum(drawn, len(chances) - 1)
    at_ms = rooms.start_ms[segment] + (rng.random(len(segment)) * lasts[segment]).astype(np.int64)
    return Exposures(user, segment, at_ms)
