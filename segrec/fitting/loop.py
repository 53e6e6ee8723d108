"""The one loop: a step a batch; sometimes a validation, sometimes a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from segrec.fitting.checkpoint_folder import checkpoint_path
from segrec.fitting.checkpoints import Checkpoints
from segrec.fitting.config import FitConfig
from segrec.fitting.cursor import check_cursor, cursor_files
from segrec.fitting.loss_parts import LossParts
from segrec.fitting.monitoring import Monitor
from segrec.fitting.profiling import PROFILE, StepProfile
from segrec.fitting.progress import Progress, Validation
from segrec.fitting.random_state import seed_everything
from segrec.fitting.stepping import PlainStep, Step, clipped
from segrec.fitting.stream import Stream
from segrec.tables.plans import write_plan
from segrec.tables.processes import everywhere, rank

B = TypeVar("B")


@dataclass
class Fittable(Generic[B]):
    """What can be fitted. The tables' optimizers live inside `module` (see `segrec.tables.distribute`)."""

    module: nn.Module
    loss: Callable[[B], Tensor | LossParts] | None
    "Scalar with a live graph, or one with its parts; with several processes made by `global_mean`. None with `step`."
    optimizer: torch.optim.Optimizer | None
    "Of the dense parameters."
    validate: Callable[[], dict[str, float]]
    "Called in evaluation mode without gradients; with several processes the first one's result counts."
    monitor: str
    "The metric that decides which weights are the best."
    minimize: bool
    step: Step[B] | None = None
    "How to train on a batch, instead of by `loss`: a pipeline that works ahead."


@dataclass(frozen=True)
class FitResult:
    """How a run went; `module` holds the weights of `best_step`."""

    best_epoch: int
    best_step: int
    best: dict[str, float]
    "All metrics of the best validation."
    history: list[Validation]
    steps: int
    stopped_early: bool


def fit(fittable: Fittable[B], stream: Stream[B], config: FitConfig, folder: Path) -> FitResult:
    """Fits until `epochs` or `patience` are used up and leaves the best weights in the module.

    Goes on from the newest intact checkpoint in `folder`, if any: a killed run that is started again ends
    with the same weights as one that was not killed. Writes checkpoints/, events/ and, with tables, plan.txt and
    plan.json.

    :raises ConfigError: a loss or monitored metric that is NaN or infinite (the step is named), or a run in
        `folder` that was started with other settings (the first different one is named).
    :raises DataError: the folder holds another model's checkpoints, or cannot be written.
    """
    checkpoints = Checkpoints(
        folder / "checkpoints", fittable.module, fittable.optimizer, config.keep_last,
        background=config.async_checkpoints,
    )  # fmt: skip
    checkpoints.check_same_config(config)
    step = _step_of(fittable)
    profile = StepProfile(config.profile_steps or 0, config.batch_size, config.torch_device())
    seed_everything(config.seed + rank())
    progress = checkpoints.restore_newest() or Progress()
    check_cursor(stream, progress, checkpoint_path(checkpoints.folder, progress.step))
    total = sum(stream.batches(epoch) for epoch in range(config.epochs))
    if rank() == 0:
        write_plan(fittable.module, folder)
    fittable.module.train()
    with (
        Monitor(
            folder / "events", progress, batch_size=config.batch_size, log_every=config.log_every, total=total
        ) as monitor,
        checkpoints,
        clipped(fittable.optimizer, config.clip_norm),
    ):
        while progress.epoch < config.epochs and not progress.exhausted(config.patience):
            validations = _validation_points(stream.batches(progress.epoch), config.validations_per_epoch)
            batches = profile.data(stream.epoch(progress.epoch, start=progress.batch))
            while (loss := _profiled(profile, step, fittable, batches)) is not None:
                progress.advance()
                monitor.step(loss)
                checkpoints.check(progress.step, config.log_every)
                if progress.batch in validations:
                    monitor.flush()
                    step.pause()
                    _validate(fittable, progress, monitor)
                    checkpoints.save(progress, cursor_files(stream, progress))
                    if progress.exhausted(config.patience):
                        break
                elif config.checkpoint_every and progress.step % config.checkpoint_every == 0:
                    monitor.flush()
                    checkpoints.save(progress, cursor_files(stream, progress))
            else:
                progress.next_epoch()
    profile.finish()
    if rank() == 0:
        profile.save(folder / PROFILE)
    return _finish(checkpoints, progress, config)


def _step_of(fittable: Fittable[B]) -> Step[B]:
    if fittable.step is not None:
        return fittable.step
    assert fittable.loss is not None
    return PlainStep(fittable.loss, fittable.optimizer)


def _profiled(profile: StepProfile, step: Step[B], fittable: Fittable[B], batches: Iterator[B]) -> LossParts | None:
    with profile.step(step, fittable.module, fittable.optimizer):
        return step(batches)


@torch.no_grad()
def _validate(fittable: Fittable[B], progress: Progress, monitor: Monitor) -> None:
    fittable.module.eval()
    metrics = everywhere(fittable.validate())
    progress.record(metrics, fittable.monitor, fittable.minimize)
    rate = None if fittable.optimizer is None else float(fittable.optimizer.param_groups[0]["lr"])
    monitor.validated(metrics, rate)
    fittable.module.train()


def _validation_points(batches: int, validations: int) -> set[int]:
    """After how many batches of an epoch to validate: evenly, the last one at its end."""
    return {-(-batches * number // validations) for number in range(1, validations + 1)}


def _finish(checkpoints: Checkpoints, progress: Progress, config: FitConfig) -> FitResult:
    assert progress.best_step is not None
    assert progress.best_epoch is not None
    if progress.best_step != progress.step:
        checkpoints.load_weights(progress.best_step)
    best = next(entry.metrics for entry in progress.history if entry.step == progress.best_step)
    return FitResult(
        best_epoch=progress.best_epoch,
        best_step=progress.best_step,
        best=best,
        history=progress.history,
        steps=progress.step,
        stopped_early=progress.exhausted(config.patience),
    )
