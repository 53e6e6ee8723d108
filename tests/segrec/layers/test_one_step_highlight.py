"""The KuaiLive-M3 benchmark's models: sizes as published, causality, padding, the local window."""

from __future__ import annotations

import pytest
import torch

from segrec.layers.one_step_highlight import OneStepHighlight

SIZES = {
    "mlp": (25_089, 26_498, 9_985),
    "gru": (421_121, 422_530, 406_017),
    "causal": (844_801, 846_210, 829_697),
    "hierarchical": (1_043_073, 1_044_482, 1_027_969),
}


@pytest.mark.parametrize("body", SIZES)
def test_parameters_are_those_of_the_published_grid(body: str) -> None:
    found = []
    for inputs, statistics in ((128, 0), (128, 10), (10, 0)):
        model = OneStepHighlight(body, inputs, 128, layers=4, heads=8, window=7, statistics=statistics)
        found.append(sum(parameter.numel() for parameter in model.parameters()))
    assert tuple(found) == SIZES[body]


@pytest.mark.parametrize("body", SIZES)
def test_later_segments_and_padding_change_nothing_before_them(body: str) -> None:
    torch.manual_seed(0)
    model = OneStepHighlight(body, 6, 16, layers=2, heads=4, window=3, statistics=2).eval()
    inputs, statistics = torch.randn(3, 9, 6), torch.randn(3, 9, 2)
    with torch.no_grad():
        model.gate.fill_(0.7)
    valid = torch.arange(9)[None] < torch.tensor([9, 5, 1])[:, None]
    whole = model(inputs, valid, statistics)
    changed = inputs.clone()
    changed[:, 4:] = 5.0
    torch.testing.assert_close(model(changed, valid, statistics)[:, :4], whole[:, :4], rtol=0, atol=1e-6)
    torch.testing.assert_close(model(inputs[1:2, :5], valid[1:2, :5], statistics[1:2, :5])[0], whole[1, :5])
    assert (whole[~valid] == 0).all()
    assert whole.isfinite().all()


def test_the_local_layer_looks_back_by_its_window_only() -> None:
    torch.manual_seed(0)
    model = OneStepHighlight("hierarchical", 4, 8, layers=1, heads=2, window=2).eval()
    states, valid = torch.randn(1, 6, 8), torch.ones(1, 6, dtype=torch.bool)
    places = torch.arange(6)
    offset = places[:, None] - places[None]
    mask = model._mask(offset < 2, offset, offset == 0, valid)
    assert (~mask[0]).tolist() == [[0 <= t - j < 2 for j in range(6)] for t in range(6)]
    near = model.local(states, src_mask=mask)
    changed = states.clone()
    changed[0, 0] = 9.0
    again = model.local(changed, src_mask=mask)
    torch.testing.assert_close(again[0, 2:], near[0, 2:])
    assert not torch.allclose(again[0, 1], near[0, 1])


def test_wrong_use_is_refused() -> None:
    model = OneStepHighlight("causal", 4, 8, layers=1, heads=2, window=2)
    with pytest.raises(ValueError, match="at most 210 segments"):
        model(torch.zeros(1, 211, 4), torch.ones(1, 211, dtype=torch.bool))
    with pytest.raises(ValueError, match="statistics"):
        model(torch.zeros(1, 2, 4), torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2, 3))
