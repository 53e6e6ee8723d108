"""A killed run that is started again: same weights, no row twice, no row left out."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

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


@pytest.mark.slow
def test_two_processes_start_and_learn_as_one_and_their_checkpoint_loads_in_one(
    tmp_path: Path, click_program: ModuleType
) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, str(PROGRAM), str(tmp_path / "two"), "--two"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    two = torch.load(tmp_path / "two" / "seen.pt", weights_only=True)
    fittable, module = click_program.build(tables=True, dropout=0.0)
    check_same(two["start"], click_program.whole_state(module))
    one = click_program.fit(fittable, click_program.RecordingStream(), click_program.CONFIG, tmp_path / "one")
    assert two["losses"] == pytest.approx([entry.loss for entry in one.history], abs=1e-5)
    for name, value in click_program.whole_state(module).items():
        torch.testing.assert_close(two["end"][name], value, atol=1e-5, rtol=1e-5)
    # the two processes' checkpoint, opened by one
    fittable, module = click_program.build(tables=True, dropout=0.0)
    click_program.fit(fittable, click_program.RecordingStream(), click_program.CONFIG, tmp_path / "two")
    check_same(two["end"], click_program.whole_state(module))
