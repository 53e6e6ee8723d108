"""Rankers with histories on a small made world, by the command line: trained, measured, and blind to the future."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from ranking.cli import build_app
from ranking.id_report import IdReport
from ranking.opened_run import OpenedRun
from ranking.prediction import predict
from segrec.records import KEY, DatasetFolder, RunFolder, read_metric_rows

FAST = ["--set", "epochs=1", "--set", "device=cpu", "--set", "embedding_dim=4", "--set", "features.history.length=10"]


def done(*arguments):
    result = CliRunner().invoke(build_app(), [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """About 2,000 impressions of 40 users and 60 videos."""
    folder = tmp_path_factory.mktemp("history_world")
    size = ["--users", "40", "--items", "60", "--impressions-per-user", "50", "--seed", "5"]
    done("simulate", "short", "--out", folder / "raw", *size)
    done("read", "kuairand", folder / "raw", "--out", folder / "dataset")
    return DatasetFolder.open(folder / "dataset")


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("history_run") / "din"
    done("rank", "din", world.path, "--label", "is_click", "--out", out, *FAST)
    return RunFolder.open(out, "ranker")


def changed(dataset, folder, change):
    """A copy of the dataset, each day file passed through `change`."""
    shutil.copytree(dataset.path, folder, ignore=shutil.ignore_patterns("histories"))
    copy = DatasetFolder.open(folder)
    for file in copy.interaction_files():
        change(pl.read_parquet(file)).write_parquet(file)
    return copy


def test_evaluate_ctr(run, world, tmp_path):
    done("evaluate", "ctr", run.path, world.path, "--out", tmp_path / "ctr.json", "--replicates", "100")
    rows = [row for row in read_metric_rows(tmp_path / "ctr.json") if (row.model, row.metric) == ("din", "AUC")]
    assert {row.n for row in rows if row.cohort == "all"} == {world.meta.rows["test"]}


def test_predictions_see_histories_and_nothing_later(run, world, tmp_path):
    before = predict(run, world, "test")
    cut = int(before["time_ms"].median())
    ends = pl.col("time_ms") + pl.col("watch_ms")
    other = pl.col("item_id").shuffle(seed=1)
    later = changed(
        world, tmp_path / "later",
        lambda rows: rows.with_columns(
            item_id=pl.when(pl.col("time_ms") >= cut).then(other).otherwise("item_id"),
            watch_ms=pl.when(ends >= cut).then(pl.max_horizontal(cut - pl.col("time_ms"), 0)).otherwise("watch_ms"),
        ),
    )  # fmt: skip
    after = predict(run, later, "test")
    early = pl.col("time_ms") < cut
    assert before.filter(early).select(*KEY, "prediction").equals(after.filter(early).select(*KEY, "prediction"))
    past = changed(world, tmp_path / "past", lambda rows: rows.with_columns(
        item_id=pl.when(pl.col("split") == "train").then(pl.col("item_id").min()).otherwise("item_id")
    ))  # fmt: skip
    assert not predict(run, past, "test")["prediction"].equals(before["prediction"])


def test_other_rankers_take_histories_as_bags(world, tmp_path):
    done("rank", "dcn_v2", world.path, "--label", "is_click", "--out", tmp_path / "run", *FAST,
         "--set", "features.history.events=is_click", "--set", "features.history.columns=[item_id]")  # fmt: skip
    assert predict(tmp_path / "run", world, "test")["prediction"].is_between(0, 1).all()
    counted = {use.feature for use in IdReport.read(tmp_path / "run").uses}
    assert "item_id" in counted
    assert "past_item_id" not in counted


def test_histories_reach_the_batch(run, world):
    stream = OpenedRun.of(run).stream(world, ["train"])
    keys, batch = next(iter(stream.in_order()))
    lengths = batch.sparse["past_item_id"].lengths()
    assert lengths.max() == 10
    assert lengths[0] == 0  # the log's first row
    items, past = (batch.sparse[name].to_dense() for name in ("item_id", "past_item_id"))
    user = keys["user_id"].to_numpy()
    last = {place: past[place][-1].item() for place in range(len(past)) if lengths[place]}
    assert all(
        last[place] in {items[other].item() for other in range(place) if user[other] == user[place]} for place in last
    )


def test_a_batch_without_rows_has_no_answers(run, world):
    opened = OpenedRun.of(run)
    nothing = opened.stream(world, ["valid"]).empty_batch()
    assert opened.model().module(nothing).shape == (0,)


@pytest.mark.slow
def test_two_processes_read_histories_as_one(world, tmp_path):
    """`can` has tables of its own besides; valid is one piece, so that one of the processes has no row there."""
    settings = [*FAST, "--set", "activation=relu", "--set", "dropout=0"]  # dice normalises by each process's rows
    line = ["rank", "can", str(world.path), "--label", "is_click", *settings, "--out"]
    done(*line, tmp_path / "one")
    together = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "ranking.cli",
    ]
    finished = subprocess.run(
        [*together, *line, tmp_path / "two"], capture_output=True, text=True, check=False, timeout=240
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    one, two = (
        {row.metric: row.value for row in read_metric_rows(tmp_path / out / "metrics.json")} for out in ("one", "two")
    )
    assert one == pytest.approx(two, abs=1e-5)
    alone, shared = (predict(tmp_path / out, world, "test")["prediction"].to_numpy() for out in ("one", "two"))
    np.testing.assert_allclose(shared, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("ranker", "setting", "message"),
    [
        ("din", "features.history.length=0", "ranker 'din' reads histories, and the features have none"),
        ("din", "features.history.columns=[itm]", "features.history.columns names 'itm', which is no feature"),
        ("din", "features.history.columns=[tag]", "names 'tag', which is no id but a bag or a number"),
        ("dien", "features.history.events=clicked", "features.history.events names 'clicked', which is no flag"),
        ("can", "features.only=[user_id,hour]", "neither item_id nor author_id is a feature here"),
        ("dcn_v2", "features.history.length=-2", "field 'features.history.length'"),
    ],
)
def test_bad_histories_are_one_line_and_exit_2(world, refused_run, ranker, setting, message):
    assert message in refused_run("rank", ranker, world.path, "--label", "is_click", "--set", setting)


def test_segments_as_rows_have_no_user(live_dataset, refused_run):
    line = refused_run("rank", "din", live_dataset.path, "--rows", "segments", "--label", "lvtr")
    assert "has rows without user_id, and a history is a user's" in line
