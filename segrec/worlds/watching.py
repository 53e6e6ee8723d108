"""How a view goes: interest and skip hazard of each segment, the exit they lead to, and the watch time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field, NonNegativeFloat

from segrec.records import Config
from segrec.worlds.jagged import Floats, Ints, positions_of, row_sums, rows_of, running_sums, starts_of
from segrec.worlds.publisher_rules import exit_span_ms
from segrec.worlds.videos import SEGMENT_MS, Videos
from segrec.worlds.viewers import Viewers

_TYPICAL_SEGMENTS = 5


@dataclass(frozen=True)
class Page:
    """A page of the app: `tab` is the publisher's code."""

    tab: int
    share: float
    skip_logit: float
    "Added to the skip hazard's logit."
    two_column: bool = False
    "Covers to choose from: a view starts with a click."


PAGES = (
    Page(tab=1, share=0.70, skip_logit=0.0),
    Page(tab=0, share=0.14, skip_logit=-0.9, two_column=True),
    Page(tab=4, share=0.10, skip_logit=-0.4),
    Page(tab=2, share=0.06, skip_logit=0.3),
)


class WatchingConfig(Config):
    """Logit of the skip hazard of segment s =

    base + start_bump exp(-s / start_decay) + length_slope log2(N / 5) + page + length habit log2(N / 5)
    - patience - evening calm - attention(s) (taste_weight taste . mixture(s) + quality),
    attention(s) = floor + (1 - floor) exp(-s / attention_decay).
    """

    base_logit: float = -0.9
    start_bump: float = 0.4
    start_decay: float = Field(default=1.0, gt=0)
    length_slope: float = -0.35
    taste_weight: NonNegativeFloat = 1.8
    attention_floor: float = Field(default=0.75, ge=0, le=1)
    attention_decay: float = Field(default=8.0, gt=0)
    evening_calm: float = 0.3
    "Logits by which the hazard is lower between 20:00 and 24:00."
    click_base_logit: float = -1.5
    "Two-column page: logit of a click on an average cover."
    click_interest_weight: float = 0.8
    "Two-column page: weight of the video's mean interest in the logit of a click."
    zero_play_share: float = Field(default=0.006, ge=0, lt=1)
    "Share of views that break before the first frame (watch_ms = 0)."
    loop_share: float = Field(default=0.3, ge=0, le=1)
    "Share of full views that go round again."


@dataclass(frozen=True)
class Moments:
    """R impressions as far as they decide how a view goes: indices into viewers, videos and PAGES, local hour."""

    viewer: Ints
    video: Ints
    page: Ints
    hour: Ints


@dataclass(frozen=True)
class ViewTruth:
    """What is true of R impressions; flat arrays hold `lengths` values a row, `exit_probability` lengths + 1."""

    lengths: Ints
    interest: Floats
    "Logits: taste_weight taste . mixture(s) + quality."
    hazard: Floats
    "P(skip in segment s | s was reached, the view started)."
    exit_probability: Floats
    "P(exit in segment s | the view started); the last slot: watched to the end."
    start_probability: Floats
    "(R,) P(watch_ms > 0)."
    cover_click_probability: Floats
    "(R,) P(click on the cover); 1 on single-column pages."


def view_truth(config: WatchingConfig, viewers: Viewers, videos: Videos, moments: Moments) -> ViewTruth:
    """Interest, hazard and exit distribution of each impression."""
    lengths = videos.lengths[moments.video]
    rows, segment = rows_of(lengths), positions_of(lengths)
    flat = videos.starts[moments.video][rows] + segment
    liking = np.einsum("fk,fk->f", viewers.taste[moments.viewer][rows], videos.mixture[flat])
    interest: Floats = config.taste_weight * liking + videos.quality[moments.video][rows]
    logit = _habit_logit(config, viewers, moments, lengths)[rows]
    logit += config.base_logit + config.start_bump * np.exp(-segment / config.start_decay)
    attention = config.attention_floor + (1 - config.attention_floor) * np.exp(-segment / config.attention_decay)
    logit -= attention * interest
    log_stay = -np.logaddexp(0, logit) * _segment_share(videos.duration_ms[moments.video], lengths)
    click = _cover_click_probability(config, videos, moments, row_sums(interest, lengths) / lengths)
    return ViewTruth(
        lengths=lengths,
        interest=interest,
        hazard=-np.expm1(log_stay),
        exit_probability=exit_distribution(log_stay, lengths),
        start_probability=click * (1 - config.zero_play_share),
        cover_click_probability=click,
    )


def exit_distribution(log_stay: Floats, lengths: Ints) -> Floats:
    """Flat P(exit in segment s) = h(s) prod_{r<s} (1 - h(r)), and P(end) = prod (1 - h), from log(1 - h)."""
    reached_after = np.exp(running_sums(log_stay, lengths))
    reached = np.exp(running_sums(log_stay, lengths) - log_stay)
    slots = lengths + 1
    out = np.empty(int(slots.sum()))
    ends = starts_of(slots) + lengths
    inside = np.ones(len(out), dtype=bool)
    inside[ends] = False
    out[inside] = reached * -np.expm1(log_stay)
    out[ends] = reached_after[starts_of(lengths) + lengths - 1]
    return out


def draw_exits(exit_probability: Floats, lengths: Ints, rng: np.random.Generator) -> Ints:
    """(R,) exit segment of each row, N = watched to the end."""
    below = running_sums(exit_probability, lengths + 1) <= np.repeat(rng.random(len(lengths)), lengths + 1)
    return np.minimum(np.add.reduceat(below, starts_of(lengths + 1), dtype=np.int64), lengths)


def draw_watch_ms(
    config: WatchingConfig, exit_segment: Ints, lengths: Ints, duration_ms: Ints, rng: np.random.Generator
) -> Ints:
    """(R,) uniform inside the exit segment; full views run a little over the end or go round again."""
    first, last = exit_span_ms(exit_segment, duration_ms)
    n = len(lengths)
    inside = first + (rng.random(n) * (last - first + 1)).astype(np.int64)
    overrun = rng.exponential(0.04, n) + (rng.random(n) < config.loop_share) * rng.exponential(0.8, n)
    return np.where(exit_segment < lengths, inside, (duration_ms * (1 + overrun)).astype(np.int64))


def _habit_logit(config: WatchingConfig, viewers: Viewers, moments: Moments, lengths: Ints) -> Floats:
    """(R,) what does not depend on the segment: length, page, hour, the user's patience and habit."""
    page_logit = np.array([page.skip_logit for page in PAGES])
    doublings = np.log2(lengths / _TYPICAL_SEGMENTS)
    slope = config.length_slope + viewers.length_habit[moments.viewer]
    calm = config.evening_calm * (moments.hour >= 20)
    logit: Floats = slope * doublings + page_logit[moments.page] - viewers.patience[moments.viewer] - calm
    return logit


def _segment_share(duration_ms: Ints, lengths: Ints) -> Floats:
    """(flat,) 1, and for a last segment that is cut short its share of a whole one."""
    share = np.ones(int(lengths.sum()))
    share[starts_of(lengths) + lengths - 1] = (duration_ms - (lengths - 1) * SEGMENT_MS) / SEGMENT_MS
    return share


def _cover_click_probability(config: WatchingConfig, videos: Videos, moments: Moments, interest: Floats) -> Floats:
    logit = config.click_base_logit + videos.cover[moments.video] + config.click_interest_weight * interest
    two_column = np.array([page.two_column for page in PAGES])[moments.page]
    return np.where(two_column, 1 / (1 + np.exp(-logit)), 1.0)
