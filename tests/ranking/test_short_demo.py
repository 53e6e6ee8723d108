"""The demo in small: every stage runs, what it measures is what the commands measure, and the page shows it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ranking.cli import build_app
from ranking.demos.short import ShortDemoConfig, run_short_demo
from ranking.demos.stages import DemoResult
from ranking.report import write_page
from segrec.records import ConfigError, DataError, RunFolder, ScoreTable, read_metric_rows

SMALL = {
    "users": 60, "items": 120, "impressions_per_user": 50, "encoder_epochs": 1, "folds": 2, "ranker_epochs": 1,
}  # fmt: skip
STAGES = ("simulate", "read", "fit", "score", "rank", "evaluate", "report")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoResult, list[str]]:
    out, told = tmp_path_factory.mktemp("demo") / "demo", list[str]()
    result = run_short_demo(out, ShortDemoConfig.checked(SMALL), told.append)
    return out, result, told


def test_each_stage_says_how_long_it_took(made: tuple[Path, DemoResult, list[str]]) -> None:
    _, result, told = made
    assert [line.split()[0] for line in told] == list(STAGES)
    assert all(line.split()[2] == "s" for line in told)
    assert sum(float(line.split()[1]) for line in told) == pytest.approx(result.seconds, abs=0.5)


def test_everything_lies_where_it_belongs(made: tuple[Path, DemoResult, list[str]]) -> None:
    out, result, _ = made
    assert {file.name for file in out.iterdir()} == {
        "world", "dataset", "encoder", "scores.parquet", "ranker_with_scores", "controls", "skip_test.json",
        "ctr_test.json", "report.html",
    }  # fmt: skip
    assert result.page == out / "report.html"
    scores = ScoreTable.open(out / "scores.parquet")
    assert scores.meta.folds is not None
    assert scores.meta.folds.folds == 2
    run = RunFolder.open(out / "ranker_with_scores", "ranker")
    assert run.meta.scores == str(scores.path)


def test_rows_hold_priors_placebos_and_the_oracle(made: tuple[Path, DemoResult, list[str]]) -> None:
    out, result, _ = made
    skip, ctr = {row.model for row in result.segments}, {row.model for row in result.ctr}
    assert {"segment_interest:hazard", "length_position", "item_shrunk", "user_shrunk", "oracle"} <= skip
    assert {"dcn_v2", "dcn_v2:features", "dcn_v2:features+placebo_shuffled", "oracle"} <= ctr
    paired = {(row.model, row.versus) for row in result.ctr if row.versus is not None}
    assert ("dcn_v2:features", "dcn_v2") in paired
    assert len(read_metric_rows(out / "skip_test.json")) == len(result.segments)
    oracle = {
        row.model: row.value for row in result.segments if (row.metric, row.cohort) == ("NLL", "all") and not row.versus
    }
    assert oracle["oracle"] == min(oracle.values())


def test_commands_measure_the_same(made: tuple[Path, DemoResult, list[str]], tmp_path: Path) -> None:
    out, result, _ = made
    file = tmp_path / "ctr.json"
    arguments = ["evaluate", "ctr", str(out / "ranker_with_scores"), str(out / "dataset"), "--out", str(file)]
    done = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output

    def auc(rows: list) -> list[float]:
        asked = ("dcn_v2:features", "AUC", "all", None)
        return [row.value for row in rows if (row.model, row.metric, row.cohort, row.versus) == asked]

    assert auc(read_metric_rows(file))[0] == pytest.approx(auc(result.ctr)[0], abs=1e-12)


def test_page_shows_every_section(made: tuple[Path, DemoResult, list[str]]) -> None:
    html = made[1].page.read_text(encoding="utf-8")
    assert "Not shown" not in html
    for text in ("the made world's truth", "With and without scores", "Calibration (test rows)", "placebo_shuffled"):
        assert text in html


def test_page_of_an_encoder_alone_is_drawn_from_its_frozen_weights(
    made: tuple[Path, DemoResult, list[str]], tmp_path: Path
) -> None:
    run = tmp_path / "encoder"
    shutil.copytree(made[0] / "encoder", run)
    html = write_page(run).read_text(encoding="utf-8")
    assert "Scores of segment_interest:hazard for views of the test rows" in html
    assert "Leaving a segment that was reached" in html


def test_command_ends_with_tables_and_page(tmp_path: Path) -> None:
    sets = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    done = CliRunner().invoke(build_app(), ["demo", "--out", str(tmp_path / "demo"), *sets], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.output.rstrip().endswith(str(tmp_path / "demo" / "report.html"))
    for text in ("Where views end", "segment_interest:hazard", "length_position", "of the oracle's lift", "is_click"):
        assert text in done.output
    assert "AUC, dcn_v2:features - dcn_v2:" in done.output
    again = CliRunner().invoke(build_app(), ["demo", "--out", str(tmp_path / "demo"), *sets])
    assert isinstance(again.exception, DataError)
    assert "exists already" in str(again.exception)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--world", "long"], "--world 'long' is unknown (known: short, live)"),
        (["--set", "users=0"], "users"),
        (["--set", "viewers=3"], "unknown field 'viewers' (known: seed, encoder_epochs"),
        (["--set", "folds=1"], "folds"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_made(tmp_path: Path, arguments: list[str], told: str) -> None:
    done = CliRunner().invoke(build_app(), ["demo", "--out", str(tmp_path / "demo"), *arguments])
    assert isinstance(done.exception, ConfigError)
    assert told in str(done.exception)
    assert list(tmp_path.iterdir()) == []
