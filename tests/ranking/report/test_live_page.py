"""The page of live rooms: what it draws of runs, and what it says when something is missing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ranking.report import write_page
from ranking.report.gathering import gather
from segrec.records import DatasetFolder

if TYPE_CHECKING:
    from conftest import Browser

HEADINGS = ("Highlight ranking", "Along live rooms", "Training")


def drawings(html: str, title: str) -> list[str]:
    """The SVGs of pictures whose title begins so."""
    return re.findall(rf'<div role="img" aria-label="{re.escape(title)}[^"]*">(<svg.*?</svg>)', html, flags=re.DOTALL)


@pytest.fixture(scope="module")
def page(live_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(live_runs, tmp_path_factory.mktemp("page") / "report.html")


def test_each_picture_is_there_with_its_data(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    (first, *_), (tau, *_) = drawings(html, "Room 10"), drawings(html, "tau_room by threshold")
    for name in ("true rate", "kuaihl:default", "wide_deep", "last_value", "observed"):
        assert name in first
    assert "kuaihl:default" in tau
    assert "streamer_mean" in tau
    (heat,) = [drawn for drawn in drawings(html, "Room 10") if "cheapest path" in drawn]
    assert heat.count("cosine: ") > 100, "a square a pair of segments"
    for title in ("Pointwise loss in training", "Pairwise loss in training", "L0", "L1 (in use here)", "L2", "L3"):
        assert len(drawings(html, title)) == 1, title


def test_live_rooms_have_no_views_of_videos(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert "Where views end" not in html
    assert "Not shown" not in html
    assert "Segment interest" not in html


def test_rows_above_a_threshold_are_folded(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    shown, folded = html.split("<summary>More tables", maxsplit=1)
    assert "tau_room@0.4" in folded
    assert 'scope="col">tau_room@0.4' not in shown
    assert "segments above a true rate" in folded


def test_runs_are_told_apart_by_what_they_are_about(live_runs: Path) -> None:
    found = {run.label: (run.task, run.of_rooms) for run in gather(live_runs).runs}
    assert found == dict.fromkeys(["encoder", "pair_L1", "ranker"], ("highlight", True))


def test_an_encoder_alone_names_the_commands_that_make_the_rest(
    live_runs: Path, live_dataset: DatasetFolder, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(live_runs / "encoder", run)
    html = write_page(run).read_text(encoding="utf-8")
    assert f"segrec evaluate highlight {run} {live_dataset.path} --out {run}/highlight_test.json" in html
    assert "segrec fit kuaihl" in html
    assert "--set align=mtam" in html
    assert len(drawings(html, "Room 10")) == 2
    assert not drawings(html, "Pairwise loss")


def test_without_a_made_truth_intervals_stand_for_it(
    live_runs: Path, live_dataset: DatasetFolder, tmp_path: Path
) -> None:
    truth = live_dataset.path / "truth_segments.parquet"
    kept = truth.rename(tmp_path / "kept.parquet")
    try:
        html = write_page(live_runs / "encoder", tmp_path / "page.html").read_text(encoding="utf-8")
    finally:
        kept.rename(truth)
    assert "true rate" not in html
    assert "mean distance from the observed: kuaihl:default" in html
    assert "the diagonal" not in html


def test_a_dataset_that_is_gone_leaves_the_rest(live_runs: Path, live_dataset: DatasetFolder, tmp_path: Path) -> None:
    away = live_dataset.path.rename(tmp_path / "away")
    try:
        html = write_page(live_runs, tmp_path / "page.html").read_text(encoding="utf-8")
    finally:
        away.rename(live_dataset.path)
    assert "no fitted encoder of live rooms with its dataset is here" in html
    assert len(drawings(html, "Pairwise loss in training")) == 1
    assert len(drawings(html, "tau_room by threshold")) == 1


def test_live_page_renders_without_console_message_or_request(browser: Browser, page: Path) -> None:
    seen = browser.visit(page, "--dump-dom")
    for heading in HEADINGS:
        assert f">{heading}</h2>" in seen.dom
    assert "CONSOLE" not in seen.log, seen.log
    assert seen.asked == []


@pytest.mark.parametrize("width", [1200, 500])
def test_nothing_on_the_live_page_is_wider_than_the_window(browser: Browser, page: Path, width: int) -> None:
    assert browser.too_wide(page, width) == 0
