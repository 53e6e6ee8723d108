"""Shuffled orders are distinct permutations of the valid places, all alike in chance; MTAM's swap follows its odds."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from segrec.losses.time_orders import shuffled_orders, swapped_orders


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 9), max_size=5), st.integers(1, 9), st.integers(0, 99))
def test_orders_are_distinct_permutations_of_the_valid_places(lengths: list[int], count: int, seed: int) -> None:
    places = max([*lengths, 1])
    true = torch.arange(places).expand(len(lengths), places)
    orders, counted = shuffled_orders(
        torch.tensor(lengths, dtype=torch.int64), places, count, unlike=(true,), generator=generator(seed)
    )
    assert orders.shape == (len(lengths), count, places)
    for length, some, kept in zip(lengths, orders.tolist(), counted.tolist(), strict=True):
        found = [tuple(order) for order, counts in zip(some, kept, strict=True) if counts]
        assert len(set(found)) == len(found)
        assert tuple(range(places)) not in found
        for order in some:
            assert sorted(order[:length]) == list(range(length))
            assert order[length:] == list(range(length, places))


@pytest.mark.parametrize(("length", "most"), [(0, 0), (1, 0), (2, 1), (3, 5), (6, 8), (20, 8)])
def test_short_samples_have_fewer_orders(length: int, most: int) -> None:
    true = torch.arange(20).expand(50, 20)
    _, counted = shuffled_orders(torch.full((50,), length), 20, 8, unlike=(true,), generator=generator(0))
    assert counted.sum(dim=1).max() == most
    assert counted.sum(dim=1).float().mean() >= 0.9 * most


def test_each_other_order_is_as_likely() -> None:
    """4 places: 23 orders beside the true one, 3 drawn 8,000 times."""
    true = torch.arange(4).expand(8000, 4)
    orders, counted = shuffled_orders(torch.full((8000,), 4), 4, 3, unlike=(true,), generator=generator(1))
    assert counted.all()
    names = [tuple(order) for some in orders.tolist() for order in some]
    tally = [names.count(order) for order in list(permutations(range(4)))[1:]]
    assert sum(tally) == 24000
    assert chisquare(tally).pvalue > 1e-3


def test_the_same_generator_draws_the_same() -> None:
    drawn = [shuffled_orders(torch.tensor([7, 5]), 7, 4, generator=generator(3))[0] for _ in range(2)]
    assert torch.equal(*drawn)


@pytest.mark.parametrize(("omega", "wanted"), [("all", [0, 3, 2, 1]), ("upper", [2, 1, 0, 3]), ("lower", [0, 3, 2, 1])])
def test_the_likeliest_pair_of_omega_is_exchanged(omega: str, wanted: list[int]) -> None:
    """Text 3 fits picture 1 best; text 0 fits picture 2 best among later pictures; the diagonal never counts."""
    cosines = torch.full((1, 4, 4), -1.0)
    cosines[0].fill_diagonal_(9.0)
    cosines[0, 3, 1], cosines[0, 0, 2] = 1.0, 0.5
    order = swapped_orders(cosines, torch.tensor([4]), omega=omega, gamma=0.01, generator=generator(0))
    assert order.tolist() == [wanted]


def test_pairs_are_drawn_by_one_softmax_over_all_of_omega() -> None:
    """Pictures 0 <-> 1, 0 <-> 2, 1 <-> 2: the sum of both directions' odds."""
    cosines = torch.tensor([[0.9, 0.1, 0.3], [0.2, 0.9, 0.0], [0.1, 0.4, 0.9]])
    odds = (cosines / 0.1).exp().fill_diagonal_(0)
    shares = torch.stack([odds[0, 1] + odds[1, 0], odds[0, 2] + odds[2, 0], odds[1, 2] + odds[2, 1]]) / odds.sum()
    drawn = swapped_orders(cosines.expand(20000, 3, 3), torch.full((20000,), 3), generator=generator(2)).tolist()
    tally = [drawn.count(order) for order in ([1, 0, 2], [2, 1, 0], [0, 2, 1])]
    assert sum(tally) == 20000
    assert chisquare(tally, shares.double().div(shares.double().sum()).numpy() * 20000).pvalue > 1e-3


def test_padding_and_single_segments_are_never_exchanged() -> None:
    cosines = torch.rand(300, 5, 5, generator=generator(4))
    lengths = torch.arange(300) % 4
    orders = swapped_orders(cosines, lengths, num_swaps=3, generator=generator(5))
    place = torch.arange(5)
    assert torch.equal(orders.sort(dim=1).values, place.expand(300, 5))
    still = place >= lengths.clamp(min=0).unsqueeze(1)
    assert torch.equal(orders[still], place.expand(300, 5)[still])
    assert torch.equal(orders[lengths < 2], place.expand(int((lengths < 2).sum()), 5))
    assert (orders[lengths == 2, :2] == torch.tensor([1, 0])).all()  # three swaps of the only pair


def test_no_swap_and_nothing_to_swap() -> None:
    assert swapped_orders(torch.rand(1, 3, 3), torch.tensor([3]), num_swaps=0).tolist() == [[0, 1, 2]]
    assert swapped_orders(torch.rand(0, 3, 3), torch.zeros(0, dtype=torch.int64)).shape == (0, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"omega": "diagonal"}, "omega must be one of .*'diagonal'"),
        ({"gamma": 0.0}, "gamma above 0.*0.0"),
        ({"num_swaps": -1}, "num_swaps at least 0 .*-1"),
    ],
)
def test_bad_input(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        swapped_orders(torch.rand(1, 3, 3), torch.tensor([3]), **options)
