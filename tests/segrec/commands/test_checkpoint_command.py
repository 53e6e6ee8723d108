"""`segrec checkpoint inspect | diff | export`: what they print and write, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from ranking.cli import build_app, main
from segrec.fitting import Checkpoints, FitConfig, Progress
from segrec.fitting.stored_checkpoint import StoredCheckpoint
from segrec.records import DataError
from segrec.tables import TableSpec, Vocabulary, bags, distribute

IDS = Vocabulary.fit(pl.Series("item", [7, 3, 9]))


class Clicks(nn.Module):
    """One table of three ids and a dense layer, both filled by hand."""

    def __init__(self, scale: float, device: str) -> None:
        super().__init__()
        spec = TableSpec(name="00_item", rows=IDS.size, dim=4, features=("item",))
        self.tables, self.out = bags([spec], device), nn.Linear(4, 1)
        self.spec = spec
        with torch.no_grad():
            self.out.weight.copy_(torch.arange(4.0)[None])
            self.out.bias.fill_(scale)


def make_run(folder: Path, *, scale: float = 1.0, seed: int = 0, steps: tuple[int, ...] = (5, 10)) -> Path:
    """A run's checkpoints and vocabulary; the best one is the first."""
    module = Clicks(scale, "meta")
    whole = distribute(module, [module.spec], seed=0)
    table = whole.state_dict()["tables.embedding_bags.00_item.weight"].local_shards()[0].tensor
    table.copy_(torch.arange(20.0).view(5, 4))
    table[4] *= scale
    optimizer = torch.optim.SGD(module.out.parameters(), lr=0.1, momentum=0.9)
    kept = Checkpoints(folder / "checkpoints", whole, optimizer)
    kept.check_same_config(FitConfig(seed=seed))
    for step in steps:
        progress = Progress(epoch=1, batch=2, step=step)
        if step == steps[0]:
            progress.record({"NLL": 0.5}, "NLL", minimize=True)
        progress.best, progress.best_step, progress.best_epoch = 0.5, steps[0], 1
        kept.save(progress)
    (folder / "features" / "vocabularies").mkdir(parents=True)
    IDS.to_frame().write_parquet(folder / "features" / "vocabularies" / "item.parquet")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run")


