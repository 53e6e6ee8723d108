"""Small made worlds that the tests of this room share."""

from __future__ import annotations

import pytest

from segrec.worlds.exposure import ExposureConfig
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
