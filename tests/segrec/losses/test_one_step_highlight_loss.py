"""The KuaiLive-M3 benchmark's loss, worked out by hand and by plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec.losses.one_step_highlight import one_step_highlight_loss


def by_loops(scores: torch.Tensor, targets: torch.Tensor, lengths: list[int]) -> float:
    errors, weighted, weights, rooms = [], 0.0, 0.0, []
    for row, length in enumerate(lengths):
        y = targets[row].tolist()[:length] + [-1.0] * (scores.shape[1] - length)
        p = scores[row].tolist()
        costs = []
        for i in range(length):
            errors.append((p[i] - y[i]) ** 2)
            steps = [abs(y[i] - y[j]) > 0.15 for j in (i - 1, i + 1) if 0 <= j < len(y)]
            weighted, weights = weighted + (1 + 2 * sum(steps)) * errors[-1], weights + 1 + 2 * sum(steps)
            costs += [math.log1p(math.exp(p[j] - p[i])) for j in range(length) if y[i] - y[j] > 0.2]
        rooms += [sum(costs) / len(costs)] if costs else []
    pair = sum(rooms) / len(rooms) if rooms else 0.0
    return sum(errors) / len(errors) + 0.5 * pair + 0.3 * weighted / weights


def test_by_hand() -> None:
    scores, targets = torch.tensor([[0.5, 0.5, 0.3]]), torch.tensor([[0.2, 0.9, 0.0]])
    valid = torch.tensor([[True, True, False]])
    # Errors .09 and .16. The first place: one large step (weight 3); the second: two, one of them to the padding (5).
    point, border = 0.25 / 2, (3 * 0.09 + 5 * 0.16) / 8
    pair = math.log(2)
    found = one_step_highlight_loss(scores, targets, valid)
    assert found.item() == pytest.approx(point + 0.5 * pair + 0.3 * border, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(0, 10_000))
def test_equal_to_plain_loops(lengths: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = max(lengths) + 1
    scores = torch.rand(len(lengths), n, generator=generator, dtype=torch.float64)
    targets = torch.rand(len(lengths), n, generator=generator, dtype=torch.float64).mul(8).round().div(8)
    valid = torch.arange(n)[None] < torch.tensor(lengths)[:, None]
    found = one_step_highlight_loss(scores, targets, valid).item()
    assert found == pytest.approx(by_loops(scores, targets, lengths), rel=1e-9)


def test_no_pair_and_padding_have_finite_gradients() -> None:
    scores = torch.rand(2, 3, requires_grad=True)
    targets, valid = torch.full((2, 3), float("nan")), torch.tensor([[True, False, False], [True, True, False]])
    targets = torch.where(valid, torch.tensor(0.5), targets)
    one_step_highlight_loss(scores, targets, valid).backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert (scores.grad[~valid] == 0).all()
