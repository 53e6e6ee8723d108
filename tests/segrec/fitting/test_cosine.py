"""The falling rate equals PyTorch's own scheduler, epoch by epoch."""

from __future__ import annotations

import pytest
import torch

from segrec.fitting.cosine import CosineAdamW


def test_equal_to_cosine_annealing() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    ours = CosineAdamW([weight], 0.1, weight_decay=0.0, epochs=5, steps=3)
    plain = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(plain, T_max=5, eta_min=0.001)
    for _ in range(5):
        for _ in range(3):
            weight.grad = torch.ones(2)
            ours.step()
            assert ours.param_groups[0]["lr"] == pytest.approx(plain.param_groups[0]["lr"], rel=1e-9)
        plain.step()
        theirs.step()
    assert ours.state_dict()["param_groups"][0]["done"] == 15
