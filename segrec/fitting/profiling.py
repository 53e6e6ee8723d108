"""Where the time of a step goes: data, transfer, input dist, forward, backward, optimizer, and the rest."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn
from torchrec.distributed.types import ShardedModule

R = TypeVar("R")
B = TypeVar("B")

PHASES = ("data", "transfer", "input dist", "forward", "backward", "optimizer", "idle")
PROFILE = "profile.json"
WARM_STEPS = 5
"Steps before the first one that is measured."
_METHODS = {
    "_forward": "forward",
    "_backward": "backward",
    "_copy_batch_to_gpu": "transfer",
    "copy_batch_to_gpu": "transfer",
    "_wait_for_batch": "transfer",
    "start_sparse_data_dist": "input dist",
    "wait_sparse_data_dist": "input dist",
}
"Methods of our plain step and of TorchRec's pipelines."


class StepTimes(BaseModel):
    """profile.json: mean seconds of a step and of its phases."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int
    rows: int
    "Of one step, over all processes."
    device: str
    step_seconds: float
    phases: dict[str, float]
    "Seconds of each of `PHASES`; on CUDA those in which the host was busy with it, but idle: the device without work."

    def text(self) -> str:
        """A table."""
        lines = [f"{'phase':<12}{'ms a step':>12}{'share':>8}"]
        for name, seconds in self.phases.items():
            lines.append(f"{name:<12}{seconds * 1000:>12.3f}{seconds / max(self.step_seconds, 1e-12):>8.1%}")
        speed = self.rows / max(self.step_seconds, 1e-12)
        lines.append(f"{'step':<12}{self.step_seconds * 1000:>12.3f}{speed:>14,.0f} rows/s ({self.steps} steps)")
        return "\n".join(lines)

    @classmethod
    def load(cls, file: Path) -> StepTimes:
        """What a run wrote."""
        return cls.model_validate_json(file.read_text(encoding="utf-8"))


def profile_lines(run: Path) -> list[str]:
    """The table of a run folder; empty where nothing was measured."""
    return StepTimes.load(run / PROFILE).text().splitlines() if (run / PROFILE).is_file() else []


class Clock:
    """Seconds by phase, while it is running; time inside an inner phase is not the outer one's."""

    def __init__(self) -> None:
        self.running = False
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._open: list[list[float]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts what happens inside as `name`."""
        self.enter()
        try:
            yield
        finally:
            self.leave(name)

    def enter(self) -> None:
        """Opens a phase."""
        if self.running:
            self._open.append([time.perf_counter(), 0.0])

    def leave(self, name: str) -> None:
        """Closes the innermost phase, as `name`."""
        if not self.running:
            return
        start, inner = self._open.pop()
        took = time.perf_counter() - start
        self.seconds[name] += took - inner
        if self._open:
            self._open[-1][1] += took

    def timed(self, name: str, work: Callable[..., R]) -> Callable[..., R]:
        """`work`, counted as `name`."""

        @wraps(work)
        def counted(*args: Any, **kwargs: Any) -> R:
            with self.phase(name):
                return work(*args, **kwargs)

        return counted


class StepProfile:
    """Measures `steps` steps after the first few, then takes itself out again; with 0 steps it does nothing.

    On a CPU, idle is the time of a step that no phase explains. On CUDA the phases are the host's (launching, waiting),
    and idle is the time in which the device had no kernel, as torch's profiler saw it.
    """

    def __init__(self, steps: int, rows: int, device: torch.device) -> None:
        self._wanted, self._rows, self._device = steps, rows, device
        self._seen, self._wall, self._clock = 0, 0.0, Clock()
        self._watching: ExitStack | None = None
        self._kernels: Any = None
        self.times: StepTimes | None = None

    @contextmanager
    def step(self, stepping: object, module: nn.Module, optimizer: torch.optim.Optimizer | None) -> Iterator[None]:
        """Around one call of `stepping`."""
        if not self._wanted or self.times is not None:
            yield
            return
        if self._seen == WARM_STEPS:
            self._watch(stepping, module, optimizer)
        start = time.perf_counter()
        self._clock.running = self._watching is not None
        yield
        self._clock.running = False
        self._seen += 1
        if self._watching is not None:
            self._wall += time.perf_counter() - start
            if self._seen == WARM_STEPS + self._wanted:
                self.finish()

    def data(self, batches: Iterator[B]) -> Iterator[B]:
        """`batches`; waiting for one counts as data."""
        if not self._wanted:
            return batches
        return self._counted(batches)

    def finish(self) -> None:
        """Ends the measurement, also before all steps are seen; nothing was measured: `times` stays None."""
        if self._watching is None or self.times is not None:
            return
        self._watching.close()
        steps = max(self._seen - WARM_STEPS, 1)
        phases = {name: seconds / steps for name, seconds in self._clock.seconds.items()}
        wall = self._wall / steps
        busy = sum(phases.values()) if self._kernels is None else _kernel_seconds(self._kernels) / steps
        phases["idle"] = max(wall - busy, 0.0)
        self.times = StepTimes(steps=steps, rows=self._rows, device=str(self._device), step_seconds=wall, phases=phases)

    def save(self, file: Path) -> None:
        """Writes what was measured, if anything was."""
        if self.times is not None:
            file.write_text(json.dumps(self.times.model_dump(), indent=1) + "\n", encoding="utf-8")

    def _counted(self, batches: Iterator[B]) -> Iterator[B]:
        while True:
            with self._clock.phase("data"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def _watch(self, stepping: object, module: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
        clock, watching = self._clock, ExitStack()
        pipeline = getattr(stepping, "pipeline", None)
        for owner in (stepping, pipeline):
            for name, phase in _METHODS.items():
                if hasattr(owner, name):
                    watching.callback(_replaced(owner, name, clock.timed(phase, getattr(owner, name))))
        for part in module.modules():
            if isinstance(part, ShardedModule):
                watching.callback(_replaced(part, "input_dist", clock.timed("input dist", part.input_dist)))
        if pipeline is not None:
            for handle in (
                module.register_forward_pre_hook(lambda *_: clock.enter()),
                module.register_forward_hook(lambda *_: clock.leave("forward")),
            ):
                watching.callback(handle.remove)
        if optimizer is not None:
            watching.callback(_replaced(optimizer, "step", clock.timed("optimizer", optimizer.step)))
        if self._device.type == "cuda":
            self._kernels = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            self._kernels.start()
            watching.callback(self._kernels.stop)
            watching.callback(torch.cuda.synchronize)
        self._watching = watching


def _replaced(owner: object, name: str, value: object) -> Callable[[], None]:
    """Puts `value` in front of a method of one object; the result takes it away again."""
    setattr(owner, name, value)
    return lambda: delattr(owner, name)


def _kernel_seconds(kernels: Any) -> float:
    """Seconds in which the device ran at least one kernel or copy."""
    spans = sorted(
        (event.time_range.start, event.time_range.end) for event in kernels.events() if event.device_type.name == "CUDA"
    )
    busy, until = 0.0, float("-inf")
    for start, end in spans:
        busy += max(end - max(start, until), 0.0)
        until = max(until, end)
    return busy / 1e6
