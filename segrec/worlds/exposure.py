"""Who was shown what, and when: sessions with a daily rhythm, a logging policy, and a share of random exposures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field, PositiveInt

from segrec.records import Config
from segrec.worlds.jagged import Bools, Floats, Ints
from segrec.worlds.videos import DAY_MS, Videos
from segrec.worlds.viewers import Viewers
from segrec.worlds.watching import Moments

HOUR_MS = 3_600_000
_HOURLY = np.array([5, 3, 2, 1, 1, 2, 3, 5, 6, 6, 6, 7, 9, 9, 7, 6, 6, 7, 8, 9, 11, 12, 11, 8], dtype=np.float64)
"Relative number of sessions that start in each hour of the day."
_CHUNK = 200_000
_REDRAWS = 4


class ExposureConfig(Config):
    """What the service shows."""

    impressions_per_user: PositiveInt = 100
    "Mean number of impressions a user."
    days: int = Field(default=10, ge=2, le=28)
    "Days of the log, centred on 2022-04-22 (UTC+8), when the publisher's second log and its random exposures begin."
    session_length: PositiveInt = 12
    "Mean number of impressions in a session."
    candidates: PositiveInt = 6
    "Popular videos among which the policy chooses by noisy personal taste."
    policy_sharpness: float = Field(default=0.8, ge=0)
    "Weight of the estimated taste in the policy's choice (against Gumbel noise)."
    fresh_share: float = Field(default=0.1, ge=0, le=1)
    "Share of impressions given to videos uploaded in the last day."
    random_share: float = Field(default=0.08, ge=0, le=1)
    "Share of uniformly random exposures (is_rand = 1) from the middle of the log on."


@dataclass(frozen=True)
class Exposures:
    """R impressions in order of viewer and session, before anything was watched."""

    moments: Moments
    session: Ints
    "(R,) ascending."
    session_start_ms: Ints
    "(R,) relative to the world's first day."
    is_random: Bools


@dataclass(frozen=True)
class _Slots:
    """R places to be filled with a video."""

    viewer: Ints
    at_ms: Ints
    is_random: Bools
    is_fresh: Bools

    def at(self, chosen: Ints) -> _Slots:
        return _Slots(self.viewer[chosen], self.at_ms[chosen], self.is_random[chosen], self.is_fresh[chosen])


def draw_exposures(config: ExposureConfig, viewers: Viewers, videos: Videos, rng: np.random.Generator) -> Exposures:
    """users x impressions_per_user impressions: sessions by rhythm, pages by preference, videos by the policy."""
    viewer = _impressions_of_viewers(config, viewers, rng)
    begins = rng.random(len(viewer)) < 1 / config.session_length
    begins |= np.concatenate([[True], viewer[1:] != viewer[:-1]])
    session = np.cumsum(begins) - 1
    owner = viewer[begins]
    start_ms = _session_starts(config, viewers.join_day[owner], rng)
    preference = np.cumsum(viewers.page_preference[owner], axis=1)
    page = np.minimum((rng.random((len(owner), 1)) > preference).sum(axis=1), preference.shape[1] - 1)
    at_ms = start_ms[session]
    slots = _Slots(
        viewer=viewer,
        at_ms=at_ms,
        is_random=(rng.random(len(viewer)) < config.random_share) & (at_ms >= config.days // 2 * DAY_MS),
        is_fresh=rng.random(len(viewer)) < config.fresh_share,
    )
    video = _shown_videos(config, viewers, videos, slots, rng)
    moments = Moments(viewer=viewer, video=video, page=page[session], hour=at_ms % DAY_MS // HOUR_MS)
    return Exposures(moments, session, at_ms, slots.is_random)


def impression_times(exposures: Exposures, watch_ms: Ints, rng: np.random.Generator) -> Ints:
    """(R,) relative ms: in a session each impression starts after the one before was watched; strict a viewer."""
    session, viewer = exposures.session, exposures.moments.viewer
    step = watch_ms + 300 + rng.exponential(2_000, len(session)).astype(np.int64)
    elapsed = np.cumsum(step) - step
    first = np.searchsorted(session, session)
    at_ms = exposures.session_start_ms + elapsed - elapsed[first]
    order = np.lexsort((at_ms, viewer))
    apart = viewer[order] * (100 * DAY_MS) + at_ms[order]
    rank = np.arange(len(apart))
    strict: Ints = np.maximum.accumulate(apart - rank) + rank - viewer[order] * (100 * DAY_MS)
    out: Ints = np.empty_like(at_ms)
    out[order] = strict
    return out


def _impressions_of_viewers(config: ExposureConfig, viewers: Viewers, rng: np.random.Generator) -> Ints:
    """(R,) viewer of each impression, ascending; everybody has one, the rest by activity and days present."""
    users = len(viewers.user_id)
    weight = viewers.activity * (config.days - viewers.join_day)
    counts = 1 + rng.multinomial(users * (config.impressions_per_user - 1), weight / weight.sum())
    return np.repeat(np.arange(users), counts)


def _session_starts(config: ExposureConfig, join_day: Ints, rng: np.random.Generator) -> Ints:
    n = len(join_day)
    day = join_day + (rng.random(n) * (config.days - join_day)).astype(np.int64)
    hour = rng.choice(24, size=n, p=_HOURLY / _HOURLY.sum())
    start = day * DAY_MS + hour * HOUR_MS + rng.integers(HOUR_MS, size=n)
    late = start >= config.days * DAY_MS - 2 * HOUR_MS
    starts: Ints = start - np.where(late, 2 * HOUR_MS, 0)
    return starts


def _shown_videos(
    config: ExposureConfig, viewers: Viewers, videos: Videos, slots: _Slots, rng: np.random.Generator
) -> Ints:
    """(R,) videos uploaded by then; one that the viewer was shown already is drawn anew a few times."""
    shown = _drawn_videos(config, viewers, videos, slots, rng)
    for _ in range(_REDRAWS):
        again = np.flatnonzero(_repeated(slots.viewer * len(videos.item_id) + shown))
        shown[again] = _drawn_videos(config, viewers, videos, slots.at(again), rng)
    return shown


def _repeated(keys: Ints) -> Bools:
    """(R,) True where the same key stands further up."""
    order = np.argsort(keys, kind="stable")
    repeated = np.zeros(len(keys), dtype=np.bool_)
    repeated[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    return repeated


def _drawn_videos(
    config: ExposureConfig, viewers: Viewers, videos: Videos, slots: _Slots, rng: np.random.Generator
) -> Ints:
    """(R,) by the kind of slot: random, fresh, or the best of some popular ones."""
    alive = np.searchsorted(videos.upload_ms, slots.at_ms, side="right")
    older = np.searchsorted(videos.upload_ms, slots.at_ms - DAY_MS, side="right")
    fresh = slots.is_fresh & ~slots.is_random & (older < alive)
    chosen = np.empty(len(slots.viewer), dtype=np.int64)
    for low in range(0, len(chosen), _CHUNK):
        part = slice(low, low + _CHUNK)
        chosen[part] = _policy_choice(config, viewers, videos, viewer=slots.viewer[part], alive=alive[part], rng=rng)
    floor = np.where(fresh, older, 0)
    drawn = floor + (rng.random(len(chosen)) * (alive - floor)).astype(np.int64)
    return np.where(slots.is_random | fresh, drawn, chosen)


def _policy_choice(
    config: ExposureConfig, viewers: Viewers, videos: Videos, *, viewer: Ints, alive: Ints, rng: np.random.Generator
) -> Ints:
    """Candidates by popularity, the one with the highest estimated taste + Gumbel noise is shown."""
    total: Floats = np.cumsum(videos.exposure)
    point = rng.random((len(viewer), config.candidates)) * total[alive - 1][:, None]
    candidate = np.minimum(np.searchsorted(total, point, side="right"), alive[:, None] - 1)
    taste = viewers.estimated_taste[viewer].astype(np.float32)
    content = videos.mean_mixture.astype(np.float32)[candidate]
    value = config.policy_sharpness * np.einsum("rk,rck->rc", taste, content)
    best = np.argmax(value + rng.gumbel(size=value.shape), axis=1)
    chosen: Ints = candidate[np.arange(len(viewer)), best]
    return chosen
