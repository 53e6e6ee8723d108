"""HR@K and NDCG@K of skips: by hand, against all permutations of ties, and at the edges."""

from __future__ import annotations

import math
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec.metrics.skip_ranking import CUTOFFS, masked_skip, slots40

INF = math.inf


def by_permutation(scores: list[float], target: int, cutoff: int) -> tuple[float, float]:
    """(HR@K, NDCG@K) averaged over every order of the candidates that sorts the scores ascending."""
    hits, gains, orders = 0.0, 0.0, 0
    for order in permutations(range(len(scores))):
        if all(scores[a] <= scores[b] for a, b in pairwise(order)):
            place = order.index(target) + 1
            hits += place <= cutoff
            gains += 1 / math.log2(place + 1) if place <= cutoff else 0.0
            orders += 1
    return hits / orders, gains / orders


def test_three_views_by_hand() -> None:
    # Skip slot 1 is lowest; slot 0 is second of three; slot 2 ties with slot 0 for places 1 and 2.
    scores = np.array([[3.0, 1.0, 2.0], [2.0, 1.0, 3.0], [1.0, 2.0, 1.0]])
    ranks, rows = masked_skip(scores, np.array([3, 3, 3]), np.array([1, 0, 2]))
    second = 1 / math.log2(3)
    assert rows.tolist() == [0, 1, 2]
    assert ranks.hit(1).tolist() == [1.0, 0.0, 0.5]
    assert ranks.ndcg(1).tolist() == [1.0, 0.0, 0.5]
    assert ranks.ndcg(5).tolist() == pytest.approx([1.0, second, (1 + second) / 2])


def test_masked_skip_leaves_out_full_views_and_padding() -> None:
    # The video has 2 segments: a lower score on the padding slot must not count, the full view is no row.
    scores = np.array([[0.5, 0.4, -9.0], [0.5, 0.4, -9.0]])
    ranks, rows = masked_skip(scores, np.array([2, 2]), np.array([1, 2]))
    assert rows.tolist() == [0]
    assert ranks.hit(1).tolist() == [1.0]


def test_masked_skip_does_not_look_at_nan_on_padding() -> None:
    ranks, _ = masked_skip(np.array([[0.5, 0.4, math.nan]]), np.array([2]), np.array([1]))
    assert ranks.hit(1).tolist() == [1.0]


def test_slots40_ranks_all_slots_and_full_views_target_slot_n() -> None:
    # 4 slots. Row 0: full view of N = 2, target slot 2, which has the lowest score. Row 1: a full view that fills the
    # grid has no target. Row 2: a skip in slot 0 behind the two padding slots.
    scores = np.array([[3.0, 2.0, 1.0, 4.0], [1.0, 1.0, 1.0, 1.0], [3.0, 4.0, 1.0, 2.0]])
    ranks, rows = slots40(scores, np.array([2, 4, 2]), np.array([2, 4, 0]))
    assert rows.tolist() == [0, 2]
    assert ranks.hit(1).tolist() == [1.0, 0.0]
    assert ranks.ndcg(5).tolist() == pytest.approx([1.0, 1 / math.log2(4)])


@pytest.mark.parametrize(("cutoff", "expected"), [(1, 1 / 40), (5, 5 / 40), (10, 10 / 40)])
def test_equal_scores_give_the_papers_random_row(cutoff: int, expected: float) -> None:
    ranks, _ = slots40(np.zeros((3, 40)), np.array([1, 7, 39]), np.array([0, 7, 20]))
    assert ranks.hit(cutoff).tolist() == pytest.approx([expected] * 3)


def test_a_video_of_one_segment_is_always_hit() -> None:
    ranks, _ = masked_skip(np.array([[7.0, INF]]), np.array([1]), np.array([0]))
    assert [ranks.hit(k).item() for k in CUTOFFS] == [1.0, 1.0, 1.0]
    assert ranks.ndcg(10).item() == 1.0


def test_a_target_called_impossible_shares_the_last_places() -> None:
    # +inf on the target and on one other: places 2 and 3.
    ranks, _ = masked_skip(np.array([[0.0, INF, INF]]), np.array([3]), np.array([2]))
    assert ranks.hit(2).tolist() == [0.5]


