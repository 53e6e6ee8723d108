"""Metric rows and run folders: on disk and back, refused when they are something else."""

from __future__ import annotations

import json
import math

import pytest

from segrec.records import DataError, MetricRow, RunFolder, RunMeta, read_metric_rows, write_metric_rows, write_run_meta
from segrec.records.metric_rows import table

ROW = MetricRow(
    task="skip", split="test", protocol="exit", model="position", metric="NLL", value=1.5, low=1.25, high=1.75, n=9
)


def test_rows_round_trip(tmp_path):
    nan = ROW.model_copy(update={"value": math.nan, "low": None, "high": None})
    write_metric_rows(tmp_path / "m.json", [ROW, nan])
    stored = json.loads((tmp_path / "m.json").read_text())
    assert (stored[0]["value"], stored[1]["value"]) == (1.5, None)
    first, second = read_metric_rows(tmp_path / "m.json")
    assert first == ROW
    assert math.isnan(second.value)


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[1]", '[{"task": "skip"}]', '[{"task": "sleep", "value": 1}]', "null"]
)
def test_not_metric_rows(tmp_path, text):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(DataError, match="is not a list of metric rows") as told:
        read_metric_rows(tmp_path / "m.json")
    assert "\n" not in str(told.value)


def test_the_printed_table():
    paired = ROW.model_copy(update={"versus": "user", "value": -0.5, "low": None, "high": None})
    other = ROW.model_copy(update={"metric": "AUC", "value": math.nan})
    assert table([ROW, paired, other], ["NLL", "AUC"], digits=2) == [
        ["model", "NLL", "AUC"],
        ["position", "1.50 [1.25, 1.75]", "-"],
        ["position - user", "-0.50", "-"],
    ]


def test_run_folders(tmp_path):
    meta = RunMeta(kind="encoder", name="segment_interest", variant="id", seed=1, dataset="d", dataset_fingerprint="f")
    assert meta.model == "segment_interest:id"
    write_run_meta(tmp_path, meta)
    run = RunFolder.open(tmp_path, "encoder")
    assert run.meta == meta
    assert (run.config.name, run.metrics.name, run.frozen.name) == ("config.yaml", "metrics.json", "frozen")
    with pytest.raises(DataError, match=r"is a run of another kind .found: encoder; expected: ranker"):
        RunFolder.open(tmp_path, "ranker")


def test_not_run_folders(tmp_path):
    with pytest.raises(DataError, match=r"is not a run folder .run.json is missing"):
        RunFolder.open(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(DataError, match=r"run.json: does not parse"):
        RunFolder.open(tmp_path)
    (tmp_path / "half.partial").mkdir()
    with pytest.raises(DataError, match="it resumes"):
        RunFolder.open(tmp_path / "half")
