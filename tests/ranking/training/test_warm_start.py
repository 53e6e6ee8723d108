"""A ranker starts with an older run's rows by raw id, though its vocabulary is another one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from ranking.encoding.feature_encoding import FittedFeatures
from ranking.rankers import find_ranker
from ranking.training.ranker_run import train_ranker
from ranking.training.warm_start import warm_start_lines
from segrec.fitting.stored_checkpoint import StoredCheckpoint
from segrec.records import ConfigError, DatasetFolder, RunFolder, SegrecError

CONFIG = find_ranker("dcn_v2").config.of(
    sets=[
        "epochs=1", "device=cpu", "embedding_dim=4", "mlp=[8]", "cross_layers=1", "patience=null",
        "features.only=[user_id,item_id,tab,duration]", "features.label_rates=false",
    ]
)  # fmt: skip
STILL = ["learning_rate=1e-30", "table_learning_rate=1e-30"]
"Nothing moves: what a run ends with is what it began with."


def trained(dataset: DatasetFolder, out: Path, *sets: str) -> RunFolder:
    values = CONFIG.model_dump(mode="json", exclude_unset=True)
    config = type(CONFIG).checked(
        _merged(values, type(CONFIG).of(sets=sets).model_dump(mode="json", exclude_unset=True))
    )
    return train_ranker("dcn_v2", dataset, out, label="is_click", config=config)[0]


def _merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    for name, value in more.items():
        values[name] = _merged(values.get(name, {}), value) if isinstance(value, dict) else value
    return values


@pytest.fixture(scope="module")
def newer_log(click_log: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """The same log without users 0 .. 9 and with every tenth item under a new id, all a month later."""
    folder = tmp_path_factory.mktemp("newer") / "clicks"
    shutil.copytree(click_log.path, folder)
    for file in (folder / "interactions").glob("*/*.parquet"):
        rows = pl.read_parquet(file).filter(pl.col("user_id") >= 10)
        new = pl.when(pl.col("item_id") % 10 == 0).then(pl.col("item_id") + 1000).otherwise("item_id")
        rows.with_columns(new.alias("item_id"), pl.col("time_ms") + 30 * 86_400_000).write_parquet(file)
    meta = json.loads((folder / "dataset.json").read_text())
    meta["rows"] = dict(pl.read_parquet(folder / "interactions")["split"].value_counts().iter_rows())
    (folder / "dataset.json").write_text(json.dumps({**meta, "fingerprint": "e" * 64}))
    return DatasetFolder.open(folder)


@pytest.fixture(scope="module")
def older(click_log: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return trained(click_log, tmp_path_factory.mktemp("older") / "run")


def table(run: RunFolder, name: str) -> torch.Tensor:
    weights = load_file(run.path / "model.safetensors")
    return next(value for key, value in weights.items() if key.endswith(f"_{name}.weight"))


def rows_of(run: RunFolder, name: str) -> dict[int, torch.Tensor]:
    """Raw id -> row."""
    ids = FittedFeatures.load(run.path / "features").vocabularies[name].ids  # type: ignore[attr-defined]
    return dict(zip(ids.to_list(), table(run, name)[2:], strict=True))


def test_rows_move_by_raw_id_and_new_ids_keep_their_start(
    older: RunFolder, newer_log: DatasetFolder, tmp_path: Path
) -> None:
    cold = trained(newer_log, tmp_path / "cold", *STILL)
    warm = trained(newer_log, tmp_path / "warm", *STILL, f"warm_start.run={older.path}", "warm_start.tables=[item_id]")
    before, fresh, now = (rows_of(run, "item_id") for run in (older, cold, warm))
    for item, row in now.items():
        expected = fresh[item] if item >= 1000 else before[item]
        assert torch.allclose(row, expected, atol=1e-7), item
    assert torch.allclose(table(warm, "item_id")[:2], table(older, "item_id")[:2], atol=1e-7)
    assert torch.allclose(table(warm, "user_id"), table(cold, "user_id"), atol=1e-7)
    # 40 items, of which 0, 10, 20, 30 are 1000, 1010 ... now
    assert list(warm_start_lines(warm.path)) == ["warm start, item_id: 36 rows taken, 4 new, 4 gone"]


def test_all_tables_that_both_runs_have(older: RunFolder, newer_log: DatasetFolder, tmp_path: Path) -> None:
    features = "features.only=[user_id,item_id,tab,duration,author_id]"
    warm = trained(newer_log, tmp_path / "warm", *STILL, f"warm_start.run={older.path}", features)
    lines = list(warm_start_lines(warm.path))
    assert lines[0] == "warm start, user_id: 50 rows taken, 0 new, 10 gone"
    assert "warm start, author_id: left out (the older run has no such table)" in lines
    assert any(line.startswith("warm start, duration: ") for line in lines)


def test_the_state_of_the_rows_optimizer_and_the_dense_part_come_along(
    older: RunFolder, click_log: DatasetFolder, tmp_path: Path
) -> None:
    sets = (f"warm_start.run={older.path}", "warm_start.optimizer=true", "warm_start.dense=true")
    warm = trained(click_log, tmp_path / "warm", *STILL, *sets)
    before, now = load_file(older.path / "model.safetensors"), load_file(warm.path / "model.safetensors")
    for name, value in now.items():
        assert torch.allclose(value, before[name], atol=1e-7), name
    sums = [_sums(StoredCheckpoint.open(run.path)) for run in (older, warm)]
    cold = _sums(StoredCheckpoint.open(trained(click_log, tmp_path / "cold", *STILL).path))
    # a step adds to the sums even though the rate is tiny: the warm run's hold the older run's and its own
    assert bool((sums[1] >= sums[0]).all())
    assert float(sums[1].sum()) > float(cold.sum()) + 0.5 * float(sums[0].sum())


def test_tables_of_past_events_take_rows_by_the_id_that_they_show(click_log: DatasetFolder, tmp_path: Path) -> None:
    config = find_ranker("can").config
    sets = (
        "epochs=1", "device=cpu", "embedding_dim=4", "mlp=[8]", "patience=null", "features.label_rates=false",
        "features.only=[user_id,item_id]", "features.history.length=3",
    )  # fmt: skip
    runs = [
        train_ranker("can", click_log, tmp_path / name, label="is_click", config=config.of(sets=[*sets, *more]))[0]
        for name, more in (("older", ()), ("warm", (*STILL, f"warm_start.run={tmp_path / 'older'}")))
    ]
    before, now = (load_file(run.path / "model.safetensors") for run in runs)
    tables = [name for name in now if ".embedding" in name]
    assert len(tables) == 5
    for name in tables:
        assert torch.allclose(now[name], before[name], atol=1e-7), name
    assert "warm start, item_id_feed: 40 rows taken, 0 new, 0 gone" in list(warm_start_lines(runs[1].path))


def test_sums_of_an_older_run_with_column_shards_come_as_their_mean(
    older: RunFolder, click_log: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = (*STILL, f"warm_start.run={older.path}", "warm_start.optimizer=true")
    plain = _sums(StoredCheckpoint.open(trained(click_log, tmp_path / "plain", *sets).path))
    stored = StoredCheckpoint.open(older.path)
    states = [name for name in stored.tensors if name.startswith("tables/")]
    two = {name: torch.cat([stored.read(name), stored.read(name) + 2]) for name in states}
    sizes = {name: replace(meta, size=two[name].shape if name in two else meta.size)
             for name, meta in stored.tensors.items()}  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr(StoredCheckpoint, "tensors", sizes)
        patched.setattr(StoredCheckpoint, "read", lambda _, name: two[name])
        run = trained(click_log, tmp_path / "sharded", *sets)
    assert torch.allclose(_sums(StoredCheckpoint.open(run.path)), plain + 1, atol=1e-6)


def _sums(stored: StoredCheckpoint) -> torch.Tensor:
    return stored.read(stored.states_of(stored.table("user_id"))[0])


def with_text_ids(run: Path) -> list[str]:
    file = run / "features/vocabularies/item_id.parquet"
    pl.read_parquet(file).with_columns(pl.col("id").cast(pl.String).sort()).write_parquet(file)
    return []


def without_weights(run: Path) -> list[str]:
    (run / "model.safetensors").unlink()
    return []


def without_checkpoints(run: Path) -> list[str]:
    shutil.rmtree(run / "checkpoints")
    return ["warm_start.optimizer=true"]


def trained_later(run: Path) -> list[str]:
    meta = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**meta, "trained_until_ms": 2_000_000_000_000}))
    return []


def setting(*sets: str) -> Callable[[Path], list[str]]:
    return lambda run: list(sets)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (setting("embedding_dim=8"), r"table 'user_id' has another width \(found: 4; expected: 8\); use the older"),
        (setting("warm_start.tables=[usr]"), r"warm_start.tables: 'usr' is no table of this run \(tables: user_id, "),
        (
            setting("features.only=[item_id,author_id]", "warm_start.tables=[author_id]"),
            "table 'author_id' cannot be taken: the older run has no such table",
        ),
        (setting("warm_start.dense=true", "mlp=[4]"), r"'head.weight' of .* is \[1, .*\] \(here: \[1, "),
        (setting("warm_start.dense=true", "features.only=[user_id,tab]"), r"has other features \(item_id\)"),
        (
            setting("warm_start.optimizer=true", "table_optimizer=adagrad"),
            r"table 'user_id' has another optimizer: state 'momentum1' \(found: \(62,\); expected: \(62, 4\)\)",
        ),
        (setting("tables.item_id.ids=hash", "tables.item_id.rows=50", "warm_start.tables=[item_id]"), "in another way"),
        (with_text_ids, "column 'id' holds Int64 .expected: String"),
        (without_weights, "model.safetensors: cannot be read"),
        (without_checkpoints, "holds no checkpoints"),
        (trained_later, "was trained on rows as new as the valid or test rows"),
    ],
)
def test_what_cannot_be_taken_is_one_line(
    older: RunFolder, newer_log: DatasetFolder, tmp_path: Path, spoil: Callable[[Path], list[str]], message: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(older.path, source)
    with pytest.raises(SegrecError, match=message):
        trained(newer_log, tmp_path / "run", f"warm_start.run={source}", *spoil(source))


def test_no_run_there(newer_log: DatasetFolder, tmp_path: Path) -> None:
    with pytest.raises(SegrecError, match="nowhere: is not a run folder"):
        trained(newer_log, tmp_path / "run", "warm_start.run=nowhere")
    assert not (tmp_path / "run.partial").exists()
    with pytest.raises(ConfigError, match=r"unknown field 'warm_start\.table'"):
        trained(newer_log, tmp_path / "run", "warm_start.table=[item_id]")
