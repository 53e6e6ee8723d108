"""The page in headless Chromium: it renders, says nothing on the console, and asks nothing of the network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from ranking.report import write_page

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What one visit left behind."""

    dom: str
    log: str
    asked: list[str]
    "Addresses that the page asked for; Chromium's own calls home (initiator `not an origin`) are not the page's."


@dataclass(frozen=True)
class Browser:
    """Headless Chromium behind a proxy that is not there: nothing leaves the machine."""

    binary: str
    home: Path

    def visit(self, page: Path, *flags: str) -> Seen:
        profile = self.home / f"profile{len(list(self.home.iterdir()))}"
        netlog = profile.with_suffix(".json")
        own = [f"--user-data-dir={profile}", f"--log-net-log={netlog}", "--proxy-server=http://127.0.0.1:9"]
        command = [self.binary, *_FLAGS, *own, *flags, page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return Seen(done.stdout, done.stderr, _asked(netlog))


def _asked(netlog: Path) -> list[str]:
    events = json.loads(netlog.read_text(encoding="utf-8"))["events"]
    starts = [event.get("params", {}) for event in events]
    own = ("not an origin", None)
    return [start["url"] for start in starts if "url" in start and start.get("initiator") not in own]


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    binary = next((found for found in map(shutil.which, _NAMES) if found), None)
    if binary is None:
        pytest.skip("Chromium is not installed: the page is not looked at (apt-get install chromium)")
    return Browser(binary, tmp_path_factory.mktemp("chromium"))


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
def test_nothing_is_wider_than_the_window(browser: Browser, page: Path, tmp_path: Path, width: int) -> None:
    """A copy of the page without its ban on scripts tells how far it scrolls sideways."""
    script = (
        "const page = document.documentElement; document.title = `${page.scrollWidth - page.clientWidth} px too wide`"
    )
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    copy = tmp_path / "copy.html"
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    seen = browser.visit(copy, f"--window-size={width},900", "--dump-dom")
    assert "<title>0 px too wide</title>" in seen.dom
