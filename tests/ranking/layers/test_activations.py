"""PReLU and Dice by hand, without padding, in the smallest batches, over processes, and against other people's."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ranking.layers import Mlp
from ranking.layers.activations import ACTIVATIONS, Dice, PRelu

TWO_PROCESSES = Path(__file__).parent / "dice_program.py"


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def test_prelu_by_hand():
    prelu = PRelu(2)
    with torch.no_grad():
        prelu.alpha.copy_(torch.tensor([0.5, -2.0]))
    assert prelu(torch.tensor([[-4.0, -4.0], [3.0, 0.0]])).tolist() == [[-2.0, 8.0], [3.0, 0.0]]


def test_dice_by_hand():
    dice = Dice(1, eps=0.0)
    with torch.no_grad():
        dice.alpha.fill_(0.5)
    # mean 2, variance 1: p = sigmoid(-1), sigmoid(1)
    low, high = sigmoid(-1), sigmoid(1)
    expected = [low * 1 + (1 - low) * 0.5 * 1, high * 3 + (1 - high) * 0.5 * 3]
    assert dice(torch.tensor([[1.0], [3.0]])).flatten().tolist() == pytest.approx(expected)
    # running: .9 * 0 + .1 * 2, and .9 * 1 + .1 * 2 (variance over n - 1)
    assert dice.mean.item() == pytest.approx(0.2)
    assert dice.variance.item() == pytest.approx(1.1)
    p = sigmoid((4 - 0.2) / math.sqrt(1.1))
    assert dice.eval()(torch.tensor([[4.0]])).item() == pytest.approx(p * 4 + (1 - p) * 0.5 * 4)
    assert dice.mean.item() == pytest.approx(0.2)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 3), st.integers(0, 2**31))
def test_padding_does_not_count(rows, longest, padding, seed):
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(rows, longest + padding, 2, generator=generator) + 1
    valid = torch.arange(longest + padding)[None] < torch.randint(1, longest + 1, (rows, 1), generator=generator)
    padded, bare = Dice(2), Dice(2)
    torch.testing.assert_close(padded(x, valid)[valid], bare(x[valid]))
    torch.testing.assert_close(padded.state_dict(), bare.state_dict())


@pytest.mark.parametrize("count", [0, 1])
def test_statistics_need_two_rows(count):
    dice, x = Dice(2), torch.ones(count, 2, requires_grad=True)
    out = dice(x)
    out.sum().backward()
    assert out.tolist() == [[0.5, 0.5]] * count
    assert torch.isfinite(x.grad).all()
    assert (dice.mean.tolist(), dice.variance.tolist()) == ([0.0, 0.0], [1.0, 1.0])


def test_statistics_are_fp32_under_autocast():
    x, plain, under_bf16 = torch.randn(500, 3) * 2 + 3, Dice(3), Dice(3)
    plain(x)
    with torch.autocast("cpu", torch.bfloat16):
        under_bf16(x)
    assert {name: value.tolist() for name, value in under_bf16.state_dict().items()} == {
        name: value.tolist() for name, value in plain.state_dict().items()
    }


def test_nearly_equal_values_keep_gradients_small():
    x = (torch.ones(4, 1) + torch.tensor([[0.0], [1e-6], [0.0], [1e-6]])).requires_grad_()
    (Dice(1)(x) * torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])).sum().backward()
    assert x.grad.abs().max() < 100


def test_every_activation_of_a_perceptron():
    for name, make in ACTIVATIONS.items():
        mlp = Mlp(3, [4, 2], activation=make)
        assert torch.isfinite(mlp(torch.randn(5, 6, 3))).all(), name
        assert len(list(mlp.parameters())) == 4 + (0 if name == "relu" else 2)


def test_two_processes_share_their_statistics():
    """Logits, gradients and running statistics of one DIN unit equal one process's, with uneven rows and with none."""
    done = subprocess.run([sys.executable, TWO_PROCESSES], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_same_as_deepctr():
    theirs_of = pytest.importorskip(
        "deepctr_torch.layers.activation", reason="deepctr-torch is not installed (extra: bench)"
    ).Dice
    for x in (torch.randn(7, 3) + 1, torch.randn(7, 4, 3) + 1):
        theirs, ours = theirs_of(3, dim=x.dim()), Dice(3, eps=1e-8)
        with torch.no_grad():
            ours.alpha.copy_(torch.tensor([0.5, -0.3, 2.0]))
            theirs.alpha.copy_(ours.alpha.view_as(theirs.alpha))
        for _ in range(3):
            torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), atol=1e-5, rtol=1e-5)


def test_same_as_fuxictr():
    theirs_of = pytest.importorskip(
        "fuxictr.pytorch.layers.activations", reason="fuxictr is not installed (extra: bench)"
    ).Dice
    theirs, ours, x = theirs_of(3), Dice(3, eps=1e-9, momentum=0.01), 2 * torch.randn(6, 3)
    with torch.no_grad():
        ours.alpha.fill_(0.25)
        theirs.alpha.fill_(0.25)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), atol=1e-5, rtol=1e-5)


def test_batch_norm_is_the_inner_part():
    """p is the sigmoid of torch's own batch-norm without scale and shift, its running statistics included."""
    dice, norm, x = Dice(3), nn.BatchNorm1d(3, affine=False), torch.randn(8, 3) * 2 - 1
    torch.testing.assert_close(dice(x), x * torch.sigmoid(norm(x)))
    torch.testing.assert_close((dice.mean, dice.variance), (norm.running_mean, norm.running_var))
