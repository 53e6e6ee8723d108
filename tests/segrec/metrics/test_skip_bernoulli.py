"""Priors drawn as 0/1 scores: the exact expectation equals the sum over all draws."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec.metrics.bernoulli_ranking import bernoulli_places
from segrec.metrics.skip_ranking import slots40

CHANCES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6)


def over_all_draws(viewed: list[float], target: int, cutoff: int) -> tuple[float, float]:
    """(HR@K, NDCG@K) summed over all 2^M score vectors with their probabilities, ties by expectation."""
    hit, gain = 0.0, 0.0
    for scores in product([0.0, 1.0], repeat=len(viewed)):
        chance = math.prod(p if s else 1 - p for p, s in zip(viewed, scores, strict=True))
        ranks, _ = slots40(np.array([scores]), np.array([len(viewed)]), np.array([target]))
        hit += chance * ranks.hit(cutoff).item()
        gain += chance * ranks.ndcg(cutoff).item()
    return hit, gain


def test_two_slots_by_hand() -> None:
    # Target 0 is "viewed" with 1/4, slot 1 with 1/2. Target first: target 0 and other 1 (3/8), or equal and lucky.
    places = bernoulli_places(np.array([[0.25, 0.5]]), np.array([0]), np.array([2]))
    first = 0.75 * 0.5 + 0.5 * (0.75 * 0.5 + 0.25 * 0.5)
    assert places.shares[0].tolist() == pytest.approx([first, 1 - first])
    assert places.hit(1).item() == pytest.approx(first)
    assert places.ndcg(5).item() == pytest.approx(first + (1 - first) / math.log2(3))


@given(viewed=CHANCES, data=st.data(), cutoff=st.integers(1, 6))
@settings(max_examples=80, deadline=None)
def test_equals_the_sum_over_all_draws(viewed: list[float], data: st.DataObject, cutoff: int) -> None:
    target = data.draw(st.integers(0, len(viewed) - 1))
    padded = np.array([[*viewed, 0.0, 0.3]])  # slots beyond the candidates are not looked at
    places = bernoulli_places(padded, np.array([target]), np.array([len(viewed)]))
    expected = over_all_draws(viewed, target, cutoff)
    assert places.shares.sum().item() == pytest.approx(1.0)
    assert places.hit(cutoff).item() == pytest.approx(expected[0])
    assert places.ndcg(cutoff).item() == pytest.approx(expected[1])


def test_sure_scores_are_the_plain_ranking() -> None:
    places = bernoulli_places(np.array([[1.0, 0.0, 1.0]]), np.array([1]), np.array([3]))
    assert places.shares[0].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("viewed", "target", "candidates", "message"),
    [
        ([[0.5, 1.5]], [0], [2], "must lie in \\[0, 1\\]"),
        ([[0.5, math.nan]], [0], [2], "must lie in \\[0, 1\\]"),
        ([[0.5, 0.5]], [1], [1], "targets must lie in 0 .. candidates - 1"),
        ([[0.5, 0.5]], [0], [3], "candidates in 1 .. 2"),
    ],
)
def test_bad_draws_are_refused(viewed: list, target: list, candidates: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bernoulli_places(np.array(viewed), np.array(target), np.array(candidates))
