"""The page's HTML: every section, its text escaped, nothing fetched; and what it says when something is missing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ranking.cli import build_app
from ranking.report import write_page
from segrec.records import DataError, DatasetFolder

_LOADS = re.compile(
    r"""(?:src|href|xlink:href|action|data|poster)\s*=\s*["']?\s*([^"'\s>]+)|url\(\s*["']?([^"')]+)|@import"""
)


def test_page_asks_nothing_of_the_network_and_runs_no_script(runs: Path) -> None:
    html = write_page(runs).read_text(encoding="utf-8")
    loads = {found[1] or found[2] for found in _LOADS.finditer(html)}
    assert {load for load in loads if not load.startswith(("#", "data:"))} == set()
    assert "<script" not in html
    assert "default-src 'none'" in html


def test_every_text_is_escaped(runs: Path, made: Any) -> None:
    html = write_page(runs).read_text(encoding="utf-8")
    assert made.hostile not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3, "two configs and the dataset's source"


def test_hostile_model_names_are_escaped_in_pictures_too(tmp_path: Path, made: Any, dataset: DatasetFolder) -> None:
    run = made.run(tmp_path / "run", "encoder", dataset)
    rows = [made.row("skip", "exit", made.hostile, "NLL", -0.1, versus='</svg><img src="x">')]
    from segrec.records import write_metric_rows

    write_metric_rows(run / "skip_test.json", rows)
    html = write_page(run).read_text(encoding="utf-8")
    assert made.hostile not in html
    assert '<img src="x">' not in html


def test_page_tells_what_was_run(encoder_run: Path) -> None:
    html = write_page(encoder_run).read_text(encoding="utf-8")
    assert "<h1>segment_interest on table</h1>" in html
    assert "torch 2.13.0, torchrec 1.8.0" in html
    assert "duration_ms &lt;= 0: 12; exact duplicate: 3" in html
    assert "train 0, valid 0, test 600" in html
    assert "epochs: 3" in html
    assert ">made by hand<" in html


def test_default_place_and_out(encoder_run: Path, tmp_path: Path) -> None:
    assert write_page(encoder_run) == encoder_run / "report.html"
    assert write_page(encoder_run, tmp_path / "sub" / "page.html").is_file()


def test_the_same_run_gives_the_same_page(encoder_run: Path) -> None:
    assert write_page(encoder_run).read_bytes() == write_page(encoder_run).read_bytes()


def test_a_bare_run_names_the_commands_that_make_the_rest(tmp_path: Path, made: Any, dataset: DatasetFolder) -> None:
    run = made.run(tmp_path / "run", "ranker", dataset)
    (run / "ctr_test.json").unlink()
    shutil.rmtree(run / "events")
    html = write_page(run).read_text(encoding="utf-8")
    assert f"segrec evaluate ctr {run} {dataset.path} --out {run}/ctr_test.json" in html
    assert "this ranker ran without segment scores" in html
    assert "this run wrote no TensorBoard events" in html


def test_several_labels_are_as_many_options(tmp_path: Path, made: Any, dataset: DatasetFolder) -> None:
    run = made.run(tmp_path / "run", "ranker", dataset, label="is_click+watch_time")
    html = write_page(run).read_text(encoding="utf-8")
    assert "-with-scores --label is_click --label watch_time --scores" in html


def test_without_scores_the_encoder_page_names_the_score_command(
    tmp_path: Path, made: Any, dataset: DatasetFolder
) -> None:
    html = write_page(made.run(tmp_path / "run", "encoder", dataset)).read_text(encoding="utf-8")
    assert "segrec score ENCODER_RUN" in html


def test_a_dataset_that_changed_is_said_and_not_used(tmp_path: Path, made: Any) -> None:
    other = made.dataset(tmp_path / "other", users=3, fingerprint="e" * 64)
    html = write_page(made.run(tmp_path / "run", "encoder", other)).read_text(encoding="utf-8")
    assert "is not there any more, or has changed since the run" in html
    assert "Dataset: table" not in html


def test_scores_of_another_dataset_are_not_drawn(tmp_path: Path, made: Any, dataset: DatasetFolder) -> None:
    other = made.dataset(tmp_path / "other", users=3, fingerprint="e" * 64)
    run = made.run(tmp_path / "runs" / "encoder", "encoder", dataset)
    made.scores(run / "scores.parquet", other)
    assert "Not shown: no score table" in write_page(run).read_text(encoding="utf-8")


def test_relevance_scores_are_drawn_but_not_read_as_probabilities(
    tmp_path: Path, made: Any, dataset: DatasetFolder
) -> None:
    run = made.run(tmp_path / "run", "encoder", dataset)
    made.scores(run / "scores.parquet", dataset, kind="relevance")
    html = write_page(run).read_text(encoding="utf-8")
    assert "highest score of that view" in html
    assert "are no probabilities" in html


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("metrics.json", "[{", "metrics.json: is not JSON"),
        ("ctr_test.json", '[{"task": "ctr"}]', "ctr_test.json: is not a list of metric rows"),
        ("run.json", "{}", "run.json: does not parse"),
    ],
)
def test_damaged_files_are_named(encoder_run: Path, name: str, text: str, told: str) -> None:
    (encoder_run / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(told)):
        write_page(encoder_run)
    assert not (encoder_run / "report.html").exists()


def test_a_folder_as_out_is_refused(encoder_run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written: Is a directory"):
        write_page(encoder_run, tmp_path)
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}*"))


def test_command_prints_the_place_and_refuses_a_folder_without_runs(encoder_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(build_app(), ["report", str(encoder_run), "--out", str(out)])
    assert (done.exit_code, done.output.strip()) == (0, str(out))
    failed = CliRunner().invoke(build_app(), ["report", str(tmp_path / "none")])
    assert isinstance(failed.exception, DataError)
    assert "is not a run folder, nor does it hold any" in str(failed.exception)
