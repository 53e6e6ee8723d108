"""The people of a made short-video world: tastes over topics, patience, habits, activity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt

from segrec.records import Config
from segrec.worlds.jagged import Floats, Ints


class ViewersConfig(Config):
    """Who watches."""

    users: PositiveInt = 600
    "Number of users."
    personas: PositiveInt = 6
    "Groups of users with a common taste."
    persona_spread: NonNegativeFloat = 0.8
    "Standard deviation of a persona's taste for a topic."
    own_spread: NonNegativeFloat = 0.6
    "Standard deviation of a user's own taste around the persona's."
    patience_spread: NonNegativeFloat = 0.5
    "Standard deviation of patience, in logits of the skip hazard."
    length_habit_spread: NonNegativeFloat = 0.25
    "Standard deviation of the user's dislike of long videos, in logits per doubling of the length."
    activity_spread: NonNegativeFloat = 0.8
    "Standard deviation of the logarithm of a user's activity."
    page_concentration: float = Field(default=4.0, gt=0)
    "How alike users' page preferences are (Dirichlet concentration)."
    estimate_error: NonNegativeFloat = 0.7
    "Standard deviation of the error in what the logging policy believes of a user's taste for a topic."
    new_share: float = Field(default=0.1, ge=0, lt=1)
    "Share of users who join after the first day."


@dataclass(frozen=True)
class Viewers:
    """Latents of U users over K topics and P pages; public ids are a permutation, so that they say nothing of age."""

    user_id: Ints
    "(U,)"
    persona: Ints
    "(U,)"
    taste: Floats
    "(U, K) logits by which a topic lowers the skip hazard, before the world's taste weight."
    patience: Floats
    "(U,) logits by which the user's skip hazard is lower everywhere."
    length_habit: Floats
    "(U,) logits by which each doubling of a video's length raises the user's skip hazard."
    activity: Floats
    "(U,) relative number of impressions a day."
    page_preference: Floats
    "(U, P) probability of each page."
    join_day: Ints
    "(U,) first day on the service, 0 = from the beginning."
    estimated_taste: Floats
    "(U, K) what the logging policy believes the taste to be."


def draw_viewers(
    config: ViewersConfig, *, topics: int, page_shares: Floats, days: int, rng: np.random.Generator
) -> Viewers:
    """Users drawn from the config: taste = persona's + own, everything else independent of it."""
    n = config.users
    persona = rng.integers(config.personas, size=n)
    persona_taste = rng.normal(0, config.persona_spread, (config.personas, topics))
    taste = persona_taste[persona] + rng.normal(0, config.own_spread, (n, topics))
    joins_later = rng.random(n) < config.new_share
    return Viewers(
        user_id=rng.permutation(n).astype(np.int64),
        persona=persona,
        taste=taste,
        patience=rng.normal(0, config.patience_spread, n),
        length_habit=rng.normal(0, config.length_habit_spread, n),
        activity=np.exp(rng.normal(0, config.activity_spread, n)),
        page_preference=rng.dirichlet(config.page_concentration * page_shares, n),
        join_day=np.where(joins_later, rng.integers(1, max(days, 2), n), 0),
        estimated_taste=taste + rng.normal(0, config.estimate_error, taste.shape),
    )
