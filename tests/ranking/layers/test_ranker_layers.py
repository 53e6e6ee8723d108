"""Cross network and MLP by hand and against other people's layers with copied weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.layers import CrossNetwork, Mlp


def test_cross_by_hand():
    cross = CrossNetwork(2, 2)
    with torch.no_grad():
        for up in cross.up:
            up.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
            up.bias.copy_(torch.tensor([0.0, -1.0]))
    # x0 = (2, 3). W x0 + b = (2, 4); x1 = x0 * that + x0 = (6, 15). W x1 + b = (6, 20); x2 = (12, 60) + (6, 15)
    assert cross(torch.tensor([[2.0, 3.0]])).tolist() == [[18.0, 75.0]]


def test_low_rank_by_hand():
    cross = CrossNetwork(2, 1, rank=1)
    with torch.no_grad():
        cross.down[0].weight.copy_(torch.tensor([[1.0, 2.0]]))
        cross.up[0].weight.copy_(torch.tensor([[3.0], [0.5]]))
        cross.up[0].bias.copy_(torch.tensor([1.0, 0.0]))
    # V^T x = 2 + 6 = 8; U 8 + b = (25, 4); x0 * that + x0 = (52, 15)
    assert cross(torch.tensor([[2.0, 3.0]])).tolist() == [[52.0, 15.0]]


def test_no_cross_layer_gives_the_input():
    assert CrossNetwork(3, 0)(torch.ones(2, 3)).tolist() == [[1.0] * 3] * 2


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 3))
def test_full_rank_factors_equal_the_full_matrix(rows, width, layers):
    low, full = CrossNetwork(width, layers, rank=width), CrossNetwork(width, layers)
    with torch.no_grad():
        for down, up, whole in zip(low.down, low.up, full.up, strict=True):
            whole.weight.copy_(up.weight @ down.weight)
            whole.bias.copy_(up.bias)
    x = torch.randn(rows, width)
    assert torch.allclose(low(x), full(x), atol=1e-5)


def test_mlp_by_hand():
    mlp = Mlp(2, [2, 1])
    with torch.no_grad():
        mlp.layers[0].weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, 0.0]]))
        mlp.layers[0].bias.zero_()
        mlp.layers[2].weight.copy_(torch.tensor([[2.0, 5.0]]))
        mlp.layers[2].bias.fill_(0.5)
    # relu(3, -1) = (3, 0); 2 * 3 + .5
    assert mlp(torch.tensor([[1.0, 2.0]])).tolist() == [[6.5]]
    assert Mlp(3, [])(torch.ones(1, 3)).tolist() == [[1.0] * 3]


def test_dropout_is_off_in_evaluation():
    mlp = Mlp(4, [8], dropout=0.9).eval()
    x = torch.randn(3, 4)
    assert torch.equal(mlp(x), mlp(x))
    assert any(isinstance(layer, torch.nn.Dropout) for layer in mlp.layers)


def test_same_as_torch_rechub_without_biases():
    """torch-rechub adds b outside the product with x_0, unlike eq. 1: the layers agree where b = 0."""
    layers = pytest.importorskip("torch_rechub.basic.layers", reason="torch-rechub is not installed (extra: bench)")
    theirs, ours = layers.CrossNetV2(6, 3), CrossNetwork(6, 3)
    with torch.no_grad():
        for up, weight in zip(ours.up, theirs.w, strict=True):
            up.weight.copy_(weight.weight)
            up.bias.zero_()
    x = torch.randn(5, 6)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_same_as_fuxictr():
    layers = pytest.importorskip("fuxictr.pytorch.layers", reason="fuxictr is not installed (extra: bench)")
    theirs, ours = layers.CrossNetV2(6, 3), CrossNetwork(6, 3)
    with torch.no_grad():
        for up, layer in zip(ours.up, theirs.cross_layers, strict=True):
            up.weight.copy_(layer.weight)
            up.bias.copy_(layer.bias)
    x = torch.randn(5, 6)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_low_rank_is_one_expert_of_deepctr():
    interaction = pytest.importorskip(
        "deepctr_torch.layers.interaction", reason="deepctr-torch is not installed (extra: bench)"
    )
    theirs = interaction.CrossNet(5, layer_num=2, parameterization="matrix")
    ours = CrossNetwork(5, 2, rank=5)
    with torch.no_grad():
        for down, up, kernel, bias in zip(ours.down, ours.up, theirs.kernels, theirs.bias, strict=True):
            down.weight.copy_(kernel)
            up.weight.copy_(torch.eye(5))
            up.bias.copy_(bias[:, 0])
    x = torch.randn(4, 5)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)
