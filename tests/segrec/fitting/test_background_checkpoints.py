"""Checkpoints written beside the training: a copy of the state, one at a time, failures are told."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from segrec.fitting import Checkpoints, FitConfig, Progress, checkpoint_folder, checkpoints
from segrec.fitting.checkpoint_writer import CheckpointWriter, state_bytes
from segrec.fitting.free_memory import free_memory
from segrec.records import ConfigError, DataError
from segrec.tables import fused_state, whole_state


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No tensor is written before the event is set."""
    released, write = threading.Event(), CheckpointWriter.write_data

    def waiting(self: CheckpointWriter, plan: object, planner: object) -> object:
        assert released.wait(20)
        return write(self, plan, planner)  # type: ignore[arg-type]

    monkeypatch.setattr(CheckpointWriter, "write_data", waiting)
    yield released
    released.set()


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_training_goes_on_and_the_checkpoint_holds_the_moment_of_its_copy(
    tmp_path: Path, click_program: ModuleType, held: threading.Event
) -> None:
    fittable, module = click_program.build(tables=True)
    fittable.loss(torch.arange(32)).backward()
    before, sums = whole_state(module), {name: _whole(value) for name, value in fused_state(module).items()}
    kept = Checkpoints(tmp_path, module, fittable.optimizer, background=True)
    progress = Progress(step=1)
    kept.save(progress)
    assert kept.steps() == []
    progress.advance()
    fittable.loss(torch.arange(32)).backward()  # tables move in the backward pass
    fittable.optimizer.step()
    moved = whole_state(module)
    assert any(not torch.equal(before[name], moved[name]) for name in before)
    held.set()
    kept.flush()
    assert kept.steps() == [1]
    assert kept.restore_newest() == Progress(step=1)
    assert all(torch.equal(value, before[name]) for name, value in whole_state(module).items())
    assert all(torch.equal(_whole(value), sums[name]) for name, value in fused_state(module).items())


def _whole(value: object) -> torch.Tensor:
    return value.local_shards()[0].tensor.clone()  # type: ignore[attr-defined]


def test_a_second_save_waits_for_the_first(tmp_path: Path, held: threading.Event) -> None:
    kept = Checkpoints(tmp_path, nn.Linear(1, 1), None, background=True)
    kept.save(Progress(step=1))
    threading.Timer(0.05, held.set).start()
    kept.save(Progress(step=2))
    assert 1 in kept.steps()
    kept.flush()
    assert kept.steps() == [1, 2]


def test_a_failed_write_is_told_by_the_next_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: threading.Event
) -> None:
    kept = Checkpoints(tmp_path, nn.Linear(1, 1), None, background=True)
    monkeypatch.setattr(checkpoint_folder, "write_json", no_space)
    kept.save(Progress(step=1))
    kept.check(2)  # still writing: nothing to tell
    held.set()
    with pytest.raises(DataError, match=r"step_00000001: cannot be written \(found: No space left on device\)"):
        _check_until_told(kept)
    kept.check(3)  # told once
    assert not list(tmp_path.iterdir())


def _check_until_told(kept: Checkpoints) -> None:
    for _ in range(1000):
        kept.check(2)
        threading.Event().wait(0.01)


def test_leaving_waits_for_the_write_and_raises_its_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoints(tmp_path, nn.Linear(1, 1), None, background=True) as kept:
        kept.save(Progress(step=1))
    assert kept.steps() == [1]
    monkeypatch.setattr(checkpoint_folder, "write_json", no_space)
    with pytest.raises(DataError, match="No space left"):
        _saved_and_left(tmp_path)


def _saved_and_left(folder: Path, error: Exception | None = None) -> None:
    with Checkpoints(folder, nn.Linear(1, 1), None, background=True) as kept:
        kept.save(Progress(step=2))
        if error is not None:
            raise error


def test_another_error_is_not_hidden_by_a_failed_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoint_folder, "write_json", no_space)
    with pytest.raises(ConfigError, match="training loss is nan"):
        _saved_and_left(tmp_path, ConfigError("training loss is nan"))
    assert "step_00000002 was not written (No space left on device)" in caplog.text


def test_without_the_memory_for_a_copy_training_waits_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoints, "free_memory", lambda: 100)
    monkeypatch.setattr(checkpoints, "_SPARE_BYTES", 4)
    kept = Checkpoints(tmp_path, nn.Linear(100, 1), None, background=True)
    with caplog.at_level(logging.WARNING, logger="segrec"):
        kept.save(Progress(step=1))
    assert kept.steps() == [1]
    assert "no memory for a copy of the state (0.00 GiB): training waits" in caplog.text


def test_bytes_of_a_copy() -> None:
    # 2 x 3 float32 and 4 int64
    assert state_bytes({"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.long)}) == 24 + 32


@pytest.mark.parametrize(
    ("meminfo", "limit", "used", "free"),
    [
        ("MemTotal: 9 kB\nMemAvailable:  2 kB\n", None, None, 2048),
        ("MemAvailable:  2 kB\n", "1500", "500", 1000),  # the container's limit comes first
        ("MemAvailable:  2 kB\n", "max", "500", 2048),
        (None, None, None, None),
    ],
)
def test_free_memory(
    tmp_path: Path, meminfo: str | None, limit: str | None, used: str | None, free: int | None
) -> None:
    for name, text in (("meminfo", meminfo), ("memory.max", limit), ("memory.current", used)):
        if text is not None:
            (tmp_path / name).write_text(text)
    assert free_memory(tmp_path / "meminfo", tmp_path) == free


def test_a_setting_that_did_not_exist_yet_has_its_default(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, nn.Linear(1, 1), None)
    kept.check_same_config(FitConfig(seed=3))
    stored = (tmp_path / "config.json").read_text()
    kept.save(Progress(step=1))
    (tmp_path / "config.json").write_text(stored.replace('"clip_norm": null, ', ""))
    kept.check_same_config(FitConfig(seed=3))
    (tmp_path / "config.json").write_text(stored.replace('"clip_norm": null, ', ""))
    with pytest.raises(ConfigError, match=r"was started with clip_norm=None \(now: 1.0\)"):
        kept.check_same_config(FitConfig(seed=3, clip_norm=1.0))