def told(*arguments: str) -> list[str]:
    result = CliRunner().invoke(build_app(), ["checkpoint", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_inspect_a_run(run: Path) -> None:
    lines = told("inspect", str(run))
    assert lines[0].split() == ["checkpoint", "epoch", "batch", "best", "MiB", "state"]
    assert lines[1].split() == ["step_00000005", "1", "2", "0.50000", "at", "step", "5", "0.0", "intact"]
    assert lines[4] == f"{run}/checkpoints/step_00000005: step 5, next: batch 2 of epoch 1 (from 0)"
    assert "best so far: 0.500000 at step 5 (epoch 1)" in lines
    assert "validation at step 5: loss 0.000000, NLL 0.500000" in lines
    table = next(line for line in lines if line.startswith("00_item"))
    assert table.split() == ["00_item", "5", "4", "float32", "0.00", "1", "momentum1", "5"]
    # 5 x 4 values of the table, 5 sums of row-wise Adagrad
    assert "tables: 1 tensors, 20 values, 0.00 MiB" in lines
    assert "their optimizers: 1 tensors, 5 values, 0.00 MiB" in lines
    assert "  out.weight 1x4 float32" in lines


def test_inspect_names_the_damaged_one_and_reads_the_other(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    data = next((run / "checkpoints/step_00000005").glob("*.distcp"))
    data.write_bytes(data.read_bytes()[:-1])
    lines = told("inspect", str(run))
    assert "damaged: __0_0.distcp has" in lines[1]
    assert any(line.startswith(f"{run}/checkpoints/step_00000010: step 10") for line in lines)


def test_a_stopped_run_is_found_too(tmp_path: Path) -> None:
    make_run(tmp_path / "run.partial")
    assert StoredCheckpoint.open(tmp_path / "run").path == tmp_path / "run.partial/checkpoints/step_00000005"


def test_diff_of_a_run_with_itself(run: Path) -> None:
    assert told("diff", str(run), str(run)) == ["equal: settings, progress, weights and optimizer states"]


def test_diff_names_settings_rows_and_sizes(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", scale=2.0, seed=4, steps=(6, 10))
    # row 4 holds 16 .. 19 and is doubled: 19 is the largest difference; the bias is 1 and 2
    assert told("diff", str(run), str(other)) == [
        "setting seed: 0 | 4",
        "step: 5 | 6",
        "module/out.bias 1: 1 values differ, by 1 at most",
        "module/tables.embedding_bags.00_item.weight 5x4: 4 values differ, 1 of 5 rows, by 19 at most",
    ]


def test_export_all_weights(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    assert told("export", str(run), "--out", str(out)) == [f"{out}: 3 tensors of step_00000005"]
    weights = load_file(out)
    assert sorted(weights) == ["out.bias", "out.weight", "tables.embedding_bags.00_item.weight"]
    assert weights["out.weight"].tolist() == [[0.0, 1.0, 2.0, 3.0]]
    assert torch.equal(weights["tables.embedding_bags.00_item.weight"], torch.arange(20.0).view(5, 4))


@pytest.mark.parametrize("name", ["item", "00_item"])
def test_export_one_table_by_raw_ids(run: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "item.parquet"
    told("export", str(run / "checkpoints/step_00000010"), "--table", name, "--out", str(out))
    frame = pl.read_parquet(out)
    assert frame["id"].to_list() == [None, None, 3, 7, 9]
    assert frame["code"].to_list() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(frame["vector"].to_numpy(), np.arange(20.0).reshape(5, 4))


def no_such_table(run: Path) -> list[str]:
    return ["export", str(run), "--table", "user", "--out", str(run / "x.parquet")]


def no_vocabulary(run: Path) -> list[str]:
    (run / "features/vocabularies/item.parquet").unlink()
    return ["export", str(run), "--table", "item", "--out", str(run / "x.parquet")]


def exists(run: Path) -> list[str]:
    return ["export", str(run), "--out", str(run / "checkpoints/config.json")]


def other_suffix(run: Path) -> list[str]:
    return ["export", str(run), "--table", "item", "--out", str(run / "x.csv")]


def damaged(run: Path) -> list[str]:
    (run / "checkpoints/step_00000010/progress.json").write_text("{}")
    return ["inspect", str(run / "checkpoints/step_00000010")]


def all_damaged(run: Path) -> list[str]:
    for path in (run / "checkpoints").glob("step_*"):
        (path / "manifest.json").unlink()
    return ["diff", str(run), str(run)]


def no_run(run: Path) -> list[str]:
    return ["inspect", str(run / "features")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (no_such_table, "has no table 'user' (found: 00_item)"),
        (no_vocabulary, "has no vocabulary of table '00_item' (found: none); tables of bucketed numbers"),
        (exists, "config.json: exists already"),
        (other_suffix, "x.csv: does not end in .parquet; pass --out "),
        (damaged, "step_00000010: is damaged (progress.json has 2 of"),
        (all_damaged, "holds no intact checkpoint (found: 2 damaged)"),
        (no_run, "features: holds no checkpoints; pass a run folder"),
    ],
)
def test_bad_use_is_one_line_and_exit_2(
    arguments: Callable[[Path], list[str]],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make_run(tmp_path / "run")
    monkeypatch.setattr("sys.argv", ["segrec", "checkpoint", *arguments(run)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (run / "x.parquet").exists()


def test_a_checkpoint_that_is_not_there(run: Path) -> None:
    with pytest.raises(DataError, match=r"step_00000077: is damaged \(no such folder\)"):
        StoredCheckpoint.open(run / "checkpoints/step_00000077")
