"""What a made live world shows and says: vectors of frames and of speech and comments over one latent topic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from segrec.records import Config
from segrec.worlds.jagged import Bools, Floats, Ints, positions_of
from segrec.worlds.live_rooms import LiveRooms, wandering
from segrec.worlds.live_streamers import ACTIVITIES


class ContentConfig(Config):
    """How much content shows, and how far speech and frames lie apart."""

    visual_dim: PositiveInt = 48
    "Width of the frames' vector."
    text_dim: PositiveInt = 32
    "Width of the vector of speech and comments."
    drift_dim: PositiveInt = 6
    "Directions in which the topic moves slowly, without any bearing on the rates."
    drift_weight: NonNegativeFloat = 1.0
    "Size of that movement; it is what frames and text can be aligned by inside one activity."
    drift_persistence: float = Field(default=0.9, ge=0, lt=1)
    "Its autocorrelation from one segment to the next."
    look_weight: NonNegativeFloat = 0.5
    "Size of the streamer's own look in the frames."
    visual_noise: NonNegativeFloat = 0.35
    "Standard deviation of the noise in each entry of a frames' vector (the topic's part has entries near 1 to 2)."
    text_noise: NonNegativeFloat = 0.8
    "The same for text: larger, in fewer entries, and late: text carries less."
    largest_lag: NonNegativeInt = 2
    "Segments by which text is behind the frames, at most."
    largest_lead: NonNegativeInt = 0
    "Segments by which text is ahead of the frames, at most; both 0 = aligned."
    offset_segments: float = Field(default=12.0, ge=1)
    "Mean number of segments until the offset is drawn anew, each value equally likely."
    frozen_share: float = Field(default=0.03, ge=0, lt=1)
    "Share of segments whose frames repeat the segment before."
    frozen_segments: float = Field(default=3.0, ge=1)
    "Mean length of a freeze."
    silent_share: float = Field(default=0.1, ge=0, lt=1)
    "Share of segments without speech and comments."
    silent_segments: float = Field(default=2.0, ge=1)
    "Mean length of a silence."


@dataclass(frozen=True)
class LiveContent:
    """Content of T segments. The latent topic is the activity, the excitement and a slowly moving direction."""

    topic: Floats
    "(T, K) latent topic; the last column is the excitement that is heard only, frames do not show it."
    visual: Floats
    "(T, visual_dim) topic through a fixed random projection, the streamer's look, noise; a freeze repeats all of it."
    text: Floats
    "(T, text_dim) topic of the segment `text_offset` later through another projection, noise; 0 where silent."
    text_offset: Ints
    "(T,) text of segment t speaks of segment t + text_offset: below 0 = behind the frames; never outside the room."
    frozen: Bools
    "(T,) frames repeat those of the segment before."
    silent: Bools
    "(T,) no speech, no comments."

    @property
    def spoken_of(self) -> Ints:
        """(T,) flat index of the segment that the text speaks of."""
        return np.arange(len(self.text_offset)) + self.text_offset


def draw_content(config: ContentConfig, rooms: LiveRooms, rng: np.random.Generator) -> LiveContent:
    """Content of all rooms, drawn from the config."""
    lengths, n = rooms.lengths, len(rooms.start_ms)
    topic = _topics(config, rooms, rng)
    look = rng.normal(0, config.look_weight, (int(rooms.streamer.max()) + 1, config.visual_dim))
    shows = topic[:, :-1] @ rng.normal(size=(topic.shape[1] - 1, config.visual_dim))
    visual = shows + look[rooms.streamer[rooms.room]]
    visual += rng.normal(0, config.visual_noise, visual.shape)
    frozen = _runs(config.frozen_share, config.frozen_segments, n, rng) & (positions_of(lengths) > 0)
    shown = np.maximum.accumulate(np.where(frozen, 0, np.arange(n)))
    offset = _offsets(config, lengths, rng)
    projection = rng.normal(size=(topic.shape[1], config.text_dim))
    text = topic[np.arange(n) + offset] @ projection + rng.normal(0, config.text_noise, (n, config.text_dim))
    silent = _runs(config.silent_share, config.silent_segments, n, rng)
    return LiveContent(
        topic=topic,
        visual=visual[shown],
        text=np.where(silent[:, None], 0.0, text),
        text_offset=offset,
        frozen=frozen,
        silent=silent,
    )


def _topics(config: ContentConfig, rooms: LiveRooms, rng: np.random.Generator) -> Floats:
    activity = np.eye(len(ACTIVITIES))[rooms.activity]
    drift = wandering(config.drift_persistence, rooms.lengths, rng, width=config.drift_dim)
    return np.hstack([activity, rooms.seen[:, None], config.drift_weight * drift, rooms.heard[:, None]])


def _offsets(config: ContentConfig, lengths: Ints, rng: np.random.Generator) -> Ints:
    """(T,) piecewise constant in -largest_lag .. largest_lead, cut at the room's first and last segment."""
    n, positions = int(lengths.sum()), positions_of(lengths)
    drawn = rng.integers(-config.largest_lag, config.largest_lead + 1, n)
    begins = (rng.random(n) < 1 / config.offset_segments) | (positions == 0)
    offset = drawn[np.maximum.accumulate(np.where(begins, np.arange(n), 0))]
    last = np.repeat(lengths - 1, lengths)
    inside: Ints = np.clip(positions + offset, 0, last) - positions
    return inside


def _runs(share: float, mean_length: float, n: int, rng: np.random.Generator) -> Bools:
    """(n,) a two-state Markov chain: `share` of the places lie in runs of geometric length."""
    leave = 1 / mean_length
    enter = min(1.0, leave * share / (1 - share))
    point = rng.random(n)
    switch = np.zeros(n, dtype=np.bool_)
    inside = point[0] < share
    for place, value in enumerate(point.tolist()):
        inside = (value >= leave) if inside else (value < enter)
        switch[place] = inside
    return switch
