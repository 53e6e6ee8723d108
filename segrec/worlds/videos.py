"""The videos of a made short-video world: paths of topics over segments, content vectors, quality, authors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt

from segrec.records import Config
from segrec.worlds.jagged import Floats, Ints, positions_of, rows_of, starts_of

SEGMENT_MS = 5_000
DAY_MS = 86_400_000
_SHORTEST_MS, _LONGEST_MS = 5_000, 199_900
_SHORTEST_LAST_SEGMENT_MS = 100


class VideosConfig(Config):
    """What is watched."""

    items: PositiveInt = 1_500
    "Number of videos."
    topics: int = Field(default=12, ge=2)
    "Number of topics that content is made of."
    authors: PositiveInt | None = None
    "Number of authors; None = one for five videos."
    median_seconds: float = Field(default=20.0, ge=5, le=200)
    "Median duration; the logarithm is normal, cut to 5 .. 200 s."
    duration_spread: NonNegativeFloat = 0.85
    "Standard deviation of the duration's logarithm."
    stay_on_topic: float = Field(default=0.5, ge=0, le=1)
    "Probability that a segment keeps the topic of the one before."
    topic_share: float = Field(default=0.85, ge=0, le=1)
    "Weight of a segment's own topic in its mixture; the rest is the author's mixture."
    author_focus: float = Field(default=0.6, gt=0)
    "Dirichlet concentration of an author's topics: small = specialists."
    quality_spread: NonNegativeFloat = 0.5
    "Standard deviation of quality, in logits of the skip hazard."
    popularity_spread: NonNegativeFloat = 1.0
    "Standard deviation of the logarithm of a video's exposure, beside what quality brings."
    new_share: float = Field(default=0.3, ge=0, lt=1)
    "Share of videos uploaded after the first day."
    vector_dim: PositiveInt = 32
    "Width of a segment's content vector."
    vector_noise: NonNegativeFloat = 0.3
    "Standard deviation of the noise in each entry of a content vector."


@dataclass(frozen=True)
class Videos:
    """Latents of V videos (in order of upload) with F segments in all, over K topics; public ids are a permutation."""

    item_id: Ints
    "(V,)"
    author: Ints
    "(V,)"
    duration_ms: Ints
    "(V,)"
    upload_ms: Ints
    "(V,) ascending, relative to the world's first day."
    quality: Floats
    "(V,) logits by which the video's skip hazard is lower for everybody."
    cover: Floats
    "(V,) logits by which the cover raises a click in the two-column page."
    exposure: Floats
    "(V,) relative exposure by popularity."
    mixture: Floats
    "(F, K) topic mixture of each segment, rows sum to 1."
    vectors: Floats
    "(F, D) content vector of each segment."

    @property
    def lengths(self) -> Ints:
        """(V,) number of segments."""
        return -(-self.duration_ms // SEGMENT_MS)

    @property
    def starts(self) -> Ints:
        """(V,) flat index of each video's first segment."""
        return starts_of(self.lengths)

    @property
    def mean_mixture(self) -> Floats:
        """(V, K) topic mixture of the whole video."""
        sums: Floats = np.add.reduceat(self.mixture, self.starts, axis=0)
        return sums / self.lengths[:, None]


def draw_videos(config: VideosConfig, *, days: int, rng: np.random.Generator) -> Videos:
    """Videos drawn from the config; a content vector is the projected mixture and a trace of quality, plus noise."""
    n = config.items
    authors = config.authors or max(1, n // 5)
    author = rng.integers(authors, size=n)
    author_mixture = rng.dirichlet(np.full(config.topics, config.author_focus), authors)
    author_mixture = 0.97 * author_mixture + 0.03 / config.topics
    duration_ms = _durations(config, rng)
    lengths = -(-duration_ms // SEGMENT_MS)
    author_quality = rng.normal(0, 0.5 * config.quality_spread, authors)
    quality = author_quality[author] + rng.normal(0, np.sqrt(0.75) * config.quality_spread, n)
    topic = _topic_paths(config, author_mixture[author], lengths, rng)
    mixture = (1 - config.topic_share) * author_mixture[author][rows_of(lengths)]
    mixture[np.arange(len(topic)), topic] += config.topic_share
    return Videos(
        item_id=rng.permutation(n).astype(np.int64),
        author=author,
        duration_ms=duration_ms,
        upload_ms=_uploads(config, days, rng),
        quality=quality,
        cover=0.6 * quality + rng.normal(0, 0.8, n),
        exposure=np.exp(0.8 * quality + rng.normal(0, config.popularity_spread, n)),
        mixture=mixture,
        vectors=_content_vectors(config, mixture, quality[rows_of(lengths)], rng),
    )


def _durations(config: VideosConfig, rng: np.random.Generator) -> Ints:
    seconds = config.median_seconds * np.exp(rng.normal(0, config.duration_spread, config.items))
    duration_ms = np.clip(seconds * 1000, _SHORTEST_MS, _LONGEST_MS).astype(np.int64)
    into_last = duration_ms % SEGMENT_MS
    too_short = (into_last > 0) & (into_last < _SHORTEST_LAST_SEGMENT_MS)
    return np.where(too_short, duration_ms - into_last + _SHORTEST_LAST_SEGMENT_MS, duration_ms)


def _uploads(config: VideosConfig, days: int, rng: np.random.Generator) -> Ints:
    """Old videos come from the 30 days before; the first one is always old."""
    new = rng.random(config.items) < config.new_share
    new[0] = False
    old_ms = -rng.integers(1, 30 * DAY_MS, config.items)
    return np.sort(np.where(new, rng.integers(0, days * DAY_MS, config.items), old_ms))


def _topic_paths(config: VideosConfig, mixture: Floats, lengths: Ints, rng: np.random.Generator) -> Ints:
    """(F,) Markov paths: stay with probability `stay_on_topic`, else draw anew from the author's mixture."""
    rows, positions = rows_of(lengths), positions_of(lengths)
    fresh = (rng.random((len(rows), 1)) > np.cumsum(mixture, axis=1)[rows]).sum(axis=1)
    drawn = np.minimum(fresh, config.topics - 1)
    renewed = (positions == 0) | (rng.random(len(rows)) >= config.stay_on_topic)
    latest: Ints = np.maximum.accumulate(np.where(renewed, np.arange(len(rows)), 0))
    topic: Ints = drawn[latest].astype(np.int64)
    return topic


def _content_vectors(config: VideosConfig, mixture: Floats, quality: Floats, rng: np.random.Generator) -> Floats:
    projection = rng.normal(0, 1, (config.topics, config.vector_dim))
    quality_trace = rng.normal(0, 0.5, config.vector_dim)
    noise = rng.normal(0, config.vector_noise, (len(mixture), config.vector_dim))
    vectors: Floats = mixture @ projection + quality[:, None] * quality_trace + noise
    return vectors
