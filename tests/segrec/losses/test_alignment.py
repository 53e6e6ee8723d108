"""The alignment loss by hand, against a loop over samples, and what descending it does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from segrec.losses.alignment import alignment_loss, contrast, cosines, reordered
from segrec.losses.dtw import dtw
from segrec.losses.time_orders import shuffled_orders, swapped_orders

SAMPLES, PLACES, WIDTH = 4, 6, 5


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def both_sides(seed: int = 0, samples: int = SAMPLES, places: int = PLACES) -> tuple[Tensor, Tensor]:
    random = generator(seed)
    text, visual = (
        torch.randn(samples, places, WIDTH, dtype=torch.float64, generator=random).requires_grad_() for _ in range(2)
    )
    return text, visual


def looped(
    text: Tensor, visual: Tensor, valid: Tensor, seed: int, *, mode: str, side: str, temperature: float
) -> Tensor:
    """One sample at a time, every negative's vectors put into their order before their table is made."""
    random, losses = generator(seed), []
    lengths = valid.sum(1)
    kept = [(t[v], p[v]) for t, p, v in zip(text, visual, valid, strict=True)]
    padded = torch.zeros(len(kept), text.shape[1], text.shape[1], dtype=text.dtype)
    for table, (t, p) in zip(padded, kept, strict=True):
        table[: len(t), : len(t)] = torch.nn.functional.cosine_similarity(t[:, None], p[None], dim=2).detach()
    true = torch.arange(text.shape[1]).expand(len(kept), -1)
    positive, unlike = true, (true,)
    if mode == "mtam":
        positive = swapped_orders(padded, lengths, generator=random)
        unlike = (true, positive)
    orders, counted = shuffled_orders(lengths, text.shape[1], 8, unlike=unlike, generator=random)
    for k, (t, p) in enumerate(kept):
        if not counted[k].any():
            continue
        logits = []
        for order in [positive[k], *orders[k][counted[k]]]:
            order = order[: len(t)]
            left, right = (t[order], p) if side == "text" else (t, p[order])
            table = 1 - torch.nn.functional.cosine_similarity(left[:, None], right[None], dim=2)
            logits.append(-dtw(table[None])[0] / temperature)
        losses.append(torch.logsumexp(torch.stack(logits), 0) - logits[0])
    return torch.stack(losses).mean()


def test_contrast_by_hand() -> None:
    """Costs 1 against 2 and 3 (one not counted); a sample without negatives is left out."""
    costs = torch.tensor([[1.0, 2.0, 3.0], [5.0, 1.0, 1.0]])
    counted = torch.tensor([[True, False], [False, False]])
    assert contrast(costs, counted).item() == pytest.approx(math.log1p(math.exp(-1)))


def test_two_segments_by_hand() -> None:
    """Right order: cost 0; exchanged: 1 + 0 + 1, diagonal 1 + 1 = 2 with a hard minimum; loss ln(1 + e^-2)."""
    text = torch.eye(2).unsqueeze(0)
    loss = alignment_loss(text, text.clone(), minimum="hard")
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2)))
    assert alignment_loss(text, text, minimum="hard", temperature=2.0).item() == pytest.approx(math.log1p(math.exp(-1)))
    assert alignment_loss(text, text, minimum="hard", per_segment=True).item() == pytest.approx(
        math.log1p(math.exp(-1))
    )


