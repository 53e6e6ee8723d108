"""Several labels at once, end to end on a small log: trained, predicted, evaluated, shown, refused in one line."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from ranking.cli import build_app, main
from ranking.measures.watch_metrics import WATCH_METRICS
from ranking.prediction import binary_answers, predict
from ranking.rankers import find_ranker
from ranking.report import write_page
from ranking.report.training_curves import read_scalars
from ranking.training.ranker_run import train_ranker
from segrec.fitting.checkpoint_export import export_weights
from segrec.fitting.stored_checkpoint import StoredCheckpoint
from segrec.metrics.auc import auc
from segrec.metrics.log_loss import log_loss
from segrec.records import KEY, ConfigError, DataError, RunFolder, read_metric_rows

LABELS = ("is_click", "long_view", "watch_time")
FAST = {"device": "cpu", "batch_size": 200, "epochs": 4, "embedding_dim": 4, "table_learning_rate": 0.2}


def train(dataset, out, label=LABELS, name="dcn_v2", **values):
    config = find_ranker(name).config.checked({**FAST, **values})
    return train_ranker(name, dataset, out, label=label, config=config)


@pytest.fixture(scope="module")
def trained(several_labels_log, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "mmoe"
    return train(several_labels_log, out, tasks={"head": "mmoe", "weights": {"watch_time": 0.3}})


@pytest.fixture(scope="module")
def run(trained) -> RunFolder:
    return trained[0]


@pytest.fixture(scope="module")
def single(several_labels_log, tmp_path_factory) -> RunFolder:
    return train(several_labels_log, tmp_path_factory.mktemp("runs") / "one", label="long_view", epochs=2)[0]


def test_predictions_by_name_agree_with_what_was_measured(trained, several_labels_log):
    run, result = trained
    found = predict(run, several_labels_log, "valid")
    named = [f"{column}_{label}" for label in LABELS for column in ("label", "prediction")]
    assert found.columns == [*KEY, *named, "user_warm", "item_warm"]
    rows = several_labels_log.interactions(["valid"]).collect()
    assert found["label_long_view"].equals(rows["long_view"], check_names=False)
    assert 0 < found["label_long_view"].null_count() < found.height
    metrics = {(row.protocol, row.metric): row for row in read_metric_rows(run.metrics)}
    for label, labels, probabilities in binary_answers(found, ""):
        assert metrics[label, "AUC"].value == pytest.approx(auc(labels, probabilities), abs=1e-6)
        assert metrics[label, "LogLoss"].value == pytest.approx(log_loss(labels, probabilities), abs=1e-6)
        assert metrics[label, "LogLoss"].n == len(labels)
        assert metrics[label, "AUC"].value > 0.75
    error = (found["prediction_watch_time"] - found["label_watch_time"]).to_numpy()
    assert metrics["watch_time", "MAE"].value == pytest.approx(np.abs(error).mean(), abs=1e-4)
    assert metrics["watch_time", "RMSE"].value == pytest.approx(np.sqrt((error**2).mean()), abs=1e-4)
    assert result.best["LogLoss_is_click"] == metrics["is_click", "LogLoss"].value
    assert run.meta.label == "is_click+long_view+watch_time"


def test_each_tasks_loss_is_logged(run):
    scalars = read_scalars(run.path / "events")
    losses = [scalars[f"train/loss_{label}"]["value"].to_numpy() for label in LABELS]
    assert scalars["train/loss"]["value"].to_numpy() == pytest.approx(losses[0] + losses[1] + 0.3 * losses[2], rel=1e-4)
    assert "valid/WatchLoss_watch_time" in scalars


def test_watch_times_are_as_long_together_as_they_were(run, several_labels_log):
    """exp(logit) is an expectation, unlike what comes back from a logarithm's mean."""
    found = predict(run, several_labels_log, "test")
    ratio = found["prediction_watch_time"].sum() / found["label_watch_time"].sum()
    assert 0.85 < ratio < 1.15


