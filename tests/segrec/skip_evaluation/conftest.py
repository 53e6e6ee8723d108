"""A small made world, read into a dataset folder, that the tests of this room share."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ranking.cli import build_app
from segrec.records import DatasetFolder


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """About 3,000 impressions of 60 users and 80 videos, with truth."""
    folder: Path = tmp_path_factory.mktemp("skip_world")
    simulate = ["simulate", "short", "--out", str(folder / "raw"), "--users", "60", "--items", "80"]
    read = ["read", "kuairand", str(folder / "raw"), "--out", str(folder / "dataset")]
    for command in ([*simulate, "--impressions-per-user", "50", "--seed", "5"], read):
        done = CliRunner().invoke(build_app(), command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    return DatasetFolder.open(folder / "dataset")
