"""Fixtures for all rooms: where the real samples lie, and one thread a test so that times and sums repeat."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("segrec", deadline=None)  # a busy machine is not a failure
settings.load_profile("segrec")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--samples", type=Path, default=None, help="folder of the real samples (README says where from)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` skip where there is no CUDA device, and say so."""
    import torch

    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def samples(request: pytest.FixtureRequest) -> Path:
    """The folder of real samples; tests that need it skip without it."""
    folder: Path | None = request.config.getoption("--samples")
    if folder is None:
        pytest.skip("real samples not given: run pytest --samples=DIR (make test SAMPLES=DIR)")
    if not folder.is_dir():
        pytest.fail(f"--samples {folder} is not a folder")
    return folder.resolve()


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
