"""Runs with hashed and managed ids, and tables that differ from the others: end to end on a small log."""

from __future__ import annotations

import json
import re

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from ranking.cli import build_app
from ranking.prediction import predict
from ranking.rankers import find_ranker
from ranking.rankers.table_settings import TableOverride
from ranking.rows.stream import RankingStream
from ranking.training.ranker_run import train_ranker
from segrec.records import ConfigError
from segrec.tables import TableSpec

BOTH = {
    "user_id": {"ids": "managed", "rows": 40, "eviction": "lfu", "evict_every": 2},
    "item_id": {"ids": "managed", "rows": 42, "evict_every": 2, "optimizer": "adagrad", "learning_rate": 0.1},
    "author_id": {"ids": "hash", "rows": 8, "init_uniform": 0.05},
    "tag": {"ids": "hash", "rows": 9, "dtype": "fp16"},
}


def train(dataset, out, name="dcn_v2", **values):
    settings = {
        "device": "cpu",
        "batch_size": 200,
        "epochs": 3,
        "embedding_dim": 4,
        "table_learning_rate": 0.2,
        **values,
    }
    return train_ranker(name, dataset, out, label="is_click", config=find_ranker(name).config.checked(settings))


@pytest.mark.parametrize("name", ["dcn_v2", "din", "can"])
def test_hashed_and_managed_ids_learn_and_predict_from_the_folder(name, click_log, tmp_path):
    run, result = train(click_log, tmp_path / "run", name, tables=BOTH)
    assert result.best["AUC"] > 0.7
    weights = load_file(run.path / "model.safetensors")
    rows = {key.split(".")[-2]: len(value) for key, value in weights.items() if key.endswith(".weight") and "00" in key}
    assert rows["00_user_id"] == 40
    found = predict(run, click_log, "valid")
    again = predict(run, click_log, "valid")
    assert found["prediction"].to_list() == again["prediction"].to_list()
    plan = json.loads((run.path / "plan.json").read_text())
    assert {table["table"]: table["dtype"] for table in plan["tables"]}["08_tag"] == "float16"


def test_a_stopped_run_with_managed_ids_goes_on_bit_equal(click_log, tmp_path, monkeypatch):
    settings = {"tables": BOTH, "epochs": 2, "checkpoint_every": 3}
    whole, _ = train(click_log, tmp_path / "whole", **settings)
    plain = RankingStream.epoch

    def broken(self, epoch, start=0):
        for number, batch in enumerate(plain(self, epoch, start), start):
            if epoch == 1 and number == 5:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(RankingStream, "epoch", broken)
    with pytest.raises(KeyboardInterrupt):
        train(click_log, tmp_path / "stopped", **settings)
    monkeypatch.setattr(RankingStream, "epoch", plain)
    resumed, _ = train(click_log, tmp_path / "stopped", **settings)
    first, second = (load_file(run.path / "model.safetensors") for run in (whole, resumed))
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_strangers_are_answered_alike(click_log, make_dataset, tmp_path):
    run, _ = train(click_log, tmp_path / "run", epochs=1, tables=BOTH)
    rows = click_log.interactions(["test"]).collect()
    rows = rows.with_columns(user_id=10_000 + pl.int_range(pl.len()))
    other = make_dataset(rows, click_log.users(), click_log.items(), flags=["is_click"], context=["tab"], name="other")
    found = predict(run, other, "test").join(rows, on=["user_id", "time_ms"])
    alike = found.group_by("item_id", "tab", pl.col("time_ms") // 3_600_000).agg(
        pl.col("prediction").n_unique(), pl.len()
    )
    assert alike["len"].max() > 1
    assert alike["prediction"].max() == 1
    assert not found["user_warm"].any()


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"item": {"dim": 8}}, r"tables.item: this run has no such table \(tables: user_id, item_id"),
        ({"duration": {"ids": "hash", "rows": 9}}, "tables.duration: ids=hash, but its ids are 20 quantile buckets"),
        ({"tag": {"ids": "managed", "rows": 9}}, "tables.tag: ids=managed is for one id a row, and this is a bag"),
        ({"item_id": {"dtype": "bf16"}}, "table '01_item_id': dtype 'bf16' needs CUDA"),
        ({"item_id": {"memory": "uvm_caching"}}, "table '01_item_id': memory 'uvm_caching' needs CUDA"),
        ({"item_id": {"optimizer": "adam"}}, "table '01_item_id': optimizer 'adam' .* needs CUDA"),
        ({"item_id": {"sharding": ["row_wise"]}}, "table '01_item_id': sharding row_wise of a pooled table needs CUDA"),
        ({"item_id": {"ids": "hash"}}, "ids=hash needs rows"),
        ({"item_id": {"dim": 6}}, "field 'tables.item_id.dim'"),
        ({"item_id": {"width": 8}}, "unknown field 'tables.item_id.width'"),
    ],
)
def test_settings_that_no_table_can_have_are_one_line(tables, message, click_log, tmp_path):
    with pytest.raises(ConfigError, match=message) as error:
        train(click_log, tmp_path / "run", tables=tables)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("ids", ["hash", "managed"])
def test_unseen_ids_cannot_be_refused_where_every_id_gets_a_row(ids, click_log, tmp_path):
    tables = {"item_id": {"ids": ids, "rows": 50}}
    with pytest.raises(ConfigError, match=f"tables.item_id: ids={ids} gives every id a row, and features.unseen"):
        train(click_log, tmp_path / "run", tables=tables, features={"unseen": {"item_id": "reject"}})


def test_rankers_of_fields_of_one_width_say_so(click_log, tmp_path):
    with pytest.raises(ConfigError, match="the ranker's fields need tables of one width"):
        train(click_log, tmp_path / "run", "deep_fm", tables={"item_id": {"dim": 16}})


def test_what_is_special_replaces_what_is_common():
    common = TableSpec(name="t", rows=9, dim=4, features=("t",), init_std=0.3, learning_rate=0.2)
    changed = TableOverride(dim=8, init_uniform=0.1, sharding=("row_wise",)).applied_to(common)
    assert (changed.dim, changed.init_std, changed.init_uniform, changed.learning_rate) == (8, None, 0.1, 0.2)
    assert changed.sharding == ("row_wise",)
    assert TableOverride().applied_to(common) == common


def test_the_command_tells_tables_and_ids_and_refuses_what_the_cpu_lacks(click_log, tmp_path):
    line = ["rank", "dcn_v2", str(click_log.path), "--label", "is_click", "--out", str(tmp_path / "run")]
    line += ["--set", "epochs=1", "--set", "device=cpu", "--set"]
    done = CliRunner().invoke(build_app(), [*line, "tables={author_id: {ids: hash, rows: 6}}"])
    assert done.exit_code == 0, done.output
    assert "tables:\ntable " in done.output
    assert re.search(r"valid +author_id +hash +6 +0.0% +0.0% +\d+.\d% of ids", done.output)
    with pytest.raises(ConfigError, match="table '01_item_id': memory 'host' needs CUDA"):
        CliRunner().invoke(
            build_app(), [*line, "tables={item_id: {memory: host}}", "--overwrite"], catch_exceptions=False
        )
