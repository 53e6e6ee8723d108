"""Runs end to end on a small log: learns, stops and goes on, predicts from the folder, refuses what it must."""

import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file

from ranking.id_report import IdReport
from ranking.prediction import predict
from ranking.rankers import RANKERS, find_ranker
from ranking.rows.stream import RankingStream
from ranking.training.ranker_run import train_ranker
from segrec.metrics.auc import auc
from segrec.metrics.log_loss import log_loss
from segrec.records import (
    KEY,
    ConfigError,
    DataError,
    FoldRule,
    RunFolder,
    ScoreMeta,
    ScoreTable,
    read_metric_rows,
    write_score_table,
)


def settings(name="dcn_v2", **values):
    return find_ranker(name).config.checked(
        {"device": "cpu", "batch_size": 200, "epochs": 3, "embedding_dim": 4, "checkpoint_every": 4, **values}
    )


def train(dataset, out, name="dcn_v2", label="is_click", overwrite=False, **values):
    return train_ranker(name, dataset, out, label=label, config=settings(name, **values), overwrite=overwrite)


def scores_of(dataset, path, **changes):
    """Scores that know the label: .9 a segment where clicked, else .1."""
    rows = dataset.interactions().select(*KEY, "is_click").collect()
    stay = pl.Series([[0.9, 0.8] if click else [0.1, 0.2] for click in rows["is_click"]], dtype=pl.List(pl.Float32))
    meta = {
        "form": "personal", "kind": "stay_probability", "encoder": "oracle", "encoder_hash": "h",
        "dataset_fingerprint": "f" * 64, "segment_ms": 5000, "trained_until_ms": 1, "fitted_on": ["train"],
        "folds": FoldRule(folds=2), **changes,
    }  # fmt: skip
    write_score_table(path, [rows.select(KEY).with_columns(scores=stay)], ScoreMeta.model_validate(meta))
    return ScoreTable.open(path)


@pytest.mark.parametrize("name", sorted(RANKERS))
def test_learns_and_predicts_from_its_folder(name, click_log, tmp_path):
    run, result = train(click_log, tmp_path / "run", name, epochs=6, table_learning_rate=0.2)
    rows = {row.metric: row.value for row in read_metric_rows(run.metrics)}
    assert rows["AUC"] > 0.75
    found = predict(run, click_log, "valid")
    assert found.columns == ["user_id", "item_id", "time_ms", "label", "prediction", "user_warm", "item_warm"]
    labels, predictions = found["label"].to_numpy(), found["prediction"].to_numpy()
    assert rows["AUC"] == pytest.approx(auc(labels, predictions), abs=1e-6)
    assert rows["LogLoss"] == pytest.approx(log_loss(labels, predictions), abs=1e-6)
    assert result.best == rows
    assert (
        found["label"].to_list() == click_log.interactions(["valid"]).select("is_click").collect()["is_click"].to_list()
    )


def test_folder_holds_what_was_run(click_log, tmp_path):
    run, _ = train(click_log, tmp_path / "run", epochs=1, seed=5)
    config = yaml.safe_load(run.config.read_text())
    assert (config["epochs"], config["seed"], config["features"]["min_count"]) == (1, 5, 1)
    opened = RunFolder.open(run.path, "ranker").meta
    assert (opened.name, opened.variant, opened.label, opened.seed, opened.scores) == (
        "dcn_v2",
        None,
        "is_click",
        5,
        None,
    )
    assert opened.trained_until_ms == click_log.interactions(["train"]).select("time_ms").max().collect().item()
    weights = load_file(run.path / "model.safetensors")
    assert weights["embedding.tables.embedding_bags.00_user_id.weight"].shape == (62, 4)
    counts = {use.feature: use for use in IdReport.read(run.path).uses if use.split == "train"}
    assert (counts["user_id"].known, counts["user_id"].table_rows) == (click_log.meta.rows["train"], 62)
    assert counts["author_id"].missing == 0
    assert "table" in (run.path / "plan.txt").read_text()


def test_cohorts_are_of_the_run_not_of_the_dataset(click_log, make_dataset, tmp_path):
    run, _ = train(click_log, tmp_path / "run", epochs=1)
    rows = click_log.interactions(["test"]).collect().head(3)
    strangers = rows.with_columns(user_id=pl.Series([10_000, *rows["user_id"][1:]]))
    other = make_dataset(
        strangers, click_log.users(), click_log.items(), flags=["is_click"], context=["tab"], name="other"
    )
    found = predict(run, other, "test")
    assert found["user_warm"].to_list() == [False, True, True]
    assert found["item_warm"].to_list() == [True, True, True]


