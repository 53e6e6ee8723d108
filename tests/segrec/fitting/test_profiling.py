"""Phases of a step: nested time is taken out, warm steps are left out, nothing stays behind."""

from pathlib import Path

import pytest
import torch
from torch import nn

from segrec.fitting import profiling
from segrec.fitting.profiling import PROFILE, WARM_STEPS, Clock, StepProfile, StepTimes, profile_lines
from segrec.fitting.stepping import PlainStep


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the room sees; a test sets seconds[0]."""
    now = [0.0]
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: now[0])
    return now


def test_inner_phases_are_not_the_outer_ones(seconds: list[float]) -> None:
    clock = Clock()
    clock.running = True
    with clock.phase("forward"):
        seconds[0] += 2
        with clock.phase("input dist"):
            seconds[0] += 3
        seconds[0] += 1
    assert clock.timed("data", lambda: 7)() == 7
    assert (clock.seconds["forward"], clock.seconds["input dist"], clock.seconds["data"]) == (3, 3, 0)


def test_a_stopped_clock_counts_nothing(seconds: list[float]) -> None:
    clock = Clock()
    with clock.phase("forward"):
        seconds[0] += 2
    assert set(clock.seconds.values()) == {0.0}


def test_steps_after_the_warm_ones_are_measured_by_hand(seconds: list[float]) -> None:
    module = nn.Linear(1, 1)

    def loss(number: int) -> torch.Tensor:
        seconds[0] += 0.004 if number >= WARM_STEPS else 1.0
        return module(torch.ones(1)).sum()

    class Slow(torch.optim.SGD):
        def step(self, closure=None):
            seconds[0] += 0.001
            return super().step()

    optimizer = Slow(module.parameters(), lr=0.1)
    step, profile = PlainStep(loss, optimizer), StepProfile(2, 10, torch.device("cpu"))

    def numbers():
        for number in range(WARM_STEPS + 4):
            seconds[0] += 0.002
            yield number

    batches = profile.data(numbers())
    for _ in range(WARM_STEPS + 4):
        with profile.step(step, module, optimizer):
            step(batches)
            seconds[0] += 0.003
    assert profile.times is not None
    expected = {"data": 2, "transfer": 0, "input dist": 0, "forward": 4, "backward": 0, "optimizer": 1, "idle": 3}
    assert {name: round(value * 1000, 6) for name, value in profile.times.phases.items()} == expected
    assert (profile.times.steps, profile.times.rows) == (2, 10)
    assert profile.times.step_seconds == pytest.approx(0.010)
    assert "step" not in vars(optimizer)
    assert "_forward" not in vars(step)


def test_table_and_file(tmp_path: Path) -> None:
    assert profile_lines(tmp_path) == []
    phases = {"data": 0.002, "forward": 0.006, "idle": 0.002}
    times = StepTimes(steps=4, rows=100, device="cpu", step_seconds=0.01, phases=phases)
    (tmp_path / PROFILE).write_text(times.model_dump_json())
    assert StepTimes.load(tmp_path / PROFILE) == times
    header, data, *_, step = profile_lines(tmp_path)
    assert header.split() == ["phase", "ms", "a", "step", "share"]
    assert data.split() == ["data", "2.000", "20.0%"]
    assert step.split() == ["step", "10.000", "10,000", "rows/s", "(4", "steps)"]


def test_off_by_default_and_short_runs_measure_what_there_is() -> None:
    profile = StepProfile(0, 10, torch.device("cpu"))
    batches = iter([1])
    assert profile.data(batches) is batches
    profile.finish()
    assert profile.times is None
    few = StepProfile(100, 10, torch.device("cpu"))
    module = nn.Linear(1, 1)
    step = PlainStep(lambda number: module(torch.ones(1)).sum(), None)
    for number in range(WARM_STEPS + 1):
        with few.step(step, module, None):
            step(iter([number]))
    few.finish()
    assert few.times is not None
    assert few.times.steps == 1
