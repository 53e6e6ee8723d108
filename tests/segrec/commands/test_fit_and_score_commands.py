"""`segrec fit` and `segrec score` as typed: outputs, exit codes, one-line errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from ranking.cli import main
from segrec.records import DatasetFolder, RunFolder, ScoreTable, read_metric_rows
from segrec.segments.views import skip_views_of
from segrec.testing.live_dataset import make_live_dataset

SMALL = ["--set", "epochs=1", "--set", "batch_size=64", "--set", "width=16", "--set", "device=cpu"]


def segrec(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit code of a command line."""
    monkeypatch.setattr(sys, "argv", ["segrec", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def run(interest_dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    out = tmp_path / "run"
    assert segrec(monkeypatch, "fit", "segment_interest", interest_dataset.path, "--out", out, *SMALL) == 0
    return out


def test_fit_leaves_a_complete_run(
    capsys: pytest.CaptureFixture[str], run: Path, interest_dataset: DatasetFolder
) -> None:
    told = capsys.readouterr().out
    assert "segment_interest:hazard" in told
    assert "note: the dataset has no segment vectors 'visual'" in told
    opened = RunFolder.open(run, "encoder")
    assert opened.meta.dataset_fingerprint == interest_dataset.meta.fingerprint
    config = yaml.safe_load(opened.config.read_text())
    assert (config["width"], config["variant"], config["learning_rate"]) == (16, "hazard", 0.002)
    rows = read_metric_rows(opened.metrics)
    views = skip_views_of(interest_dataset, ["valid"])
    skipped = views.filter(views["exit_segment"] < views["n_segments"]).height
    assert {(row.metric, row.n) for row in rows} == {("NLL", views.height), ("NDCG@5", skipped)}
    assert {"checkpoints", "events", "frozen"} <= {file.name for file in run.iterdir()}
    assert not run.with_name("run.partial").exists()


def test_score_writes_a_table(
    run: Path, interest_dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "scores.parquet"
    assert segrec(monkeypatch, "score", run, interest_dataset.path, "--out", out) == 0
    assert "480 rows, stay_probability by segment_interest:hazard" in capsys.readouterr().out
    assert ScoreTable.open(out).meta.folds is None
    assert segrec(monkeypatch, "score", run, interest_dataset.path, "--out", out) == 2
    assert "exists already" in capsys.readouterr().err
    assert segrec(
        monkeypatch, "score", run, interest_dataset.path, "--out", out, "--overwrite", "--cross-fit", 2
    ) == 0  # fmt: skip
    assert ScoreTable.open(out).meta.folds is not None


def test_score_imports(
    run: Path, interest_dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, brought = tmp_path / "own.parquet", tmp_path / "brought.parquet"
    assert segrec(monkeypatch, "score", run, interest_dataset.path, "--out", own) == 0
    words = ["score", "--import", own, interest_dataset.path, "--trained-until", "2022-01-11", "--out", brought]
    assert segrec(monkeypatch, *words) == 0
    assert ScoreTable.open(brought).meta.encoder == "imported"


def test_a_changed_run_is_refused(
    run: Path, interest_dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    config = run / "frozen" / "config.json"
    changed = json.loads(config.read_text())
    config.write_text(json.dumps(changed))
    out = tmp_path / "scores.parquet"
    assert segrec(monkeypatch, "score", run, interest_dataset.path, "--out", out) == 2
    assert "config.json: was changed after freezing" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "segmm", "DATASET"], "unknown encoder 'segmm' (known: "),
        (["fit", "segment_interest", "nowhere"], "is not a dataset folder"),
        (["fit", "segment_interest", "DATASET", "--set", "epoch=1"], "unknown field 'epoch'"),
        (["fit", "segment_interest", "DATASET", "--set", "epochs"], "not of the form key=value"),
        (["fit", "segment_interest", "DATASET", "--config", "none.yaml"], "none.yaml: cannot be read"),
        (["score", "DATASET"], "segrec score takes RUN DATASET"),
        (["score", "DATASET", "DATASET"], "is not a run folder"),
        (["score", "--import", "none.parquet", "DATASET"], "--import needs --trained-until DATE"),
        (["score", "--import", "none.parquet", "DATASET", "--trained-until", "2022-01-01"], "cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_line_and_exit_2(
    interest_dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], *, words: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    typed = [interest_dataset.path if word == "DATASET" else word for word in words]
    assert segrec(monkeypatch, *typed, "--out", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "segment_interest", "LIVE"], "LIVE: holds live rooms (expected: views of videos)"),
        (["fit", "kuaihl", "VIDEOS"], "has no live rooms"),
        (["fit", "kuaihl", "LIVE", "--set", "target=gifts"], "has no rate 'gifts' (found: "),
        (["fit", "ant_pivot", "LIVE", "--set", "heads=3"], "AntPivotConfig: width 64 does not divide by heads 3"),
        (["score", "RUN", "LIVE"], "LIVE: holds live rooms"),
        (["evaluate", "skip", "RUN", "LIVE"], "LIVE: holds live rooms"),
        (["evaluate", "highlight", "RUN", "VIDEOS"], "holds an encoder of views"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_videos_and_live_rooms_are_not_mixed_up(
    run: Path, interest_dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], *, words: list[str], message: str,
) -> None:  # fmt: skip
    folder = tmp_path / "typed"
    places = {"LIVE": make_live_dataset(folder / "LIVE", rooms=4).path, "VIDEOS": interest_dataset.path, "RUN": run}
    capsys.readouterr()
    assert segrec(monkeypatch, *(places.get(word, word) for word in words), "--out", folder / "out") == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert [file.name for file in folder.iterdir()] == ["LIVE"]


def test_a_stopped_fit_of_another_config_is_not_gone_on_with(
    run: Path, interest_dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "other"
    run.rename(out.with_name("other.partial"))
    words = ["fit", "segment_interest", interest_dataset.path, "--out", out, *SMALL, "--set", "seed=9"]
    assert segrec(monkeypatch, *words) == 2
    assert "holds a stopped run with another config, dataset, label or scores" in capsys.readouterr().err
    assert segrec(monkeypatch, *words, "--overwrite") == 0
    assert RunFolder.open(out).meta.seed == 9


def test_a_fit_that_failed_before_it_learned_leaves_nothing_in_the_way(
    run: Path, interest_dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder holds no checkpoint: another config may begin there."""
    out = tmp_path / "other"
    partial = out.with_name("other.partial")
    partial.mkdir()
    for name in ("run.json", "config.yaml"):
        (partial / name).write_bytes((run / name).read_bytes())
    words = ["fit", "segment_interest", interest_dataset.path, "--out", out, *SMALL, "--set", "seed=9"]
    assert segrec(monkeypatch, *words) == 0
