"""Small made worlds that the tests of this room share."""

from __future__ import annotations

import pytest

from segrec.worlds.exposure import ExposureConfig
from segrec.worlds.live import LiveConfig, LiveWorld, make_live
from segrec.worlds.short_video import ShortVideoConfig, ShortVideoWorld, make_short_video
from segrec.worlds.videos import VideosConfig
from segrec.worlds.viewers import ViewersConfig


def small_config(seed: int = 3, users: int = 120, items: int = 300, impressions_per_user: int = 100):
    return ShortVideoConfig(
        seed=seed,
        viewers=ViewersConfig(users=users),
        videos=VideosConfig(items=items),
        exposure=ExposureConfig(impressions_per_user=impressions_per_user),
    )


@pytest.fixture(scope="session")
def world() -> ShortVideoWorld:
    """12,000 impressions of 120 users and 300 videos."""
    return make_short_video(small_config())


@pytest.fixture(scope="session")
def tiny_world() -> ShortVideoWorld:
    """600 impressions of 20 users and 40 videos."""
    return make_short_video(small_config(users=20, items=40, impressions_per_user=30))


@pytest.fixture
def make_config():
    return small_config


SMALL_LIVE = ("rooms.rooms=48", "rooms.segments=24", "audience.users=800", "audience.exposures=70")


@pytest.fixture(scope="session")
def live_world() -> LiveWorld:
    """48 rooms of about 24 segments, 800 users; text up to two segments behind and one ahead of the frames."""
    return make_live(LiveConfig.of(None, [*SMALL_LIVE, "content.largest_lead=1", "seed=5"]))


@pytest.fixture(scope="session")
def even_live_world() -> LiveWorld:
    """The same with segments of 30 s only, as KLive's form needs."""
    return make_live(LiveConfig.of(None, [*SMALL_LIVE, "rooms.varying_share=0", "seed=6"]))


@pytest.fixture
def make_live_world():
    """A world of 6 rooms and 60 users, changed by settings."""

    def make(*sets: str) -> LiveWorld:
        tiny = ("rooms.rooms=6", "rooms.segments=8", "audience.users=60", "audience.exposures=20")
        return make_live(LiveConfig.of(None, [*tiny, *sets]))

    return make