@pytest.mark.parametrize("mode", ["dtw", "mtam"])
@pytest.mark.parametrize("side", ["visual", "text"])
@pytest.mark.parametrize("holes", [False, True])
def test_values_and_gradients_agree_with_a_loop(mode: str, side: str, holes: bool) -> None:
    text, visual = both_sides()
    valid = torch.ones(SAMPLES, PLACES, dtype=torch.bool)
    if holes:
        valid = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]]).bool()
    loss = alignment_loss(text, visual, valid, mode=mode, shuffled=side, temperature=0.7, generator=generator(1))
    wanted = looped(text, visual, valid, 1, mode=mode, side=side, temperature=0.7)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-10)
    found, slopes = (torch.autograd.grad(value, (text, visual)) for value in (loss, wanted))
    for one, other in zip(found, slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("mode", ["dtw", "mtam", "mtam_released"])
@pytest.mark.parametrize("minimum", ["soft", "hard"])
def test_descent_cheapens_the_positive_against_the_negatives(mode: str, minimum: str) -> None:
    """The sign: after 30 steps the true order costs less than shuffled ones by more than before."""
    text, visual = both_sides(3)
    true = torch.arange(PLACES).expand(SAMPLES, PLACES)
    orders, _ = shuffled_orders(torch.full((SAMPLES,), PLACES), PLACES, 8, unlike=(true,), generator=generator(4))

    def lead() -> float:
        table = 1 - cosines(text, visual).detach()
        return (dtw(reordered(table, orders)).mean() - dtw(table).mean()).item()

    before, random = lead(), generator(5)
    optimizer = torch.optim.Adam([text, visual], lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        alignment_loss(text, visual, mode=mode, minimum=minimum, generator=random).backward()
        optimizer.step()
    assert lead() > before + 0.5


def test_mtam_exchanges_pictures_of_the_positive_only_while_training() -> None:
    text, visual = both_sides(6)
    plain = alignment_loss(text, visual, mode="dtw", generator=generator(7))
    assert alignment_loss(text, visual, mode="mtam", training=False, generator=generator(7)) == plain
    assert alignment_loss(text, visual, mode="mtam", num_swaps=0, generator=generator(7)) == plain
    assert alignment_loss(text, visual, mode="mtam", generator=generator(7)) != plain


def test_released_positive_is_not_swapped_and_its_cosine_is_damped() -> None:
    """With 2 places the swapped order is the only other one, so no negative but the true order is left: ln 2."""
    text, visual = both_sides(8, places=2)
    assert alignment_loss(text, visual, mode="mtam_released").item() == pytest.approx(math.log(2))
    unit = torch.eye(2).unsqueeze(0)
    assert cosines(unit, unit, 0.01)[0].tolist() == [[pytest.approx(1 / 1.01), 0.0], [0.0, pytest.approx(1 / 1.01)]]


@pytest.mark.parametrize("mode", ["dtw", "mtam"])
@pytest.mark.parametrize(("samples", "places", "valid"), [(0, 4, 1), (3, 0, 1), (3, 1, 1), (3, 4, 0)])
def test_without_negatives_the_loss_is_zero_with_a_gradient(mode: str, samples: int, places: int, valid: int) -> None:
    text, visual = both_sides(0, samples, places)
    mask = torch.full((samples, places), bool(valid))
    loss = alignment_loss(text, visual, mask, mode=mode)
    loss.backward()
    assert loss.item() == 0.0
    for side in (text, visual):
        assert side.grad is not None
        assert side.grad.abs().sum() == 0


def test_none_is_zero_with_a_gradient() -> None:
    text, visual = both_sides()
    loss = alignment_loss(text, visual, mode="none")
    loss.backward()
    assert loss.item() == 0.0


def test_invalid_and_zero_vectors_leave_everything_finite() -> None:
    text, visual = (side.detach().clone() for side in both_sides())
    text[:, 2] = 0.0
    visual[:, 5] = math.nan
    text.requires_grad_()
    visual.requires_grad_()
    valid = torch.ones(SAMPLES, PLACES, dtype=torch.bool)
    valid[:, 5] = False
    loss = alignment_loss(text, visual, valid, mode="mtam")
    loss.backward()
    assert loss.isfinite()
    for side in (text, visual):
        assert side.grad is not None
        assert side.grad.isfinite().all()
        assert side.grad[:, 5].abs().sum() == 0


def test_half_precision_and_autocast_compute_in_single() -> None:
    text, visual = (side.detach().bfloat16().requires_grad_() for side in both_sides())
    with torch.autocast("cpu", torch.bfloat16):
        loss = alignment_loss(text, visual, generator=generator(2))
    loss.backward()
    exact = alignment_loss(text.detach().double(), visual.detach().double(), generator=generator(2))
    assert loss.dtype == torch.float32
    assert text.grad is not None
    assert text.grad.dtype == torch.bfloat16
    assert exact.isfinite()
    wanted = alignment_loss(text.detach().float(), visual.detach().float(), generator=generator(2))
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_reordering_and_its_gradient() -> None:
    table = torch.arange(9.0, dtype=torch.float64).reshape(1, 3, 3).requires_grad_()
    orders = torch.tensor([[[0, 1, 2], [2, 0, 1]]])
    assert reordered(table, orders)[1].tolist() == [[6.0, 7.0, 8.0], [0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert torch.autograd.gradcheck(lambda d: reordered(d, orders), table)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"visual_Bnd": torch.zeros(1, 2, 4)}, r"must both be \(B, n, d\) \(found \(1, 2, 3\), \(1, 2, 4\)\)"),
        ({"valid_Bn": torch.ones(1, 3, dtype=torch.bool)}, r"valid must be \(1, 2\) \(found \(1, 3\)\)"),
        ({"mode": "ctc"}, "mode must be one of .*'ctc'"),
        ({"shuffled": "both"}, "shuffled one of .*'both'"),
        ({"temperature": 0.0}, "temperature must be above 0 .*0.0"),
        ({"negatives": 0}, "negatives at least 1 .*negatives 0"),
        ({"minimum": "max"}, "minimum must be one of .*'max'"),
    ],
)
def test_bad_input(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        alignment_loss(**{"text_Bnd": torch.zeros(1, 2, 3), "visual_Bnd": torch.zeros(1, 2, 3), **options})


@pytest.mark.gpu
def test_gpu_agrees_with_cpu() -> None:
    """Two places leave one negative, so that no draw differs."""
    text, visual = both_sides(9, places=2)
    here, there = alignment_loss(text, visual), alignment_loss(text.cuda(), visual.cuda())
    assert there.item() == pytest.approx(here.item(), rel=1e-6)
    found, wanted = torch.autograd.grad(there, text)[0], torch.autograd.grad(here, text)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)
