"""`segrec evaluate ctr` end to end on a small log: tables, files, placebos, and one-line refusals."""

from __future__ import annotations

import polars as pl
import pytest
from typer.testing import CliRunner

from ranking.cli import build_app, main
from ranking.measures.chance_metrics import METRICS
from ranking.measures.placebos import PLACEBOS
from ranking.prediction import predict
from ranking.rankers import find_ranker
from ranking.training.ranker_run import train_ranker
from segrec.metrics.auc import auc
from segrec.records import KEY, FoldRule, RunFolder, ScoreMeta, ScoreTable, read_metric_rows, write_score_table

FAST = {"device": "cpu", "batch_size": 200, "epochs": 3, "embedding_dim": 4}


@pytest.fixture(scope="module")
def scored(click_log, tmp_path_factory) -> RunFolder:
    """A run with scores that rise over the video where clicked, and fall elsewhere; both of the same level."""
    folder = tmp_path_factory.mktemp("scored")
    rows = click_log.interactions().select(*KEY, "is_click").collect()
    rising, falling = [0.1, 0.5, 0.9], [0.9, 0.5, 0.1]
    lists = pl.Series([rising if click else falling for click in rows["is_click"]], dtype=pl.List(pl.Float32))
    meta = ScoreMeta(
        form="personal", kind="stay_probability", encoder="told", encoder_hash="h", dataset_fingerprint="f" * 64,
        segment_ms=5000, trained_until_ms=1, fitted_on=["train"], folds=FoldRule(folds=2),
    )  # fmt: skip
    write_score_table(folder / "scores.parquet", [rows.select(KEY).with_columns(scores=lists)], meta)
    return train(click_log, folder / "scored", scores=ScoreTable.open(folder / "scores.parquet"))


@pytest.fixture(scope="module")
def plain(click_log, tmp_path_factory) -> RunFolder:
    return train(click_log, tmp_path_factory.mktemp("plain") / "plain")


def train(dataset, out, scores=None, **values):
    config = find_ranker("dcn_v2").config.checked({**FAST, **values})
    return train_ranker("dcn_v2", dataset, out, label="is_click", config=config, scores=scores)[0]


def evaluate(*arguments):
    return CliRunner().invoke(build_app(), ["evaluate", "ctr", *map(str, arguments), "--replicates", "100"])


def test_one_run(plain, click_log, tmp_path):
    result = evaluate(plain.path, click_log.path, "--out", tmp_path / "ctr.json")
    assert result.exit_code == 0, result.output
    assert "is_click, test, all" in result.output
    rows = {
        (row.model, row.seed, row.metric): row for row in read_metric_rows(tmp_path / "ctr.json") if row.cohort == "all"
    }
    found = predict(plain, click_log, "test")
    expected = auc(found["label"].to_numpy(), found["prediction"].to_numpy())
    assert rows["dcn_v2", None, "AUC"].value == rows["dcn_v2", 0, "AUC"].value == pytest.approx(expected)
    assert {"length", "item_shrunk", "user_shrunk", "dcn_v2"} == {model for model, _, _ in rows}
    assert not (tmp_path / "ctr").exists()  # no placebo runs unless asked for


def test_against_a_file_and_a_run(plain, scored, click_log, tmp_path):
    predicted = predict(plain, click_log, "test").select(*KEY, "prediction")
    predicted.sample(fraction=1, shuffle=True, seed=0).write_parquet(tmp_path / "copy.parquet")
    result = evaluate(
        scored.path, click_log.path, "--out", tmp_path / "ctr.json",
        "--against", tmp_path / "copy.parquet", "--against", f"bare={plain.path}",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = [row for row in read_metric_rows(tmp_path / "ctr.json") if row.versus and row.cohort == "all"]
    by_versus = {versus: {row.metric: row.value for row in rows if row.versus == versus} for versus in ("copy", "bare")}
    assert by_versus["copy"] == pytest.approx(by_versus["bare"])  # the same predictions, by two ways
    assert set(by_versus["bare"]) == set(METRICS)
    assert by_versus["bare"]["AUC"] > 0.2  # these scores know the label


def test_placebos_take_away_what_the_scores_know(scored, click_log, tmp_path):
    arguments = (scored.path, click_log.path, "--placebo", "--out", tmp_path / "ctr.json")
    result = evaluate(*arguments)
    assert result.exit_code == 0, result.output
    rows = read_metric_rows(tmp_path / "ctr.json")
    found = {(row.model, row.versus): row for row in rows if (row.cohort, row.metric, row.seed) == ("all", "AUC", None)}
    real = "dcn_v2:features"
    without = found["dcn_v2", None].value
    assert found[real, None].value > 0.95
    for placebo in PLACEBOS:
        assert abs(found[f"{real}+placebo_{placebo}", None].value - without) < 0.08
        assert found[real, f"{real}+placebo_{placebo}"].low > 0
    assert found[real, "dcn_v2"].low > 0
    trained = sorted((tmp_path / "ctr").glob("scored/*/model.safetensors"))
    assert len(trained) == 1 + len(PLACEBOS)
    times = [file.stat().st_mtime_ns for file in trained]
    assert evaluate(*arguments).exit_code == 0
    assert [file.stat().st_mtime_ns for file in trained] == times  # found again, not trained again


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    def run(*arguments):
        out = tmp_path / "out.json"
        monkeypatch.setattr("sys.argv", ["segrec", "evaluate", "ctr", *map(str, arguments), "--out", str(out)])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 2
        assert not out.exists()
        return capsys.readouterr().err.strip().splitlines()[-1]

    return run


def test_bad_use_is_one_line_and_exit_2(plain, click_log, tmp_path, refused):
    log = click_log.path
    assert "--split 'tset' is unknown (known: train, valid, test)" in refused(plain.path, log, "--split", "tset")
    assert "was trained on the train rows" in refused(plain.path, log, "--split", "train")
    assert "--placebo needs a run with --scores" in refused(plain.path, log, "--placebo")
    assert "is not a run folder" in refused(tmp_path, log)
    assert "is not a dataset folder" in refused(plain.path, tmp_path)
    assert "model dcn_v2, seed 0 was given twice" in refused(plain.path, plain.path, log)
    assert "nowhere.parquet: is not there" in refused(plain.path, log, "--against", "x=nowhere.parquet")
