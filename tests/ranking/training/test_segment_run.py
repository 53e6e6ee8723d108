"""Runs on segments: every ranker learns rates, predicts every segment, is marked where it was given the answer."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from ranking.cli import build_app, main
from ranking.measures.evaluated_models import common_labels
from ranking.prediction import predict
from ranking.rankers import RANKERS, find_ranker
from ranking.rows.stream import RankingStream
from ranking.targets.label_rates import LabelRates
from ranking.training.loss import mean_cross_entropy
from ranking.training.segment_run import train_segment_ranker
from ranking.training.warm_start import warm_start_lines
from segrec.metrics.auc import auc
from segrec.records import ConfigError, DataError, DatasetFolder, RunFolder, read_metric_rows
from segrec.segments.rooms import Rooms


def train(dataset, out, name="deep_fm", rate="lvtr", shift=1, **settings):
    values = {"device": "cpu", "batch_size": 64, "epochs": 6, "embedding_dim": 4, **settings}
    config = find_ranker(name).config.checked(values)
    return train_segment_ranker(name, dataset, out, rate=rate, shift=shift, config=config)


def test_cross_entropy_by_hand():
    rates, answers = np.array([0.5, 1.0]), np.array([0.25, 0.5])
    first = -(0.5 * np.log(0.25) + 0.5 * np.log(0.75))
    assert mean_cross_entropy(rates, answers, None) == pytest.approx((first + np.log(2)) / 2)
    assert mean_cross_entropy(rates, answers, np.array([3.0, 1.0])) == pytest.approx((3 * first + np.log(2)) / 4)
    assert mean_cross_entropy(np.array([1.0]), np.array([0.0]), None) == pytest.approx(-np.log(1e-7))


@pytest.mark.parametrize("name", sorted(name for name, entry in RANKERS.items() if not entry.reads_histories))
def test_learns_and_scores_every_segment(name, live_dataset, tmp_path):
    run, result = train(live_dataset, tmp_path / "run", name, learning_rate=0.01)
    scored = pl.read_parquet(run.path / "predictions.parquet")
    assert scored.schema == {"item_id": pl.Int64, "segment": pl.Int32, "score": pl.Float32}
    rooms = Rooms.of(live_dataset)
    everything = rooms.frame.select("item_id", "segment", "split")
    joined = everything.join(scored, on=["item_id", "segment"], how="left", maintain_order="left", validate="1:1")
    scores, target = joined["score"].to_numpy(), rooms.target("lvtr", 1)
    assert np.isfinite(scores).all()
    assert ((scores > 0) & (scores < 1)).all()
    valid = (everything["split"] == "valid").to_numpy() & target.known
    expected = mean_cross_entropy(target.values[valid], scores[valid], target.trials[valid])
    [row] = read_metric_rows(run.metrics)
    assert (row.task, row.model, row.metric, row.n) == ("highlight", name, "LogLoss", int(valid.sum()))
    assert row.value == pytest.approx(expected, rel=1e-4) == pytest.approx(result.best["LogLoss"], rel=1e-4)
    test = (everything["split"] == "test").to_numpy() & target.known
    assert auc(target.values[test] > np.median(target.values[test]), scores[test]) > 0.7


def test_starts_from_a_run_on_older_rooms_also_without_impressions(live_dataset, tmp_path):
    older, _ = train(live_dataset, tmp_path / "older", epochs=1)
    other = tmp_path / "rooms"
    shutil.copytree(live_dataset.path, other)
    shutil.rmtree(other / "interactions")
    meta = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**meta, "fingerprint": "e" * 64}))
    dataset, start = DatasetFolder.open(other), {"warm_start": {"run": str(older.path)}, "epochs": 1}
    warm, _ = train(dataset, tmp_path / "warm", **start)
    assert any("author_id: " in line for line in warm_start_lines(warm.path))
    told = json.loads((older.path / "run.json").read_text())
    first = int(Rooms.of(dataset, ["valid", "test"]).frame["start_ms"].min())
    (older.path / "run.json").write_text(json.dumps({**told, "trained_until_ms": first}))
    with pytest.raises(DataError, match="was trained on rows as new as the valid or test rows"):
        train(dataset, tmp_path / "late", **start)


def test_run_tells_rate_shift_and_leak(live_dataset, tmp_path):
    honest, _ = train(live_dataset, tmp_path / "honest", epochs=1)
    leaky, _ = train(live_dataset, tmp_path / "leaky", rate="ctr", shift=0, epochs=1, allow_leak=True)
    meta = RunFolder.open(honest.path, "ranker").meta
    assert (meta.model, meta.rows, meta.label, meta.label_shift, meta.leak) == ("deep_fm", "segments", "lvtr", 1, False)
    assert meta.trained_until_ms < live_dataset.meta.split.valid_from_ms
    meta = RunFolder.open(leaky.path, "ranker").meta
    assert (meta.model, meta.label, meta.label_shift, meta.leak) == ("deep_fm+leak", "ctr", 0, True)
    assert {row.model for row in read_metric_rows(leaky.metrics)} == {"deep_fm+leak"}


def test_the_answer_as_input_helps(live_dataset, tmp_path):
    """clicks / exposures of the predicted segment give its ctr away; its lagged counts do not."""
    losses = {}
    for leak in (False, True):
        _, result = train(
            live_dataset, tmp_path / f"run{leak}", "wide_deep", "ctr", 0, epochs=6, learning_rate=0.02, allow_leak=leak
        )
        losses[leak] = result.best["LogLoss"]
    assert losses[True] < losses[False] - 0.001


def test_weights_change_the_fit(live_dataset, tmp_path):
    weighted, _ = train(live_dataset, tmp_path / "weighted", epochs=1)
    alike, _ = train(live_dataset, tmp_path / "alike", epochs=1, weight_by_trials=False)
    scores = [pl.read_parquet(run.path / "predictions.parquet")["score"] for run in (weighted, alike)]
    assert not scores[0].equals(scores[1])


def test_streamers_get_rates_of_earlier_train_rows_and_rooms_do_not(live_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("ranking.training.ranker_data.RATED_ROWS", 5)
    run, _ = train(live_dataset, tmp_path / "run", epochs=1)
    rates = LabelRates.load(run.path / "label_rates.safetensors")
    assert "author_id" in rates.rows
    assert "item_id" not in rates.rows
    assert 0 < rates.positives["author_id"].max() % 1 < 1  # rates add up, not clicks


def test_stopped_run_goes_on_to_the_same_predictions(live_dataset, tmp_path, monkeypatch):
    settings = {"epochs": 2, "batch_size": 128}
    whole, _ = train(live_dataset, tmp_path / "whole", **settings)
    plain = RankingStream.epoch

    def broken(self, epoch, start=0):
        if epoch == 1:
            raise KeyboardInterrupt
        return plain(self, epoch, start)

    monkeypatch.setattr(RankingStream, "epoch", broken)
    with pytest.raises(KeyboardInterrupt):
        train(live_dataset, tmp_path / "stopped", **settings)
    monkeypatch.setattr(RankingStream, "epoch", plain)
    with pytest.raises(DataError, match="holds a stopped run with another config"):
        train(live_dataset, tmp_path / "stopped", shift=0, **settings)
    resumed, _ = train(live_dataset, tmp_path / "stopped", **settings)
    first, second = (pl.read_parquet(run.path / "predictions.parquet") for run in (whole, resumed))
    assert first.equals(second)


def test_a_run_on_segments_answers_no_impressions(live_dataset, tmp_path):
    run, _ = train(live_dataset, tmp_path / "run", epochs=1)
    with pytest.raises(ConfigError, match="was trained on segments: measure it with `segrec evaluate highlight`"):
        common_labels([run])
    with pytest.raises(DataError, match="was trained on segments, not on impressions"):
        predict(run, live_dataset, "test")


@pytest.mark.parametrize("name", sorted(name for name, entry in RANKERS.items() if entry.reads_histories))
def test_segments_have_no_user_whose_history_could_be_read(name, live_dataset, tmp_path):
    with pytest.raises(DataError, match="has rows without user_id, and a history is a user's; choose a ranker without"):
        train(live_dataset, tmp_path / "run", name)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scores": {"use": "weights", "weighting": "segsum"}}, "scores.use=weights weights the segments of an item"),
        ({"monitor": "AUC"}, "monitor=AUC needs labels 0 and 1"),
        ({"features": {"without": ["lag_likes"]}}, "features.without names 'lag_likes', which the dataset does not"),
    ],
)
def test_settings_that_segments_do_not_have(settings, message, live_dataset, tmp_path):
    with pytest.raises((ConfigError, DataError), match=message):
        train(live_dataset, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


ON_SEGMENTS = ["--rows", "segments"]


def test_command(live_dataset, tmp_path):
    arguments = ["rank", "logistic_regression", str(live_dataset.path), "--label", "lvtr", *ON_SEGMENTS, "--shift", "1"]
    arguments += [
        "--set",
        "allow_leak=true",
        "--set",
        "epochs=1",
        "--set",
        "device=cpu",
        "--out",
        str(tmp_path / "run"),
    ]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.output
    assert "logistic_regression+leak: " in result.output
    assert "valid: LogLoss" in result.output
    assert (tmp_path / "run" / "predictions.parquet").is_file()


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Runs a command that must fail with exit code 2 and leave nothing; its last line."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["segrec", *arguments, "--out", str(tmp_path / "run")])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 2
        assert not (tmp_path / "run").exists()
        return capsys.readouterr().err.strip().splitlines()[-1]

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "is_click", *ON_SEGMENTS], "has no rate 'is_click' (found: ctr, lvtr)"),
        (["--label", "lvtr", *ON_SEGMENTS, "--scores", "x.parquet"], "--rows segments takes no --scores"),
        (["--label", "is_click", "--shift", "1"], "--shift is for --rows segments"),
        (["--label", "is_click", "--set", "allow_leak=true"], "allow_leak is for --rows segments"),
        (["--label", "effective_view"], "label effective_view needs durations, and live rooms have none"),
        (
            ["--label", "is_click", "--set", "scores.use=weights", "--set", "scores.weighting=segsum"],
            "scores.use=weights sums over the segments that a video has, and a live room's are not over",
        ),
    ],
)
def test_bad_use_is_one_line_and_exit_2(arguments, message, refused, live_dataset):
    assert message in refused("rank", "dcn_v2", str(live_dataset.path), *arguments)
