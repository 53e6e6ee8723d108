"""The page in headless Chromium: it renders, says nothing on the console, and asks nothing of the network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from ranking.report import write_page

if TYPE_CHECKING:
    from conftest import Browser


@pytest.fixture
def page(runs: Path) -> Path:
    return write_page(runs)


def test_page_renders_without_console_message_or_request(browser: Browser, page: Path) -> None:
    seen = browser.visit(page, "--dump-dom")
    for heading in ("Skip prediction", "CTR prediction", "Segment interest", "Where views end", "Training"):
        assert f">{heading}</h2>" in seen.dom
    assert "CONSOLE" not in seen.log, seen.log
    assert seen.asked == []


def test_the_watch_on_console_and_requests_sees_both(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error('broken')</script><img src='http://example.org/pixel.png'>", encoding="utf-8")
    seen = browser.visit(bad, "--dump-dom")
    assert re.search("CONSOLE.*broken", seen.log)
    assert seen.asked == ["http://example.org/pixel.png"]


@pytest.mark.parametrize("width", [1200, 500])
def test_screenshot_shows_text_and_colour(browser: Browser, page: Path, tmp_path: Path, width: int) -> None:
    shot = tmp_path / f"page{width}.png"
    browser.visit(page, f"--window-size={width},4000", f"--screenshot={shot}")
    image = Image.open(shot).convert("RGB")
    assert image.size == (width, 4000)
    counts = image.getcolors(maxcolors=1 << 24)
    assert counts is not None
    assert (31, 111, 139) in {colour for _, colour in counts}, "the colour of the model's marks"
    background = max(count for count, _ in counts)
    assert 0.02 < 1 - background / (width * 4000) < 0.8


@pytest.mark.parametrize("width", [1200, 500])
def test_nothing_is_wider_than_the_window(browser: Browser, page: Path, width: int) -> None:
    assert browser.too_wide(page, width) == 0