def test_stopped_run_goes_on_to_the_same_weights(click_log, tmp_path, monkeypatch):
    whole, _ = train(click_log, tmp_path / "whole")
    plain = RankingStream.epoch

    def broken(self, epoch, start=0):
        for number, batch in enumerate(plain(self, epoch, start), start):
            if epoch == 1 and number == 6:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(RankingStream, "epoch", broken)
    with pytest.raises(KeyboardInterrupt):
        train(click_log, tmp_path / "stopped")
    monkeypatch.setattr(RankingStream, "epoch", plain)
    assert not (tmp_path / "stopped").exists()
    with pytest.raises(DataError, match="holds a stopped run with another config"):
        train(click_log, tmp_path / "stopped", seed=1)
    resumed, _ = train(click_log, tmp_path / "stopped")
    first, second = (load_file(run.path / "model.safetensors") for run in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_same_seed_same_weights_other_seed_others(click_log, tmp_path):
    weights = [
        load_file(train(click_log, tmp_path / f"run{number}", epochs=1, seed=seed)[0].path / "model.safetensors")
        for number, seed in enumerate((1, 1, 2))
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["head.weight"], weights[2]["head.weight"])


@pytest.mark.parametrize(
    ("use", "variant"), [("features", "features"), ("weights", "segrec"), ("both", "features+segrec"), ("none", None)]
)
def test_scores_as_features_and_as_weights(use, variant, click_log, tmp_path):
    scores = scores_of(click_log, tmp_path / "scores.parquet")
    run, result = train_with(click_log, tmp_path / "run", scores, use)
    assert run.meta.variant == variant
    assert run.meta.scores_hash is not None
    if use in ("features", "both"):  # the scores know the label
        assert result.best["AUC"] > 0.99
    found = predict(run, click_log, "valid")
    assert auc(found["label"].to_numpy(), found["prediction"].to_numpy()) == pytest.approx(result.best["AUC"], abs=1e-6)


def train_with(dataset, out, table, use, **scores):
    config = settings("dcn_v2", scores={"use": use, **scores})
    return train_ranker("dcn_v2", dataset, out, label="is_click", config=config, scores=table)


@pytest.mark.parametrize("weighting", ["segsum", "segadjust"])
def test_settings_that_need_no_scores(weighting, click_log, tmp_path):
    run, _ = train_with(click_log, tmp_path / "run", None, "weights", weighting=weighting)
    assert run.meta.variant == weighting
    assert predict(run, click_log, "test").height == click_log.meta.rows["test"]


def test_effective_view(click_log, tmp_path):
    run, _ = train(click_log, tmp_path / "run", label="effective_view", epochs=1)
    found = predict(run, click_log, "test")
    assert 0.3 < found["label"].mean() < 0.7
    assert run.meta.label == "effective_view"


def test_changed_or_unfit_scores_are_refused(click_log, tmp_path):
    scores = scores_of(click_log, tmp_path / "scores.parquet")
    run, _ = train_with(click_log, tmp_path / "run", scores, "features")
    other = scores_of(click_log, tmp_path / "other.parquet", encoder="placebo")
    assert predict(run, click_log, "test", scores=other).height > 0
    scores_of(click_log, tmp_path / "scores.parquet", encoder="changed")
    with pytest.raises(DataError, match=r"scores.parquet: has changed since the run"):
        predict(run, click_log, "test")
    (tmp_path / "scores.parquet").unlink()
    with pytest.raises(DataError, match=r"scores.parquet: cannot be read"):
        predict(run, click_log, "test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_fingerprint": "0" * 64}, "scores belong to another dataset"),
        ({"segment_ms": 2000}, "scores stand on another segment grid"),
        ({"fitted_on": ["train", "test"]}, "scores were fitted on the test rows"),
    ],
)
def test_scores_that_must_not_be_used(changes, message, click_log, tmp_path):
    with pytest.raises(DataError, match=message):
        train_with(click_log, tmp_path / "run", scores_of(click_log, tmp_path / "bad.parquet", **changes), "features")
    assert not (tmp_path / "run").exists()


def test_segrec_without_scores(click_log, tmp_path):
    with pytest.raises(ConfigError, match=r"scores.use=weights weights segments by their scores: pass --scores"):
        train_with(click_log, tmp_path / "run", None, "weights")


def test_damaged_weights_are_named(click_log, tmp_path):
    run, _ = train(click_log, tmp_path / "run", epochs=1)
    (run.path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match=r"model.safetensors: does not hold this ranker's weights"):
        predict(run.path, click_log, "test")


def test_existing_folder_is_kept(click_log, tmp_path):
    train(click_log, tmp_path / "run", epochs=1)
    with pytest.raises(DataError, match="exists already"):
        train(click_log, tmp_path / "run", epochs=1)
    train(click_log, tmp_path / "run", epochs=1, overwrite=True)