@pytest.mark.parametrize(("label", "column"), [("watch_time", pl.Float32), ("watch_share", pl.Float32)])
def test_one_watch_label_alone(label, column, several_labels_log, tmp_path):
    run, result = train(several_labels_log, tmp_path / "run", label=label, name="logistic_regression")
    found = predict(run, several_labels_log, "test")
    assert found.columns == [*KEY, "label", "prediction", "user_warm", "item_warm"]
    assert found.schema["label"] == column
    constant = np.full(found.height, found["label"].mean())
    errors = [np.abs(found["label"].to_numpy() - given).mean() for given in (found["prediction"].to_numpy(), constant)]
    assert errors[0] < errors[1]
    assert set(result.best) == ({"WatchLoss", "MAE", "RMSE"} if label == "watch_time" else {"LogLoss"})
    ours, prior = (evaluated(run, several_labels_log, tmp_path)[model, "MAE"] for model in (run.meta.model, "length"))
    assert ours.value == pytest.approx(errors[0], abs=1e-6)
    assert ours.value < prior.value


def evaluate(*arguments):
    return CliRunner().invoke(build_app(), ["evaluate", "ctr", *map(str, arguments), "--replicates", "100"])


def evaluated(run, dataset, folder, *more):
    result = evaluate(run.path, dataset.path, "--out", folder / "ctr.json", *more)
    assert result.exit_code == 0, result.output
    rows = read_metric_rows(folder / "ctr.json")
    return {(row.model, row.metric): row for row in rows if row.cohort == "all" and row.seed is row.versus is None}


def test_each_label_is_measured_beside_runs_that_have_it(run, single, several_labels_log, tmp_path):
    out = tmp_path / "ctr.json"
    result = evaluate(run.path, several_labels_log.path, "--out", out, "--against", f"alone={single.path}")
    assert result.exit_code == 0, result.output
    rows = read_metric_rows(out)
    assert {row.protocol for row in rows} == set(LABELS)
    assert {row.protocol for row in rows if "alone" in (row.model, row.versus)} == {"long_view"}
    assert {row.metric for row in rows if row.protocol == "watch_time"} == set(WATCH_METRICS)
    for title in ("long_view, test, all: ", "watch_time, test, all: "):
        assert title in result.output
    found = predict(run, several_labels_log, "test")
    for label, labels, probabilities in binary_answers(found, ""):
        measured = next(
            row for row in rows if (row.protocol, row.model, row.metric, row.cohort) == (label, "dcn_v2", "AUC", "all")
        )
        assert measured.value == pytest.approx(auc(labels, probabilities))
        assert measured.n == len(labels)


def test_a_file_is_of_one_label(run, several_labels_log, tmp_path):
    found = predict(run, several_labels_log, "test")
    times = found.select(*KEY, prediction=pl.col("prediction_watch_time"))
    times.write_parquet(tmp_path / "copy.parquet")
    files = ("--against", tmp_path / "copy.parquet")
    measured = evaluated(run, several_labels_log, tmp_path, "--label", "watch_time", *files)
    assert measured["copy", "RMSE"].value == measured["dcn_v2", "RMSE"].value
    refused = evaluate(run.path, several_labels_log.path, "--out", tmp_path / "no.json", *files)
    assert "copy.parquet: files of predictions are read for one label: say which with --label" in str(refused.exception)
    of_click = evaluate(run.path, several_labels_log.path, "--out", tmp_path / "no.json", "--label", "is_click", *files)
    assert "a prediction is no probability" in str(of_click.exception)
    other = evaluate(run.path, several_labels_log.path, "--out", tmp_path / "no.json", "--label", "is_clik")
    assert "--label 'is_clik' is no label of these runs" in str(other.exception)


