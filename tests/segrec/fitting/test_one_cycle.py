"""The one-cycle learning rate by hand, and across a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from segrec.fitting import Checkpoints, Progress
from segrec.fitting.one_cycle import OneCycleAdamW


def rates(optimizer: OneCycleAdamW, module: nn.Linear, steps: int) -> list[float]:
    seen = []
    for _ in range(steps):
        module.weight.grad = torch.ones_like(module.weight)
        optimizer.step()
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def made(steps: int = 5) -> tuple[nn.Linear, OneCycleAdamW]:
    module = nn.Linear(1, 1, bias=False)
    return module, OneCycleAdamW(module.parameters(), 2.0, weight_decay=0.0, steps=steps, rising_share=0.4)


def test_up_and_down_along_half_cosines_then_flat() -> None:
    module, optimizer = made()
    # two of five steps rise from 1/25 to 1, the rest falls to 1e-5; half way along a half cosine is the middle
    assert rates(optimizer, module, 6) == pytest.approx([0.08, 1.04, 2.0, 1.00001, 2e-5, 2e-5])


def test_a_checkpoint_keeps_the_place_in_the_cycle(tmp_path: Path) -> None:
    module, optimizer = made()
    rates(optimizer, module, 2)
    Checkpoints(tmp_path, module, optimizer).save(Progress(step=2))
    module, optimizer = made()
    Checkpoints(tmp_path, module, optimizer).restore_newest()
    assert rates(optimizer, module, 3) == pytest.approx([2.0, 1.00001, 2e-5])


def test_a_single_step_is_allowed() -> None:
    module, optimizer = made(steps=1)
    assert rates(optimizer, module, 2) == pytest.approx([0.08, 2.0])
