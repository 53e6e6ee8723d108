"""The mixture of low-rank crosses by hand, against the formula written out, and against other people's layers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.layers import CrossNetwork
from ranking.layers.cross_mixture import CrossMixture

WIDTH, LAYERS, RANK, EXPERTS = 6, 3, 4, 2


def experts_of(mixture, layer):
    """(U_i, C_i, V_i) of each expert."""
    ups = mixture.up[layer].weight.chunk(mixture.experts, dim=1)
    downs = mixture.down[layer].weight.chunk(mixture.experts, dim=0)
    return [(up, core, down.T) for up, core, down in zip(ups, mixture.core[layer], downs, strict=True)]


def test_one_layer_by_hand():
    mixture = CrossMixture(2, 1, rank=1, experts=2)
    with torch.no_grad():
        mixture.down[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))  # V_1 = (1, 0), V_2 = (0, 1)
        mixture.core[0].copy_(torch.tensor([[[2.0]], [[-1.0]]]))
        mixture.up[0].weight.copy_(torch.tensor([[10.0, 0.0], [0.0, 100.0]]))  # U_1 = (10, 0), U_2 = (0, 100)
        mixture.up[0].bias.copy_(torch.tensor([1.0, -1.0]))
        mixture.gates[0].weight.copy_(torch.tensor([[math.log(3) / 0.5, 0.0], [0.0, 0.0]]))  # 3/4, 1/4 at x = (.5, .)
    first, second = math.tanh(2 * math.tanh(0.5)), math.tanh(-math.tanh(0.25))
    expected = [0.5 * (0.75 * 10 * first + 1) + 0.5, 0.25 * (0.25 * 100 * second - 1) + 0.25]
    assert mixture(torch.tensor([[0.5, 0.25]]))[0].tolist() == pytest.approx(expected, rel=1e-6)


@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 4)] * 4), st.integers(0, 3), st.booleans())
def test_equals_the_sum_over_experts(sizes, layers, share_gate):
    rows, width, rank, experts = sizes
    torch.manual_seed(rows * 100 + width)
    mixture = CrossMixture(width, layers, rank, experts, share_gate=share_gate).double()
    x0 = x = torch.randn(rows, width, dtype=torch.float64)
    for layer in range(layers):
        gate = torch.softmax(mixture.gates[0 if share_gate else layer](x), dim=-1)
        outs = [
            x0 * (torch.tanh(torch.tanh(x @ down) @ core.T) @ up.T + mixture.up[layer].bias)
            for up, core, down in experts_of(mixture, layer)
        ]
        x = x + sum(gate[:, [number]] * out for number, out in enumerate(outs))
    assert torch.allclose(mixture(x0), x, atol=1e-12)


def test_each_layer_has_its_gate_unless_shared():
    assert len(CrossMixture(3, 4, 2, 2).gates) == 4
    assert len(CrossMixture(3, 4, 2, 2, share_gate=True).gates) == 1
    assert CrossMixture(3, 0, 2, 2, share_gate=True)(torch.ones(2, 3)).tolist() == [[1.0] * 3] * 2


def test_one_expert_of_small_values_is_a_low_rank_cross():
    """tanh(z) = z + O(z^3), and a single gate is 1."""
    mixture, cross = CrossMixture(WIDTH, 1, RANK, experts=1).double(), CrossNetwork(WIDTH, 1, RANK).double()
    with torch.no_grad():
        cross.up[0].weight.copy_(mixture.up[0].weight @ mixture.core[0][0])
        cross.up[0].bias.copy_(mixture.up[0].bias)
        cross.down[0].weight.copy_(mixture.down[0].weight)
    x = 1e-3 * torch.randn(5, WIDTH, dtype=torch.float64)
    assert torch.allclose(mixture(x), cross(x), atol=1e-11, rtol=0)


def copied(ups, cores, downs, biases, gating):
    """Ours with a shared gate and the given weights: (layers, experts, ...) each."""
    ours = CrossMixture(WIDTH, LAYERS, RANK, EXPERTS, share_gate=True)
    with torch.no_grad():
        ours.gates[0].weight.copy_(torch.cat([gate.weight for gate in gating]))
        for layer in range(LAYERS):
            ours.up[layer].weight.copy_(torch.cat(list(ups[layer]), dim=1))
            ours.up[layer].bias.copy_(biases[layer][:, 0])
            ours.core[layer].copy_(cores[layer])
            ours.down[layer].weight.copy_(torch.cat([down.T for down in downs[layer]]))
    return ours


def stirred(theirs):
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(0.6 * torch.randn_like(parameter))
    return theirs


def test_same_as_torch_rechub():
    layers = pytest.importorskip("torch_rechub.basic.layers", reason="torch-rechub is not installed (extra: bench)")
    theirs = stirred(layers.CrossNetMix(WIDTH, LAYERS, RANK, EXPERTS))
    ours = copied(theirs.u_list, theirs.c_list, theirs.v_list, theirs.bias, theirs.gating)
    x = torch.randn(5, WIDTH)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)
    assert torch.allclose(ours(x[:1]), theirs(x)[:1], atol=1e-5)  # theirs loses its first axis at batch size 1


def test_same_as_deepctr():
    interaction = pytest.importorskip(
        "deepctr_torch.layers.interaction", reason="deepctr-torch is not installed (extra: bench)"
    )
    theirs = stirred(interaction.CrossNetMix(WIDTH, RANK, EXPERTS, LAYERS))
    ours = copied(theirs.U_list, theirs.C_list, theirs.V_list, theirs.bias, theirs.gating)
    x = torch.randn(5, WIDTH)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)
