"""CAN's co-action unit: by hand, against loops over rows, and its sizes by the formula."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.layers.co_action import CoAction


def test_by_hand():
    unit = CoAction(1, orders=2, widths=(1, 1))
    assert (unit.parameters_width, unit.width) == (8, 2)  # 2 + 1 and 1 + 1 of them used
    induction = torch.tensor([[0.5, -1.0, 0.25, 2.0, -0.1, 99.0, 99.0, 99.0]])
    first = math.tanh(0.5 * 0.3 - 1.0 * 0.09 + 0.25)
    second = math.tanh(2.0 * first - 0.1)
    assert unit(induction, torch.tensor([[[0.3]]])).flatten().tolist() == pytest.approx([first, second])


@pytest.mark.parametrize(("width", "orders", "expected"), [(16, 1, 88), (16, 3, 216), (8, 2, 88), (4, 1, 40)])
def test_sizes_of_the_papers_network(width, orders, expected):
    """(k orders) 4 + 4 + 16 + 4"""
    assert CoAction(width, orders, (4, 4)).parameters_width == width * orders * 4 + 24 == expected


def test_sizes_are_rounded_up_for_the_tables():
    assert CoAction(4, 1, (3,)).parameters_width == 16  # 15 used
    assert CoAction(4, 1, (5, 2)).parameters_width == 40  # 25 + 12 used


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
)
def test_equals_the_network_written_out(rows, fed, width, orders, widths):
    unit = CoAction(width, orders, widths)
    torch.manual_seed(rows + 10 * fed + 100 * width)
    induction, feeds = torch.randn(rows, unit.parameters_width), torch.randn(rows, fed, width)
    found = unit(induction, feeds)
    assert found.shape == (rows, fed, sum(widths))
    for row in range(rows):
        for place in range(fed):
            inner = torch.cat([feeds[row, place] ** order for order in range(1, orders + 1)])
            numbers, layers = iter(induction[row].tolist()), []
            for leaving in widths:
                weight = torch.tensor([[next(numbers) for _ in range(leaving)] for _ in inner])
                bias = torch.tensor([next(numbers) for _ in range(leaving)])
                inner = torch.tanh(inner @ weight + bias)
                layers.append(inner)
            torch.testing.assert_close(found[row, place], torch.cat(layers), atol=1e-5, rtol=1e-5)
