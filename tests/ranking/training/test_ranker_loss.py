"""The loss by hand."""

import math

import pytest
import torch

from ranking.training.loss import binary_cross_entropy


def test_by_hand():
    logits, labels = torch.tensor([0.0, math.log(3)]), torch.tensor([1.0, 0.0])
    # -log .5 and -log .25, over four rows of the global batch
    expected = (math.log(2) + math.log(4)) / 4
    assert binary_cross_entropy(logits, labels, global_rows=4).item() == pytest.approx(expected)


def test_weights_multiply_rows():
    logits, labels = torch.zeros(2), torch.tensor([1.0, 0.0])
    loss = binary_cross_entropy(logits, labels, 2, torch.tensor([3.0, 0.0]))
    assert loss.item() == pytest.approx(1.5 * math.log(2))


def test_a_process_without_rows_gives_zero_and_a_live_graph():
    logits = torch.zeros(0, requires_grad=True)
    loss = binary_cross_entropy(logits, torch.zeros(0), 8)
    loss.backward()
    assert loss.item() == 0.0


def test_parts_of_a_batch_add_up():
    logits, labels = torch.randn(10), (torch.rand(10) < 0.5).float()
    whole = binary_cross_entropy(logits, labels, 10)
    parts = binary_cross_entropy(logits[:3], labels[:3], 10) + binary_cross_entropy(logits[3:], labels[3:], 10)
    assert parts.item() == pytest.approx(whole.item(), rel=1e-6)
