"""The loop: what it trains, when it stops, what it leaves behind, and what it says when a run goes wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from segrec.fitting import FitConfig, Fittable, fit
from segrec.records import ConfigError, DataError


class Counting:
    """A stream of `size` batches an epoch: the batch is its number over all epochs."""

    def __init__(self, size: int) -> None:
        self.size = size

    def batches(self, epoch: int) -> int:
        return self.size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[int]:
        yield from range(epoch * self.size + start, (epoch + 1) * self.size)


class Scalar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))


def scripted(values: list[float], *, minimize: bool = True) -> tuple[Fittable[int], Scalar]:
    """A parameter that grows by 1 a step, validated with the numbers of `values` in turn."""
    module, script = Scalar(), iter(values)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    fittable = Fittable(
        module, lambda _: -module.value, optimizer, lambda: {"NLL": next(script)}, monitor="NLL", minimize=minimize
    )
    return fittable, module


def config(**changes: object) -> FitConfig:
    return FitConfig.checked({"epochs": 6, "batch_size": 2, "device": "cpu", "log_every": 3, **changes})


def test_early_stopping_leaves_the_best_weights(tmp_path: Path) -> None:
    fittable, module = scripted([0.9, 0.5, 0.7, 0.6, 0.1])
    result = fit(fittable, Counting(4), config(patience=2), tmp_path)
    assert (result.best_epoch, result.best_step, result.best) == (1, 8, {"NLL": 0.5})
    assert result.stopped_early
    assert result.steps == 16
    assert [entry.metrics["NLL"] for entry in result.history] == [0.9, 0.5, 0.7, 0.6]
    assert module.value.item() == 8.0


def test_larger_is_better_when_asked_for(tmp_path: Path) -> None:
    fittable, module = scripted([0.6, 0.7, 0.65], minimize=False)
    result = fit(fittable, Counting(2), config(epochs=3, patience=None), tmp_path)
    assert (result.best_step, module.value.item(), result.stopped_early) == (4, 4.0, False)


def test_an_equal_validation_is_not_a_better_one(tmp_path: Path) -> None:
    fittable, _ = scripted([0.5, 0.5, 0.5])
    assert fit(fittable, Counting(1), config(patience=2), tmp_path).best_step == 1


def test_validations_inside_an_epoch_and_the_mean_loss_between_them(tmp_path: Path) -> None:
    fittable, _ = scripted([3.0, 2.0, 1.0, 0.0])
    result = fit(fittable, Counting(5), config(epochs=2, validations_per_epoch=2, patience=None), tmp_path)
    assert [entry.step for entry in result.history] == [3, 5, 8, 10]
    # the loss is -value before the step: 0, -1, -2 | -3, -4 | -5, -6, -7 | -8, -9
    assert [entry.loss for entry in result.history] == [-1.0, -3.5, -6.0, -8.5]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_its_step(tmp_path: Path, bad: float) -> None:
    module = Scalar()
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    fittable = Fittable(
        module, lambda step: module.value * 1.0 + (bad if step == 7 else 0.0),
        optimizer, lambda: {"NLL": 1.0}, "NLL", True,
    )  # fmt: skip
    with pytest.raises(ConfigError, match=rf"training loss is {bad} at step 8 \(epoch 1\); lower learning_rate"):
        fit(fittable, Counting(5), config(), tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").glob("step_*")] == ["step_00000005"]


def test_a_monitored_metric_that_was_not_measured_is_named(tmp_path: Path) -> None:
    fittable, _ = scripted([1.0])
    fittable.monitor = "AUC"
    with pytest.raises(ConfigError, match=r"monitored metric 'AUC' was not measured \(measured: NLL\)"):
        fit(fittable, Counting(2), config(), tmp_path)


def test_a_monitored_metric_that_is_nan_stops(tmp_path: Path) -> None:
    fittable, _ = scripted([math.nan])
    with pytest.raises(ConfigError, match="validation at step 2: monitored metric 'NLL' is nan"):
        fit(fittable, Counting(2), config(), tmp_path)


def test_going_on_with_other_settings_is_refused(tmp_path: Path) -> None:
    fit(scripted([1.0, 2.0])[0], Counting(2), config(epochs=2), tmp_path)
    with pytest.raises(ConfigError, match=r"was started with learning_rate=0.001 \(now: 0.5\); use the same settings"):
        fit(scripted([1.0])[0], Counting(2), config(epochs=2, learning_rate=0.5), tmp_path)


def test_more_epochs_go_on_where_the_run_ended(tmp_path: Path) -> None:
    fit(scripted([3.0, 2.0])[0], Counting(2), config(epochs=2), tmp_path)
    fittable, module = scripted([1.0])
    result = fit(fittable, Counting(2), config(epochs=3), tmp_path)
    assert (result.steps, result.best_step, module.value.item()) == (6, 6, 6.0)


def test_another_model_in_the_folder_is_refused(tmp_path: Path) -> None:
    fit(scripted([1.0])[0], Counting(2), config(epochs=1), tmp_path)
    other = nn.Linear(1, 1)
    fittable: Fittable[int] = Fittable(other, lambda _: other.weight.sum(), None, lambda: {"NLL": 1.0}, "NLL", True)
    with pytest.raises(DataError, match="is a checkpoint of another model: only this model has 'module/bias'"):
        fit(fittable, Counting(2), config(epochs=1), tmp_path)


def test_another_shape_in_the_folder_is_refused(tmp_path: Path) -> None:
    fit(scripted([1.0])[0], Counting(2), config(epochs=1), tmp_path)
    fittable, module = scripted([1.0])
    module.value = nn.Parameter(torch.zeros(3))
    with pytest.raises(DataError, match=r"'module/value' has another shape \(found: \(\); expected: \(3,\)\)"):
        fit(fittable, Counting(2), config(epochs=1), tmp_path)


def test_clip_norm_limits_the_dense_step(tmp_path: Path) -> None:
    module = Scalar()
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    fittable: Fittable[int] = Fittable(
        module, lambda _: -100.0 * module.value, optimizer, lambda: {"NLL": 1.0}, "NLL", True
    )
    fit(fittable, Counting(1), config(epochs=1, clip_norm=0.25), tmp_path)
    assert module.value.item() == pytest.approx(0.25, rel=1e-4)


def test_training_mode_while_training_and_evaluation_mode_while_validating(tmp_path: Path) -> None:
    module, seen = Scalar(), []

    def loss(_: int) -> Tensor:
        seen.append(("train", module.training))
        return module.value * 1.0

    def validate() -> dict[str, float]:
        seen.append(("valid", module.training or torch.is_grad_enabled()))
        return {"NLL": 1.0}

    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    fit(Fittable(module, loss, optimizer, validate, "NLL", True), Counting(1), config(epochs=2), tmp_path)
    assert seen == [("train", True), ("valid", False)] * 2


def test_the_same_seed_gives_the_same_dropout(tmp_path: Path) -> None:
    drawn: list[list[float]] = []
    for name in ("one", "two"):
        module, numbers = Scalar(), []
        drawn.append(numbers)

        def loss(_: int, module: Scalar = module, numbers: list[float] = numbers) -> Tensor:
            numbers.append(torch.rand(()).item())
            return module.value * 1.0

        optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
        torch.rand(len(name))
        fit(
            Fittable(module, loss, optimizer, lambda: {"NLL": 1.0}, "NLL", True), Counting(3), config(), tmp_path / name
        )
    assert drawn[0] == drawn[1]


def test_events_hold_loss_speed_and_metrics(tmp_path: Path) -> None:
    fittable, _ = scripted([0.9, 0.8])
    fit(fittable, Counting(6), config(epochs=2, patience=None), tmp_path)
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [
        (3, -1.0), (6, -4.0), (9, -7.0), (12, -10.0),
    ]  # fmt: skip
    assert [event.step for event in events.Scalars("valid/NLL")] == [6, 12]
    assert [round(event.value, 3) for event in events.Scalars("train/learning_rate")] == [1.0, 1.0]
    assert all(event.value > 0 for event in events.Scalars("train/samples_per_second"))


def test_no_bar_where_there_is_no_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fit(scripted([1.0])[0], Counting(2), config(epochs=1), tmp_path)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
