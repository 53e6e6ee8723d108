"""The live demo in small: every stage runs, live scores are the batch ones, and the page shows it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ranking.cli import build_app
from ranking.demos.live import LiveDemoConfig, run_live_demo
from ranking.demos.live_replay import replay
from ranking.demos.stages import DemoResult
from ranking.report import write_page
from segrec.records import ConfigError, DatasetFolder, RunFolder, ScoreTable, read_metric_rows

SMALL = {
    "rooms": 24, "segments": 26, "exposures": 6, "encoder_epochs": 1, "segment_ranker_epochs": 1, "loss_epochs": 1,
    "ranker_epochs": 1, "replicates": 50,
}  # fmt: skip
STAGES = ("simulate", "read", "fit", "losses", "score", "rank", "evaluate", "replay", "report")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoResult, list[str]]:
    out, told = tmp_path_factory.mktemp("demo") / "demo", list[str]()
    result = run_live_demo(out, LiveDemoConfig.checked(SMALL), told.append)
    return out, result, told


def test_each_stage_says_how_long_it_took(made: tuple[Path, DemoResult, list[str]]) -> None:
    _, result, told = made
    assert [line.split()[0] for line in told] == list(STAGES)
    assert sum(float(line.split()[1]) for line in told) == pytest.approx(result.seconds, abs=0.6)


def test_everything_lies_where_it_belongs(made: tuple[Path, DemoResult, list[str]]) -> None:
    out, result, _ = made
    assert {file.name for file in out.iterdir()} == {
        "world", "dataset", "kuaihl", "content_ctr", "pair_L0", "pair_L1", "scores.parquet", "difm",
        "ranker_with_scores", "controls", "highlight_test.json", "ctr_test.json", "report.html",
    }  # fmt: skip
    scores = ScoreTable.open(out / "scores.parquet")
    assert scores.meta.form == "live"
    assert scores.meta.folds is not None
    assert RunFolder.open(out / "ranker_with_scores", "ranker").meta.scores == str(scores.path)
    assert len(read_metric_rows(out / "highlight_test.json")) == len(result.segments)


def test_rows_hold_simple_predictors_placebos_and_the_oracle(made: tuple[Path, DemoResult, list[str]]) -> None:
    _, result, _ = made
    highlight, ctr = {row.model for row in result.segments}, {row.model for row in result.ctr}
    assert {"kuaihl:default", "difm", "last_value", "room_mean", "streamer_mean", "oracle"} <= highlight
    assert {"dcn_v2", "dcn_v2:features", "dcn_v2:features+placebo_shuffled", "room_age", "oracle"} <= ctr
    first, second = result.tables
    assert (first.share, second.share) == ("tau_room", "AUC")
    for table in result.tables:
        shares = {row.model for row in table.rows if row.metric == f"oracle_share_{table.share}"}
        assert any(model.startswith(table.models[0]) for model in shares)


def test_live_scores_are_the_batch_ones(made: tuple[Path, DemoResult, list[str]]) -> None:
    out, _, told = made
    dataset = DatasetFolder.open(out / "dataset")
    found = replay(RunFolder.open(out / "content_ctr"), dataset)
    assert len(found.live) == dataset.meta.segments["test"]
    np.testing.assert_allclose(found.live, found.batch, atol=1e-5)
    assert (found.milliseconds > 0).all()
    line = next(line for line in told if line.startswith("replay"))
    measured = re.search(r"differ by (\S+) at most", line)
    assert measured is not None
    assert float(measured[1]) <= 1e-5


def test_page_shows_every_section(made: tuple[Path, DemoResult, list[str]]) -> None:
    html = made[1].page.read_text(encoding="utf-8")
    assert "Not shown" not in html
    for text in (
        "Along live rooms", "true rate", "true offset", "the diagonal", "Pairwise loss in training", "L1 (in use here)",
        "tau_room by threshold", "With and without scores", "placebo_shuffled", "Calibration (test rows)",
    ):  # fmt: skip
        assert text in html


def test_page_of_an_encoder_alone(made: tuple[Path, DemoResult, list[str]], tmp_path: Path) -> None:
    run = tmp_path / "kuaihl"
    shutil.copytree(made[0] / "kuaihl", run)
    html = write_page(run).read_text(encoding="utf-8")
    assert "Along live rooms" in html
    assert "segrec evaluate highlight" in html
    assert "Where views end" not in html


def test_wrong_settings_are_named_before_anything_is_made(tmp_path: Path) -> None:
    arguments = ["demo", "--world", "live", "--out", str(tmp_path / "demo"), "--set", "users=3"]
    done = CliRunner().invoke(build_app(), arguments)
    assert isinstance(done.exception, ConfigError)
    assert "unknown field 'users' (known: seed, encoder_epochs" in str(done.exception)
    assert list(tmp_path.iterdir()) == []
