"""AntPivot, causal: nothing looks ahead, wherever the chunks' borders lie; what it can still see."""

from __future__ import annotations

import pytest
import torch

from segrec.layers.ant_pivot import AntPivot


def model(chunk: int = 4) -> AntPivot:
    torch.manual_seed(0)
    return AntPivot(5, 16, heads=4, chunk=chunk).eval()


@pytest.mark.parametrize("changed_from", range(1, 11))
def test_later_segments_change_nothing_before_them(changed_from: int) -> None:
    network, inputs = model(), torch.randn(2, 11, 5)
    changed = inputs.clone()
    changed[:, changed_from:] = 7.0
    with torch.no_grad():
        for before, after in zip(network(inputs), network(changed), strict=True):
            torch.testing.assert_close(after[:, :changed_from], before[:, :changed_from], rtol=0, atol=1e-6)
            assert not torch.allclose(after[:, changed_from:], before[:, changed_from:])


def test_padding_behind_a_room_changes_nothing() -> None:
    network, inputs = model(), torch.randn(1, 13, 5)
    with torch.no_grad():
        for whole, short in zip(network(inputs), network(inputs[:, :6]), strict=True):
            torch.testing.assert_close(whole[:, :6], short, rtol=0, atol=1e-6)


def test_a_segment_still_sees_a_chunk_long_past() -> None:
    network, inputs = model(chunk=2), torch.randn(1, 12, 5)
    changed = inputs.clone()
    changed[0, 0] += 3.0
    with torch.no_grad():
        assert not torch.allclose(network(inputs)[1][0, -1], network(changed)[1][0, -1])


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_rooms_shorter_than_a_chunk(length: int) -> None:
    initial, final = model()(torch.randn(3, length, 5))
    assert initial.shape == final.shape == (3, length)
    assert (initial.isfinite() & final.isfinite()).all()


def test_it_learns_which_segments_lie_inside() -> None:
    torch.manual_seed(1)
    network = AntPivot(4, 16, heads=2, chunk=4, dropout=0.0)
    inputs = torch.randn(8, 12, 4)
    target = (inputs[..., 0] > 0).float()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = sum(torch.nn.functional.binary_cross_entropy_with_logits(gate, target) for gate in network(inputs))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
