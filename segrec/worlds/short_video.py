"""A made short-video world: viewers, videos, what was shown, how it was watched, and the truth behind each row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from pydantic import NonNegativeInt

from segrec.records import Config
from segrec.worlds.exposure import ExposureConfig, Exposures, draw_exposures, impression_times
from segrec.worlds.feedback import draw_feedback
from segrec.worlds.jagged import Ints, list_column, row_sums
from segrec.worlds.publisher_rules import least_long_view_ms, least_valid_play_ms, play_probability
from segrec.worlds.videos import DAY_MS, Videos, VideosConfig, draw_videos
from segrec.worlds.viewers import Viewers, ViewersConfig, draw_viewers
from segrec.worlds.watching import (
    PAGES,
    Moments,
    ViewTruth,
    WatchingConfig,
    draw_exits,
    draw_watch_ms,
    view_truth,
)

SECOND_HALF_MS = 1_650_556_800_000
"2022-04-22 00:00 in UTC+8: the publisher's second log begins."
_CHUNK = 100_000


class ShortVideoConfig(Config):
    """A world is its config: the same config gives the same world."""

    seed: NonNegativeInt = 0
    viewers: ViewersConfig = ViewersConfig()
    videos: VideosConfig = VideosConfig()
    exposure: ExposureConfig = ExposureConfig()
    watching: WatchingConfig = WatchingConfig()

    @property
    def first_day_ms(self) -> int:
        """Epoch ms of the first day's start: half of the days (rounded down) lie before 2022-04-22 in UTC+8."""
        return SECOND_HALF_MS - self.exposure.days // 2 * DAY_MS


@dataclass(frozen=True)
class ShortVideoWorld:
    """A made world. Rows of `impressions` and `truth` belong together and are in order of time."""

    config: ShortVideoConfig
    viewers: Viewers
    videos: Videos
    impressions: pl.DataFrame
    """viewer, video (indices), user_id, item_id, time_ms (epoch), duration_ms, watch_ms, tab, is_random, is_click,
    long_view, and the flags and times of `feedback`; (user_id, time_ms) is unique."""
    truth: pl.DataFrame
    """user_id, item_id, time_ms, interest, hazard, exit_probability, start_probability, click_probability,
    long_view_probability: see `truth_frame`."""


def make_short_video(config: ShortVideoConfig) -> ShortVideoWorld:
    """Draws the world. Each part has its own stream of random numbers, so that parts change independently."""
    streams = [np.random.default_rng(part) for part in np.random.SeedSequence(config.seed).spawn(5)]
    days = config.exposure.days
    page_shares = np.array([page.share for page in PAGES])
    viewers = draw_viewers(
        config.viewers, topics=config.videos.topics, page_shares=page_shares, days=days, rng=streams[0]
    )
    videos = draw_videos(config.videos, days=days, rng=streams[1])
    exposures = draw_exposures(config.exposure, viewers, videos, streams[2])
    parts = [_watch(config.watching, viewers, videos, moments, streams[3]) for moments in _chunks(exposures.moments)]
    rows = pl.concat([part[0] for part in parts])
    at_ms = config.first_day_ms + impression_times(exposures, rows["watch_ms"].to_numpy(), streams[4])
    rows = _with_keys(rows, viewers, videos, exposures, at_ms)
    order = np.lexsort((rows["user_id"].to_numpy(), at_ms))
    truth = pl.concat([part[1] for part in parts])
    truth = pl.concat([rows.select("user_id", "item_id", "time_ms"), truth], how="horizontal")
    return ShortVideoWorld(config, viewers, videos, rows[order], truth[order])


def truth_frame(truth: ViewTruth, moments: Moments, videos: Videos) -> pl.DataFrame:
    """The truth of R impressions, exact given the world's latents: what the best possible model would say.

    interest, hazard: one value a segment; exit_probability: one more, the last for "watched to the end"; these hold
    for a view that started (watch_ms > 0), which has `start_probability`. click_probability and
    long_view_probability are those of the impression's flags.
    """
    lengths, duration_ms = truth.lengths, videos.duration_ms[moments.video]
    played = [
        truth.start_probability * play_probability(truth.exit_probability, lengths, duration_ms, least_ms(duration_ms))
        for least_ms in (least_valid_play_ms, least_long_view_ms)
    ]
    click = np.where(_two_column(moments.page), truth.cover_click_probability, played[0])
    return pl.DataFrame(
        [
            list_column("interest", truth.interest, lengths),
            list_column("hazard", truth.hazard, lengths),
            list_column("exit_probability", truth.exit_probability, lengths + 1),
            pl.Series("start_probability", truth.start_probability, dtype=pl.Float32),
            pl.Series("click_probability", click, dtype=pl.Float32),
            pl.Series("long_view_probability", played[1], dtype=pl.Float32),
        ]
    )


def _watch(
    config: WatchingConfig, viewers: Viewers, videos: Videos, moments: Moments, rng: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Draws what happens at these impressions; returns the outcomes and the truth, row by row."""
    truth = view_truth(config, viewers, videos, moments)
    lengths, duration_ms = truth.lengths, videos.duration_ms[moments.video]
    n = len(lengths)
    cover_click = rng.random(n) < truth.cover_click_probability
    started = cover_click & (rng.random(n) >= config.zero_play_share)
    exit_segment = draw_exits(truth.exit_probability, lengths, rng)
    watch_ms = np.where(started, draw_watch_ms(config, exit_segment, lengths, duration_ms, rng), 0)
    click = np.where(_two_column(moments.page), cover_click, watch_ms >= least_valid_play_ms(duration_ms))
    outcomes = pl.DataFrame(
        {
            "viewer": moments.viewer,
            "video": moments.video,
            "duration_ms": duration_ms,
            "watch_ms": watch_ms,
            "tab": np.array([page.tab for page in PAGES])[moments.page],
            "is_click": click.astype(np.int64),
            "long_view": (watch_ms >= least_long_view_ms(duration_ms)).astype(np.int64),
            **draw_feedback(watch_ms, duration_ms, row_sums(truth.interest, lengths) / lengths, rng),
        }
    )
    return outcomes, truth_frame(truth, moments, videos)


def _two_column(page: Ints) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    flags = np.array([page.two_column for page in PAGES])
    return flags[page]


def _chunks(moments: Moments) -> list[Moments]:
    cuts = range(0, len(moments.viewer), _CHUNK)
    return [
        Moments(*(values[low : low + _CHUNK] for values in (moments.viewer, moments.video, moments.page, moments.hour)))
        for low in cuts
    ]


def _with_keys(rows: pl.DataFrame, viewers: Viewers, videos: Videos, exposures: Exposures, at_ms: Ints) -> pl.DataFrame:
    return rows.with_columns(
        pl.Series("user_id", viewers.user_id[exposures.moments.viewer]),
        pl.Series("item_id", videos.item_id[exposures.moments.video]),
        pl.Series("time_ms", at_ms),
        pl.Series("is_random", exposures.is_random.astype(np.int64)),
    )
