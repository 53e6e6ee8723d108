"""tau-b inside groups and windows: by hand, against scipy and pair loops, ties, empties, NaN, influence."""

from __future__ import annotations

import math
import time
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from segrec.metrics import kendall_small
from segrec.metrics.kendall import (
    KendallCounts,
    kendall_counts,
    kendall_of_rows,
    kendall_tau,
    kendall_windows,
    tau_influence,
)

VALUES = st.sampled_from([-1.5, 0.0, -0.0, 0.1, 0.1 + 1e-12, 2.0, math.inf])
GROUPS = st.lists(st.lists(st.tuples(VALUES, VALUES), max_size=9), min_size=1, max_size=6)


def by_pairs(rows: list[tuple[float, float]]) -> tuple[int, int, int, int]:
    """P, Q, T, U by a loop over the pairs."""
    p = q = t = u = 0
    for (s, y), (r, z) in combinations(rows, 2):
        p += (s > r and y > z) or (s < r and y < z)
        q += (s > r and y < z) or (s < r and y > z)
        t += s == r and y != z
        u += s != r and y == z
    return p, q, t, u


def columns(groups: list[list[tuple[float, float]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    flat = np.array([row for group in groups for row in group], dtype=float).reshape(-1, 2)
    return flat[:, 0], flat[:, 1], np.append(0, np.cumsum([len(group) for group in groups]))


def told(counts: KendallCounts) -> list[tuple[int, ...]]:
    return [tuple(map(int, row)) for row in zip(*counts.parts, strict=True)]


def test_four_rows_by_hand() -> None:
    # Pairs: (a,b) P, (a,c) P, (a,d) tied truth U, (b,c) tied prediction T, (b,d) Q, (c,d) Q.
    counts = kendall_counts(np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 3.0, 5.0, 1.0]))
    assert told(counts) == [(2, 2, 1, 1)]
    assert float(counts.tau) == 0.0
    half = kendall_counts(np.array([1, 2, 2]), np.array([1, 2, 3]))
    assert told(half) == [(2, 0, 1, 0)]
    assert float(half.tau) == pytest.approx(2 / math.sqrt(3 * 2))


@given(GROUPS)
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_a_loop_over_pairs(groups: list[list[tuple[float, float]]]) -> None:
    predicted, target, offsets = columns(groups)
    counts = kendall_counts(predicted, target, offsets)
    assert told(counts) == [by_pairs(group) for group in groups]
    rows = kendall_of_rows(predicted, target, offsets)
    for first, last, group in zip(offsets[:-1], offsets[1:], groups, strict=True):
        for place in range(last - first):
            others = [by_pairs([group[place], other]) for at, other in enumerate(group) if at != place]
            assert told(rows)[first + place] == tuple(np.sum(others, axis=0)) if others else (0, 0, 0, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_tau_is_scipys_on_large_tied_groups(dtype: type) -> None:
    draw = np.random.default_rng(0)
    sizes = [2, 700, 1, 3000, 0, 64]
    offsets = np.append(0, np.cumsum(sizes))
    target = draw.integers(0, 40, offsets[-1]).astype(dtype)
    predicted = (target * 3 + draw.integers(0, 90, offsets[-1])).astype(dtype)
    found = kendall_tau(predicted, target, offsets).numpy()
    for (first, last), tau in zip(pairwise(offsets), found, strict=True):
        expected = kendalltau(predicted[first:last], target[first:last]).statistic if last - first > 1 else math.nan
        assert tau == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("predicted", "target"), [([], []), ([1.0], [2.0]), ([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [3.0, 3.0])]
)
def test_undefined_is_nan(predicted: list[float], target: list[float]) -> None:
    assert math.isnan(kendall_tau(np.array(predicted), np.array(target)))


@given(GROUPS, st.integers(2, 5), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_windows_are_those_of_a_loop(groups: list[list[tuple[float, float]]], window: int, seed: int) -> None:
    predicted, target, offsets = columns(groups)
    kept = np.random.default_rng(seed).random(len(predicted)) < 0.8
    target[~kept] = math.nan
    counts, last = kendall_windows(predicted, target, offsets, window, kept)
    expected, ends = [], []
    for first, end in pairwise(offsets):
        for row in range(first + window - 1, end):
            inside = [at for at in range(row - window + 1, row + 1) if kept[at]]
            expected.append(by_pairs([(predicted[at], target[at]) for at in inside]))
            ends.append(row)
    assert told(counts) == expected
    assert last.tolist() == ends


def test_influence_is_the_derivative_by_the_rows_weight() -> None:
    draw = np.random.default_rng(3)
    target = draw.integers(0, 6, 40).astype(float)
    predicted = target + draw.integers(0, 5, 40)
    tau, influence = tau_influence(predicted, target)
    assert tau == pytest.approx(kendalltau(predicted, target).statistic)
    assert float(influence.sum()) == pytest.approx(0, abs=1e-12)
    pairs = [np.sign(column[:, None] - column[None]) for column in (predicted, target)]

    def weighted(weights: np.ndarray) -> float:
        both, one, other = (weights @ part @ weights for part in (pairs[0] * pairs[1], pairs[0] ** 2, pairs[1] ** 2))
        return float(both / math.sqrt(one * other))

    step = 1e-6
    for row in range(0, 40, 7):
        more, less = np.ones(40), np.ones(40)
        more[row] += step
        less[row] -= step
        assert float(influence[row]) == pytest.approx((weighted(more) - weighted(less)) / (2 * step), abs=1e-7)


BAD = {
    "lengths": ((np.zeros(2), np.zeros(3), None), r"predictions \(2,\) and targets \(3,\) must be equal"),
    "NaN": ((np.array([0.0, math.nan]), np.zeros(2), None), r"is NaN \(row 1\)"),
    "offsets begin late": ((np.zeros(2), np.zeros(2), np.array([1, 2])), r"offsets must run from 0 to 2"),
    "offsets end early": ((np.zeros(2), np.zeros(2), np.array([0, 1])), r"offsets must run from 0 to 2"),
    "offsets fall": ((np.zeros(2), np.zeros(2), np.array([0, 2, 1, 2])), r"without falling \(found: \[0, 2, 1, 2\]\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case: str) -> None:
    arguments, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        kendall_counts(*arguments)


@given(GROUPS)
@settings(max_examples=30, deadline=None)
def test_small_and_large_groups_are_counted_alike(groups: list[list[tuple[float, float]]]) -> None:
    """Whole numbers, and groups too large to be counted side by side, go by ranks."""
    predicted, target, offsets = columns(groups)
    whole = [np.unique(column, return_inverse=True)[1] for column in (predicted, target)]
    assert told(kendall_counts(*whole, offsets)) == told(kendall_counts(predicted, target, offsets))


def test_blocks_of_groups_of_very_different_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kendall_small, "_CELLS_AT_ONCE", {"cpu": 64, "cuda": 64})
    draw, sizes = np.random.default_rng(7), [1, 256, 3, 0, 257, 2, 40, 3, 3, 90]
    offsets = np.append(0, np.cumsum(sizes))
    predicted, target = (draw.integers(0, 6, offsets[-1]) / 5 for _ in range(2))
    expected = [by_pairs(list(zip(predicted[a:b], target[a:b], strict=True))) for a, b in pairwise(offsets)]
    assert told(kendall_counts(predicted, target, offsets)) == expected


def test_a_window_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="a window needs at least 2 rows"):
        kendall_windows(np.zeros(3), np.zeros(3), np.array([0, 3]), 1)


def test_ten_thousand_rooms_in_seconds() -> None:
    rooms, segments = 10_000, 120
    predicted = torch.rand(rooms * segments, generator=torch.Generator().manual_seed(0))
    started = time.process_time()
    tau = kendall_tau(predicted, predicted.round(decimals=1), torch.arange(rooms + 1) * segments)
    assert time.process_time() - started < 8, "far above what is measured in benchmarks/tau_speed.py"
    assert not bool(tau.isnan().any())


@pytest.mark.gpu
def test_the_same_on_a_gpu() -> None:
    draw = np.random.default_rng(5)
    predicted, target = (torch.from_numpy(draw.integers(0, 9, 500) / 8) for _ in range(2))
    offsets = torch.tensor([0, 120, 120, 500])
    here = kendall_counts(predicted, target, offsets)
    there = kendall_counts(predicted.cuda(), target.cuda(), offsets)
    assert told(here) == told(KendallCounts(*(part.cpu() for part in there.parts)))
