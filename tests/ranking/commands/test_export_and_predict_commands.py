"""`segrec export` and `segrec predict` on the command line: what they print, leave and refuse."""

import json
from shutil import copytree

import polars as pl
import pytest
from typer.testing import CliRunner

from ranking.cli import build_app
from ranking.measures.prediction_files import read_predictions
from ranking.rankers import find_ranker
from ranking.training.ranker_run import train_ranker
from segrec.records import KEY, ConfigError, RunFolder, RunMeta, write_run_meta


@pytest.fixture(scope="module")
def folders(click_log, tmp_path_factory):
    """A trained run and its int8 export, with what the command printed."""
    folder = tmp_path_factory.mktemp("served")
    config = find_ranker("dcn_v2").config.checked(
        {"device": "cpu", "batch_size": 200, "epochs": 2, "embedding_dim": 8, "table_learning_rate": 0.2}
    )
    train_ranker("dcn_v2", click_log, folder / "run", label="is_click", config=config)
    told = invoke("export", folder / "run", "--out", folder / "export", "--quantise", "int8").output
    return folder / "run", folder / "export", told


def invoke(*arguments):
    result = CliRunner().invoke(build_app(), [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def test_export_tells_size_and_parity(folders, click_log):
    _, export, told = folders
    assert "tables int8" in told
    assert f"checked on 611 rows ({click_log.path}): largest difference of a prediction" in told
    assert "AUC of is_click" in told
    assert json.loads((export / "parity.json").read_text())["labels"] == {"is_click": "logged"}


def test_run_and_export_predict_alike(folders, click_log, tmp_path):
    run, export, _ = folders
    told = [
        invoke("predict", model, click_log.path, "--out", tmp_path / f"{model.name}.parquet").output
        for model in (run, export)
    ]
    assert "603 rows, prediction" in told[0]
    ours, theirs = (pl.read_parquet(tmp_path / f"{model.name}.parquet") for model in (run, export))
    assert ours.columns == [*KEY, "prediction"]
    rows = click_log.interactions(["test"]).select(KEY).collect()
    assert ours.select(KEY).equals(rows)
    assert 0 < (ours["prediction"] - theirs["prediction"]).abs().max() < 0.01
    assert (read_predictions(tmp_path / "export.parquet", rows) == theirs["prediction"].to_numpy()).all()


def test_all_rows_with_columns_in_the_order_of_the_dataset(folders, click_log, tmp_path):
    out = tmp_path / "all.parquet"
    invoke("predict", folders[1], click_log.path, "--out", out, "--split", "all", "--columns", "split,tab")
    found = pl.read_parquet(out)
    assert found.columns == [*KEY, "split", "tab", "prediction"]
    whole = click_log.interactions().select(*KEY, "split", "tab").collect()
    assert found.drop("prediction").equals(whole)
    assert found["prediction"].is_between(0, 1).all()


def test_unlabelled_rows_are_predicted(folders, click_log, make_dataset, tmp_path):
    rows = click_log.interactions(["test"]).head(5).collect().drop("is_click", "watch_ms")
    other = make_dataset(rows, click_log.users(), click_log.items(), context=["tab"], name="unlabelled")
    for model in folders[:2]:
        invoke("predict", model, other.path, "--out", tmp_path / "found.parquet", "--overwrite")
        assert pl.read_parquet(tmp_path / "found.parquet").height == 5


def test_evaluate_reads_the_file(folders, click_log, tmp_path):
    run, export, _ = folders
    invoke("predict", export, click_log.path, "--out", tmp_path / "served.parquet")
    invoke(
        "evaluate", "ctr", run, click_log.path, "--out", tmp_path / "metrics.json",
        "--against", f"served={tmp_path / 'served.parquet'}", "--replicates", "100",
    )  # fmt: skip
    rows = json.loads((tmp_path / "metrics.json").read_text())
    own = [row for row in rows if row["metric"] == "AUC" and row["cohort"] == "all" and row["versus"] is None]
    auc = {row["model"]: row["value"] for row in own}
    assert auc["served"] == pytest.approx(auc["dcn_v2"], abs=1e-3)


def test_without_a_compiler_the_program_serves(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("ranking.export.compilation.which", lambda name: None)
    told = invoke("export", folders[0], "--out", tmp_path / "export", "--aot").output
    assert "note: g++ is not installed: nothing is compiled, the torch.export program serves" in told
    assert json.loads((tmp_path / "export" / "manifest.json").read_text())["compiled"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--columns", "tabb"], "--columns tabb: not in"),
        (["--columns", "user_id"], "--columns user_id: the file has a column of that name already"),
        (["--columns", "tab,tab"], "--columns tab: the file has a column of that name already"),
    ],
)
def test_bad_columns(options, message, folders, tmp_path, refused):
    dataset = RunFolder.open(folders[0]).meta.dataset
    line = refused("predict", folders[0], dataset, "--out", tmp_path / "x.parquet", *options)
    assert message in line
    assert not list(tmp_path.iterdir())


def test_a_file_missing_from_an_export(folders, click_log, tmp_path, refused):
    copied = copytree(folders[1], tmp_path / "export")
    (copied / "dense.pt2").unlink()
    line = refused("predict", copied, click_log.path, "--out", tmp_path / "x.parquet")
    assert "dense.pt2: is missing from the exported ranker; export the run again" in line


def test_an_export_without_its_manifest(folders, click_log, tmp_path, refused):
    copied = copytree(folders[1], tmp_path / "export")
    (copied / "manifest.json").unlink()
    line = refused("predict", copied, click_log.path, "--out", tmp_path / "x.parquet")
    assert "is not an exported ranker (manifest.json is missing)" in line


def test_a_file_that_is_there_stays(folders, click_log, tmp_path, refused):
    out = tmp_path / "x.parquet"
    out.write_bytes(b"mine")
    line = refused("predict", folders[0], click_log.path, "--out", out)
    assert "exists already; choose another --out, or pass --overwrite" in line
    assert out.read_bytes() == b"mine"
    invoke("predict", folders[0], click_log.path, "--out", out, "--overwrite")
    assert "prediction" in pl.read_parquet(out).columns


def test_predictions_are_parquet_by_name_too(folders, click_log, tmp_path, refused):
    line = refused("predict", folders[0], click_log.path, "--out", tmp_path / "x.csv")
    assert line.endswith("x.csv: does not end in .parquet; pass --out " + str(tmp_path / "x.parquet"))


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"kind": "encoder", "name": "segment_interest"}, "another kind (found: encoder; expected: ranker)"),
        ({"kind": "ranker", "name": "dcn_v2", "rows": "segments"}, "was trained on segments, not on impressions"),
        (None, "is not a run folder (run.json is missing)"),
    ],
)
def test_what_is_no_run_of_impressions(meta, message, click_log, tmp_path, refused):
    (tmp_path / "run").mkdir()
    if meta is not None:
        told = RunMeta.model_validate({"seed": 0, "dataset": "d", "dataset_fingerprint": "f", **meta})
        write_run_meta(tmp_path / "run", told)
    for command, more in (("export", []), ("predict", [click_log.path])):
        assert message in refused(command, tmp_path / "run", *more, "--out", tmp_path / "x.parquet")
        assert not (tmp_path / "x.parquet").exists()


def test_prediction_is_the_work_of_one_process(folders, click_log, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    words = ["predict", str(folders[0]), str(click_log.path), "--out", str(tmp_path / "x.parquet")]
    with pytest.raises(ConfigError, match="work of one process; run it without torchrun"):
        CliRunner().invoke(build_app(), words, catch_exceptions=False)
