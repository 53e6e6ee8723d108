"""The intra-video loss on three segments, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from segrec.losses.intra_video import intra_video_loss, released_loss

SCORES = [2.0, 0.5, 1.0]


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def one_view(scores: list[float], length: int, exit_segment: int) -> tuple[Tensor, ...]:
    slots = len(scores)
    return (
        torch.tensor(scores, requires_grad=True),
        torch.zeros(slots, dtype=torch.int64),
        torch.arange(slots),
        torch.tensor([length]),
        torch.tensor([exit_segment]),
    )


def test_valid_compares_with_every_other_segment() -> None:
    """Skip in segment 1: -ln sigmoid(2 - .5) - ln sigmoid(1 - .5)."""
    loss = intra_video_loss(*one_view(SCORES, 3, 1))
    assert loss.item() == pytest.approx(softplus(-1.5) + softplus(-0.5))


def test_watched_compares_with_the_segments_before_the_skip() -> None:
    loss = intra_video_loss(*one_view(SCORES, 3, 1), scope="watched")
    assert loss.item() == pytest.approx(softplus(-1.5))


def test_watched_has_nothing_to_compare_when_the_first_segment_is_skipped() -> None:
    assert intra_video_loss(*one_view(SCORES, 3, 0), scope="watched").item() == 0.0


def test_padding_never_counts() -> None:
    padded = intra_video_loss(*one_view([*SCORES, 9.0, -9.0], 3, 1))
    assert padded.item() == pytest.approx(intra_video_loss(*one_view(SCORES, 3, 1)).item())


def test_mean_is_over_skipped_views_only() -> None:
    """Two views: one skipped in segment 1 of 3, one of 2 segments watched to the end."""
    loss = intra_video_loss(
        torch.tensor([*SCORES, 5.0, -5.0]),
        torch.tensor([0, 0, 0, 1, 1]),
        torch.tensor([0, 1, 2, 0, 1]),
        torch.tensor([3, 2]),
        torch.tensor([1, 2]),
    )
    assert loss.item() == pytest.approx(softplus(-1.5) + softplus(-0.5))


@pytest.mark.parametrize("scope", ["valid", "watched"])
def test_without_a_skip_the_loss_is_zero_and_has_a_gradient(scope: str) -> None:
    scores, *rest = one_view(SCORES, 3, 3)
    loss = intra_video_loss(scores, *rest, scope=scope)  # type: ignore[arg-type]
    loss.backward()
    assert loss.item() == 0.0
    assert scores.grad is not None
    assert torch.equal(scores.grad, torch.zeros(3))


def test_released_value_by_hand() -> None:
    """w = softmax(2, 1) over the slots that are not the skip; -log(w_0 sigmoid(1.5) + w_2 sigmoid(.5))."""
    first = math.exp(2) / (math.exp(2) + math.exp(1))
    value = first / (1 + math.exp(-1.5)) + (1 - first) / (1 + math.exp(-0.5))
    assert released_loss(torch.tensor([SCORES]), torch.tensor([1])).item() == pytest.approx(-math.log(value), rel=1e-6)


def test_released_full_view_takes_the_first_padding_slot_as_its_skip() -> None:
    """Video of 2 segments in 3 slots, watched to the end: slot 2 is the 'skip'."""
    first = math.exp(2) / (math.exp(2) + math.exp(0.5))
    value = first / (1 + math.exp(-1.0)) + (1 - first) / (1 + math.exp(0.5))
    scope = intra_video_loss(*one_view(SCORES, 2, 2), scope="all40_bprmax")
    assert scope.item() == pytest.approx(-math.log(value), rel=1e-6)


def test_released_leaves_out_views_without_a_slot_for_their_end() -> None:
    assert released_loss(torch.tensor([SCORES]), torch.tensor([3])).item() == 0.0
