"""A killed run that is started again: same weights, no row twice, no row left out."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from segrec.fitting import Checkpoints

PROGRAM = Path(__file__).with_name("click_program.py")


def killed(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def check_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("tables", [True, False], ids=["tables", "plain"])
def test_killed_in_mid_epoch_ends_with_the_same_weights(
    tmp_path: Path, click_program: ModuleType, tables: bool
) -> None:
    whole, weights = click_program.run(tmp_path / "whole", tables=tables)
    # 10 batches an epoch; checkpoints at 4, 8, 10, 12, 16 ...: the kill at step 14 loses batches 12 and 13
    killed(tmp_path / "killed", "--kill-at", "14", *(["--tables"] if tables else []))
    stream = click_program.RecordingStream()
    resumed, again = click_program.run(tmp_path / "killed", tables=tables, stream=stream)
    check_same(weights, again)
    assert resumed == whole
    uninterrupted = click_program.RecordingStream().inner
    expected = [rows.tolist() for epoch in range(3) for rows in uninterrupted.row_numbers(epoch)]
    assert stream.given == expected[12:]


def test_killed_five_times_at_random_steps_and_times_ends_as_if_it_was_not(
    tmp_path: Path, click_program: ModuleType
) -> None:
    whole, state = click_program.run(tmp_path / "whole", tables=True)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path / "killed"), "--kills", "11"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    resumed, again = click_program.run(tmp_path / "killed", tables=True, config=click_program.BACKGROUND)
    check_same(state, again)  # weights, Adagrad's sums, Adam's means: bit for bit; one wrote its checkpoints in between
    assert resumed == whole


def test_killed_while_a_checkpoint_is_written_goes_back_to_the_one_before(
    tmp_path: Path, click_program: ModuleType
) -> None:
    whole, weights = click_program.run(tmp_path / "whole", tables=True)
    killed(tmp_path / "killed", "--tables", "--kill-in-checkpoint", "20")
    assert (tmp_path / "killed/checkpoints/step_00000020.partial").is_dir()
    assert not (tmp_path / "killed/checkpoints/step_00000020").exists()
    stream = click_program.RecordingStream()
    resumed, again = click_program.run(tmp_path / "killed", tables=True, stream=stream)
    check_same(weights, again)
    assert resumed == whole
    assert len(stream.given) == 30 - 16
    assert not list((tmp_path / "killed/checkpoints").glob("*.partial"))


def test_a_finished_run_started_again_trains_no_step(tmp_path: Path, click_program: ModuleType) -> None:
    first, weights = click_program.run(tmp_path, tables=False)
    stream = click_program.RecordingStream()
    second, again = click_program.run(tmp_path, tables=False, stream=stream)
    assert stream.given == []
    assert first == second
    check_same(weights, again)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory, click_program: ModuleType) -> Path:
    """The folder of all that `_two_processes` does; resharded/ was begun by one process."""
    folder = tmp_path_factory.mktemp("two")
    fittable, _ = click_program.build(tables=True, dropout=0.0)
    begun = click_program.BACKGROUND.model_copy(update={"epochs": 1})
    click_program.fit(fittable, click_program.RecordingStream(), begun, folder / "resharded")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launch, str(PROGRAM), str(folder), "--two"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory, click_program: ModuleType) -> SimpleNamespace:
    fittable, module = click_program.build(tables=True, dropout=0.0)
    start = click_program.whole_state(module)
    folder = tmp_path_factory.mktemp("one")
    result = click_program.fit(fittable, click_program.RecordingStream(), click_program.CONFIG, folder)
    return SimpleNamespace(
        start=start,
        result=result,
        end=click_program.whole_state(module),
        predictions=predictions(click_program, module),
    )


def predictions(click_program: ModuleType, module: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return torch.sigmoid(module.eval()(*click_program.columns()))


@pytest.mark.slow
def test_two_processes_start_and_learn_as_one_and_their_checkpoint_loads_in_one(
    two_processes: Path, one_process: SimpleNamespace, click_program: ModuleType
) -> None:
    two = torch.load(two_processes / "seen.pt", weights_only=True)
    check_same(two["start"], one_process.start)
    assert two["losses"] == pytest.approx([entry.loss for entry in one_process.result.history], abs=1e-5)
    for name, value in one_process.end.items():
        torch.testing.assert_close(two["end"][name], value, atol=1e-5, rtol=1e-5)
    # the two processes' checkpoint, opened by one
    fittable, module = click_program.build(tables=True, dropout=0.0)
    click_program.fit(fittable, click_program.RecordingStream(), click_program.CONFIG, two_processes)
    check_same(two["end"], click_program.whole_state(module))


@pytest.mark.slow
def test_one_process_then_two_then_one_predict_as_one_throughout(
    two_processes: Path, one_process: SimpleNamespace, click_program: ModuleType
) -> None:
    folder = two_processes / "resharded"
    assert len(list((folder / "checkpoints/step_00000020").glob("*.distcp"))) == 2  # written by two
    fittable, module = click_program.build(tables=True, dropout=0.0)
    restored = Checkpoints(folder / "checkpoints", module, fittable.optimizer).restore_newest()
    assert restored is not None
    assert (restored.step, restored.epoch) == (20, 1)
    stream = click_program.RecordingStream()
    fittable, module = click_program.build(tables=True, dropout=0.0)
    result = click_program.fit(fittable, stream, click_program.BACKGROUND, folder)
    assert len(stream.given) == 10
    assert [entry.loss for entry in result.history] == pytest.approx(
        [entry.loss for entry in one_process.result.history], abs=1e-6
    )
    torch.testing.assert_close(predictions(click_program, module), one_process.predictions, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_a_disk_that_is_full_for_one_process_is_told_by_both(two_processes: Path) -> None:
    told = torch.load(two_processes / "seen.pt", weights_only=True)["refused"]
    assert len(told) == 4  # two processes, a write now and one in the background
    assert all("step_00000001: cannot be written (found: " in line for line in told)
    assert not list((two_processes / "full").glob("*"))


@pytest.mark.slow
def test_older_rows_reach_the_shards_of_each_process(two_processes: Path) -> None:
    seen = torch.load(two_processes / "seen.pt", weights_only=True)
    for name, value in seen["filled"].items():
        if "embedding" in name:
            expected = 100.0 * torch.arange(len(value))[:, None] + torch.arange(4)
            assert torch.equal(value[:3], expected[:3]), name
            assert torch.equal(value[4:], expected[4:]), name
            assert float(value[3].abs().max()) < 10, name
