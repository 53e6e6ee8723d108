"""Two processes on one machine: they learn, measure and predict as one does, and fail as one does."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from ranking.cli import build_app
from ranking.prediction import predict
from segrec.fitting.profiling import StepTimes
from segrec.records import read_metric_rows

PROGRAM = Path(__file__).with_name("processes_program.py")
BATCH = 150


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("processes_program", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def uneven_log(click_log, make_dataset):
    """601 train rows: the last of 5 batches has one row, so one process has none; the 40 valid rows are one piece."""
    rows = click_log.interactions().collect()
    parts = [rows.filter(split=split).head(count) for split, count in (("train", 601), ("valid", 40), ("test", 60))]
    return make_dataset(
        pl.concat(parts), click_log.users(), click_log.items(), flags=["is_click"], context=["tab"], name="uneven"
    )


def torchrun(*line):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run([*launch, *map(str, line)], capture_output=True, text=True, check=False, timeout=240)


def losses(run):
    """Mean training loss of each step but the joined last ones, as kept in the newest checkpoint."""
    newest = sorted((run / "checkpoints").glob("step_*"))[-1]
    return [entry["loss"] for entry in json.loads((newest / "progress.json").read_text())["history"]]


@pytest.mark.slow
def test_two_processes_learn_measure_and_predict_as_one(uneven_log, program, tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    two.mkdir()
    done = torchrun(PROGRAM, "work", uneven_log.path, two, BATCH)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("valid: LogLoss") == 1  # process 0 alone is heard
    result = CliRunner().invoke(build_app(), program.arguments(uneven_log.path, one / "run", BATCH))
    assert result.exit_code == 0, result.output

    assert len(losses(one / "run")) == 8
    assert losses(two / "run") == pytest.approx(losses(one / "run"), abs=1e-5)
    first, second = (
        {row.metric: row.value for row in read_metric_rows(path / "run/metrics.json")} for path in (one, two)
    )
    assert first["LogLoss"] == pytest.approx(second["LogLoss"], abs=1e-5)
    assert first["AUC"] == second["AUC"]
    weights, shared = (load_file(path / "run/model.safetensors") for path in (one, two))
    assert weights.keys() == shared.keys()
    for name, weight in weights.items():
        assert (weight - shared[name]).abs().max() < 1e-4, name
    admitted, evicted = weights["ids.spaces.00_user_id.state"][2:].tolist()
    assert admitted > evicted > 0

    alone = predict(one / "run", uneven_log, "valid")
    for number in range(2):  # each process has the whole, though only one had rows
        found = pl.read_parquet(two / f"valid_{number}.parquet")
        assert found.drop("prediction").equals(alone.drop("prediction"))
        assert found["prediction"].to_list() == pytest.approx(alone["prediction"].to_list(), abs=1e-5)
    result = CliRunner().invoke(build_app(), program.evaluation(two / "run", uneven_log.path, one / "ctr.json"))
    assert result.exit_code == 0, result.output
    measured, again = (read_metric_rows(path / "ctr.json") for path in (one, two))
    assert [row.model_dump(exclude={"value", "low", "high"}) for row in measured] == [
        row.model_dump(exclude={"value", "low", "high"}) for row in again
    ]
    same = [row.value for row in measured]
    assert same == pytest.approx([row.value for row in again], abs=1e-7, nan_ok=True)
    assert StepTimes.load(two / "run/profile.json").steps == 2


@pytest.mark.slow
def test_an_error_in_one_process_ends_both_with_one_line(click_log, tmp_path):
    start = time.monotonic()
    done = torchrun(PROGRAM, "fail", click_log.path, tmp_path)
    assert time.monotonic() - start < 90
    told = [line for line in done.stderr.splitlines() if "segrec: error" in line]
    assert told == ["segrec: error: part-00001.parquet: is damaged; read the log again"]
    ours = done.stderr.split("torch/distributed/elastic")[0]  # what follows is torchrun's own report
    assert "Traceback" not in ours
    assert "exitcode  : 2" in done.stderr
    assert "exitcode  : 1 " not in done.stderr
    assert not (tmp_path / "run").exists()


def test_bad_use_of_the_launcher_is_one_line_and_exit_2(click_log, tmp_path):
    line = ["rank", "dcn_v2", click_log.path, "--label", "is_liked", "--out", tmp_path / "run"]
    launch = [sys.executable, "-m", "ranking.launch", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launch, *map(str, line)], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 2
    assert done.stdout == ""
    (told,) = done.stderr.strip().splitlines()
    assert told.startswith("segrec: error: label 'is_liked' is not in")
    assert list(tmp_path.iterdir()) == []
