"""The pairwise losses on three segments by hand, and against a double loop."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segrec.losses import pairwise
from segrec.losses.pairwise import pairwise_loss

SCORES = [0.6, 0.5, 0.3]
TARGETS = [0.5, 0.1, 0.4]
# Pairs (0, 1): ds .1, dy .4; (0, 2): ds .3, dy .1 (past the boundary); (2, 1): ds -.2, dy .3 (in the wrong order).
KEPT = {"L0": [0.1, 0.3, -0.2], "L1": [0.1, -0.2], "L2": [-0.2], "L3": [0.1]}


def penalty(ds: float, sigma: float = 10.0) -> float:
    return math.log1p(math.exp(-sigma * ds))


def looped(scores: Tensor, targets: Tensor, valid: Tensor, kind: str, sigma: float) -> list[Tensor]:
    """Each kept pair's loss, one after the other."""
    losses = []
    for s, y, v in zip(scores, targets, valid, strict=True):
        for i in range(len(s)):
            for j in range(len(s)):
                if not (v[i] and v[j] and y[i] > y[j]):
                    continue
                ds, dy = s[i] - s[j], y[i] - y[j]
                kept = {"L0": True, "L1": ds <= dy, "L2": ds <= 0, "L3": 0 < ds < dy}[kind]
                if kept:
                    losses.append(torch.log1p(torch.exp(-sigma * ds)))
    return losses


@pytest.mark.parametrize("kind", KEPT)
def test_each_kind_by_hand(kind: str) -> None:
    wanted = [penalty(ds) for ds in KEPT[kind]]
    scores, targets = torch.tensor([SCORES]), torch.tensor([TARGETS])
    assert pairwise_loss(scores, targets, kind=kind).item() == pytest.approx(sum(wanted) / len(wanted), rel=1e-5)
    assert pairwise_loss(scores, targets, kind=kind, reduction="sum").item() == pytest.approx(sum(wanted), rel=1e-5)


def test_beyond_the_boundary_there_is_no_gradient() -> None:
    """Only (0, 2) lies past the boundary: under L0 it pushes 0 up and 2 down, under L1 it does nothing."""
    scores = torch.tensor([[0.6, 0.3]], requires_grad=True)
    (free,) = torch.autograd.grad(pairwise_loss(scores, torch.tensor([[0.5, 0.4]]), kind="L0"), scores)
    assert free.tolist() == [pytest.approx([-10 / (1 + math.exp(3)), 10 / (1 + math.exp(3))])]
    (bounded,) = torch.autograd.grad(pairwise_loss(scores, torch.tensor([[0.5, 0.4]]), kind="L1"), scores)
    assert bounded.tolist() == [[0.0, 0.0]]


def test_the_boundary_itself_belongs_to_l1_and_not_to_l3() -> None:
    scores, targets = torch.tensor([[0.75, 0.5]]), torch.tensor([[0.5, 0.25]])
    assert pairwise_loss(scores, targets, kind="L1").item() == pytest.approx(penalty(0.25), rel=1e-5)
    assert pairwise_loss(scores, targets, kind="L3").item() == 0.0
    level = torch.tensor([[0.5, 0.5]])
    assert pairwise_loss(level, targets, kind="L2").item() == pytest.approx(math.log(2), rel=1e-5)
    assert pairwise_loss(level, targets, kind="L3").item() == 0.0


def test_pairs_never_cross_samples_and_padding_and_unknown_targets_stay_out() -> None:
    scores = torch.tensor([SCORES, [0.9, math.nan, 0.1]], requires_grad=True)
    targets = torch.tensor([TARGETS, [0.2, 0.9, math.nan]])
    valid = torch.tensor([[True] * 3, [True, False, True]])
    loss = pairwise_loss(scores, targets, valid, kind="L0")
    loss.backward()
    assert loss.item() == pytest.approx(sum(map(penalty, KEPT["L0"])) / 3, rel=1e-5)
    assert scores.grad is not None
    assert scores.grad[1].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 1), (2, 3)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_with_no_pair_the_loss_is_zero_with_a_gradient(shape: tuple[int, int], reduction: str) -> None:
    scores = torch.rand(shape, requires_grad=True)
    loss = pairwise_loss(scores, torch.full(shape, 0.5), reduction=reduction)
    loss.backward()
    assert loss.item() == 0.0
    assert scores.grad is not None
    assert torch.equal(scores.grad, torch.zeros(shape))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 3),
    st.integers(0, 5),
    st.sampled_from(sorted(KEPT)),
    st.sampled_from([1.0, 10.0]),
    st.integers(0, 99),
)
def test_values_and_gradients_agree_with_a_double_loop(
    samples: int, segments: int, kind: str, sigma: float, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    shape = (samples, segments)
    scores = (torch.randint(0, 6, shape, generator=random) / 5).double().requires_grad_()  # ties are common
    targets = (torch.randint(0, 6, shape, generator=random) / 5).double()
    valid = torch.rand(shape, generator=random) < 0.8
    losses = looped(scores, targets, valid, kind, sigma)
    wanted = torch.stack(losses).mean() if losses else scores.sum() * 0
    loss = pairwise_loss(scores, targets, valid, kind=kind, sigma=sigma)
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-12)
    found, slopes = (torch.autograd.grad(value, scores)[0] for value in (loss, wanted))
    torch.testing.assert_close(found, slopes, rtol=1e-10, atol=1e-12)


def test_samples_taken_in_parts_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, targets = torch.rand(7, 9, dtype=torch.float64, requires_grad=True), torch.rand(7, 9)
    whole = pairwise_loss(scores, targets)
    monkeypatch.setattr(pairwise, "PAIRS_AT_ONCE", 200)
    parts = pairwise_loss(scores, targets)
    assert parts.item() == pytest.approx(whole.item(), rel=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(value, scores)[0] for value in (parts, whole)))


def test_half_precision_scores_are_compared_in_single() -> None:
    scores = torch.rand(2, 5).bfloat16().requires_grad_()
    loss = pairwise_loss(scores, torch.rand(2, 5))
    loss.backward()
    assert loss.dtype == torch.float32
    assert scores.grad is not None
    assert scores.grad.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        (torch.zeros(1, 2), {}, r"must both be \(B, n\) \(found \(1, 3\), \(1, 2\)\)"),
        (torch.zeros(1, 3), {"kind": "L4"}, "kind must be one of .*'L4'"),
        (torch.zeros(1, 3), {"reduction": "none"}, "reduction one of .*'none'"),
        (torch.zeros(1, 3), {"sigma": 0.0}, "sigma above 0 .*0.0"),
    ],
)
def test_bad_input(targets: Tensor, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pairwise_loss(torch.tensor([SCORES]), targets, **options)