def test_learned_variances_stay_out_of_the_weights(several_labels_log, tmp_path):
    run, _ = train(
        several_labels_log, tmp_path / "run", name="logistic_regression", epochs=1,
        tasks={"balance": "uncertainty", "tower_mlp": [], "monitor_task": "long_view"}, monitor="AUC",
    )  # fmt: skip
    weights = load_file(run.path / "model.safetensors")
    assert weights["head.weight"].shape[0] == weights["head.bias"].shape[0] == len(LABELS)
    assert not any("log_variance" in name for name in weights)
    export_weights(StoredCheckpoint.open(run.path), tmp_path / "checkpoint.safetensors")
    assert load_file(tmp_path / "checkpoint.safetensors").keys() == weights.keys()
    assert predict(run, several_labels_log, "test").height > 0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("dien", {"features": {"history": {"length": 3}}}),
        ("deep_fm", {"scores": {"use": "weights", "weighting": "segsum"}}),
        ("deep_fm", {"scores": {"use": "weights", "weighting": "segadjust", "enter": "input"}, "precision": "bf16"}),
    ],
)
def test_with_histories_and_with_weighted_segments(name, values, several_labels_log, tmp_path):
    run, result = train(several_labels_log, tmp_path / "run", name=name, epochs=1, **values)
    found = predict(run, several_labels_log, "valid")
    assert {label for label, *_ in binary_answers(found, "")} == {"is_click", "long_view"}
    for label, labels, probabilities in binary_answers(found, ""):
        assert result.best[f"AUC_{label}"] == pytest.approx(auc(labels, probabilities), abs=1e-6)


def test_the_page_shows_every_label(run, single, several_labels_log):
    evaluate(run.path, several_labels_log.path, "--out", run.path / "ctr_test.json")
    page = write_page(run.path).read_text()
    for text in ("Label is_click", "Label long_view", "Label watch_time", "concordance_user", "train/loss_watch_time"):
        assert text in page
    assert "dcn_v2, is_click: " in page
    assert "dcn_v2, long_view: " in page


@pytest.mark.parametrize(
    ("label", "values", "message"),
    [
        (("is_click", "is_click"), {}, "label 'is_click' was given twice"),
        (("is_click", "watch"), {}, "label 'watch' is not in .*always there: effective_view, watch_time"),
        (LABELS, {"tasks": {"monitor_task": "is_clik"}}, "tasks.monitor_task: 'is_clik' is no label"),
        (LABELS, {"tasks": {"weights": {"x": 1}}}, "tasks.weights: 'x' is no label of this run"),
        (("watch_time", "is_click"), {"monitor": "AUC"}, "monitor=AUC needs labels 0 and 1, and watch_time is none"),
    ],
)
def test_bad_use(label, values, message, several_labels_log, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train(several_labels_log, tmp_path / "run", label=label, **values)
    assert not (tmp_path / "run").exists()


def test_a_label_that_no_valid_row_has(several_labels_log, make_dataset, tmp_path):
    rows = several_labels_log.interactions().collect().drop("day", strict=False)
    rows = rows.with_columns(long_view=pl.when(pl.col("split") != "valid").then("long_view"))
    log = make_dataset(rows, flags=["is_click", "long_view"], context=["tab"])
    with pytest.raises(DataError, match="has no valid row with label long_view"):
        train(log, tmp_path / "run", label=("is_click", "long_view"))


def test_the_command_takes_several_labels(several_labels_log, tmp_path, capsys, monkeypatch):
    labels = [part for label in LABELS for part in ("--label", label)]
    settings = [part for setting in ("epochs=1", "device=cpu", "embedding_dim=4") for part in ("--set", setting)]
    command = ["rank", "logistic_regression", str(several_labels_log.path), *labels, *settings]
    result = CliRunner().invoke(build_app(), [*command, "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "LogLoss_is_click" in result.output
    assert "rows whose long_view is not known were left out: " in result.output
    assert "each stays for the labels that it has" in result.output
    monkeypatch.setattr("sys.argv", ["segrec", *command, "--rows", "segments", "--out", str(tmp_path / "no")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "--rows segments learns one rate: pass one --label" in capsys.readouterr().err