@given(
    scores=st.lists(st.sampled_from([-1.0, 0.0, 0.5, INF]), min_size=1, max_size=6),
    data=st.data(),
    cutoff=st.integers(1, 7),
)
@settings(max_examples=150, deadline=None)
def test_equals_the_mean_over_all_orders_of_ties(scores: list[float], data: st.DataObject, cutoff: int) -> None:
    target = data.draw(st.integers(0, len(scores) - 1))
    expected = by_permutation(scores, target, cutoff)
    padded = np.array([[*scores, -5.0]])
    ranks, _ = masked_skip(padded, np.array([len(scores)]), np.array([target]))
    assert ranks.hit(cutoff).item() == pytest.approx(expected[0])
    assert ranks.ndcg(cutoff).item() == pytest.approx(expected[1])


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_without_ties_it_is_the_plain_rank(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 9, 20)
    exits = random.integers(0, lengths)
    scores = random.random((20, 8))
    ranks, _ = masked_skip(scores, lengths, exits)
    places = [sorted(s[:n]).index(s[e]) + 1 for s, n, e in zip(scores, lengths, exits, strict=True)]
    assert ranks.hit(3).tolist() == [float(place <= 3) for place in places]
    assert ranks.ndcg(3).tolist() == pytest.approx([(place <= 3) / math.log2(place + 1) for place in places])


def test_tensors_and_arrays_agree_and_row_order_does_not_matter() -> None:
    random = np.random.default_rng(3)
    lengths = random.integers(1, 6, 50)
    exits, scores = random.integers(0, lengths + 1), random.integers(0, 3, (50, 5)).astype(np.float32)
    one, rows = masked_skip(scores, lengths, exits)
    other, other_rows = masked_skip(torch.tensor(scores), torch.tensor(lengths), torch.tensor(exits))
    assert rows.tolist() == other_rows.tolist()
    assert one.ndcg(5).tolist() == other.ndcg(5).tolist()
    turned, _ = masked_skip(scores[::-1], lengths[::-1], exits[::-1])
    assert turned.ndcg(5).tolist() == one.ndcg(5).tolist()[::-1]


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    lengths = random.integers(1, 6, 50)
    exits, scores = random.integers(0, lengths + 1), random.integers(0, 3, (50, 5)).astype(np.float32)
    whole, rows = masked_skip(scores, lengths, exits)
    monkeypatch.setattr("segrec.metrics.skip_ranking._ROWS_AT_ONCE", 7)
    parts, _ = masked_skip(scores, lengths, exits)
    assert parts.above.tolist() == whole.above.tolist()
    assert parts.ties.tolist() == whole.ties.tolist()
    last = int(rows[-1])
    scores[last, 0] = math.nan
    with pytest.raises(ValueError, match=f"a score is NaN \\(row {last}\\)"):
        masked_skip(scores, lengths, exits)


def test_no_view_gives_no_number() -> None:
    ranks, rows = masked_skip(np.zeros((0, 3)), np.zeros(0, int), np.zeros(0, int))
    assert rows.tolist() == []
    assert math.isnan(ranks.hit(1).mean().item())
    only_full, _ = masked_skip(np.zeros((2, 3)), np.array([3, 3]), np.array([3, 3]))
    assert math.isnan(only_full.ndcg(5).mean().item())


BAD = {
    "NaN among the candidates": ([[0.0, math.nan]], [2], [0], "a score is NaN \\(row 0\\)"),
    "exit beyond the end": ([[0.0, 1.0]], [1], [2], "0 <= exit <= length"),
    "length beyond the grid": ([[0.0, 1.0]], [3], [0], "1 <= length <= 2"),
    "no length": ([[0.0, 1.0]], [0], [0], "1 <= length <= 2"),
    "lengths of other rows": ([[0.0, 1.0]], [1, 1], [0], "must be \\(B, S\\), \\(B,\\) and \\(B,\\)"),
    "scores of one row": ([0.0, 1.0], [1], [0], "must be \\(B, S\\), \\(B,\\) and \\(B,\\)"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("protocol", [masked_skip, slots40])
def test_bad_input_is_refused(case: str, protocol: object) -> None:
    scores, lengths, exits, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        protocol(np.array(scores), np.array(lengths), np.array(exits))  # type: ignore[operator]


def test_a_cutoff_below_one_is_refused() -> None:
    ranks, _ = masked_skip(np.zeros((1, 2)), np.array([2]), np.array([0]))
    with pytest.raises(ValueError, match="K must be at least 1"):
        ranks.hit(0)
