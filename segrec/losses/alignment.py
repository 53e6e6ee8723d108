"""Contrastive alignment of a sample's texts with its pictures: the true order in time must cost less than others.

Legend: B samples, n segments, d width, N negatives.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from segrec.losses.dtw import Minimum, check_minimum, dtw
from segrec.losses.time_orders import Omega, shuffled_orders, swapped_orders

AlignmentMode = Literal["none", "dtw", "mtam", "mtam_released"]
Shuffled = Literal["visual", "text"]
RELEASED_EPSILON = 0.01


def alignment_loss(
    text_Bnd: Tensor,
    visual_Bnd: Tensor,
    valid_Bn: Tensor | None = None,
    *,
    mode: AlignmentMode = "dtw",
    minimum: Minimum = "soft",
    softness: float = 0.1,
    temperature: float = 1.0,
    negatives: int = 8,
    shuffled: Shuffled = "visual",
    omega: Omega = "all",
    gamma: float = 0.1,
    num_swaps: int = 1,
    per_segment: bool = False,
    training: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean over samples of - log softmax(-cost / temperature) of the positive among the negatives, in nats.

    Cost = `dtw` over D = 1 - cos(text i, visual j) of the valid segments, in their order (ContentCTR, Eq. 7 to 9, with
    D a distance and the sign that makes descent cheapen the positive). Negatives put the `shuffled` side into other
    orders of time, distinct from each other, from the true one and from the positive's: at most `negatives` of them,
    fewer where a sample has no more; a sample without any (fewer than 2 segments) is left out. With none left the loss
    is 0 (with a gradient of 0). A zero vector has cosine 0 with everything.

    `none`: 0. `dtw`: the positive is the true order. `mtam`: while `training`, two of the positive's `shuffled` side
    are first exchanged (KuaiHL, Eq. 6, pictures; `omega`, `gamma`, `num_swaps` as in `swapped_orders`).
    `mtam_released`: the authors' code, where the swap (omega `upper`) only changes what negatives may not equal: not
    the swapped order, while the true one is allowed; it shuffles texts and adds 0.01 to the cosine's denominator.
    `per_segment` divides costs by the number of valid segments, for samples of unequal length to weigh alike.
    Computed in float32 (float64 if both are), also under autocast. Random draws come from `generator`.

    :raises ValueError: shapes that disagree, an unknown name, temperature not above 0, negatives below 1.
    """
    _check(text_Bnd, visual_Bnd, valid_Bn, mode=mode, shuffled=shuffled, temperature=temperature, negatives=negatives)
    check_minimum(minimum, softness)
    if mode == "none" or text_Bnd.shape[0] == 0 or text_Bnd.shape[1] == 0:
        return (text_Bnd.sum() + visual_Bnd.sum()) * 0.0
    if valid_Bn is None:
        valid_Bn = torch.ones(text_Bnd.shape[:2], dtype=torch.bool, device=text_Bnd.device)
    released = mode == "mtam_released"
    with torch.autocast(text_Bnd.device.type, enabled=False):
        texts, pictures = (torch.where(valid_Bn.unsqueeze(2), side, 0.0) for side in (text_Bnd, visual_Bnd))
        cosines_Bnn = _valid_first(cosines(texts, pictures, RELEASED_EPSILON if released else 0.0), valid_Bn)
        lengths_B = valid_Bn.sum(dim=1)
        positive_Bn, unlike = _positive(
            cosines_Bnn.detach(), lengths_B, mode=mode if training else "dtw", omega=omega, gamma=gamma,
            num_swaps=num_swaps, generator=generator,
        )  # fmt: skip
        places = text_Bnd.shape[1]
        orders_BNn, counted_BN = shuffled_orders(lengths_B, places, negatives, unlike=unlike, generator=generator)
        orders_BTn = torch.cat([positive_Bn.unsqueeze(1), orders_BNn], dim=1)
        by_text = released or shuffled == "text"
        # DTW does not change when a table is transposed: the shuffled side is always the one of rows.
        tables = reordered(1 - (cosines_Bnn if by_text else cosines_Bnn.transpose(1, 2)), orders_BTn)
        lengths_M = lengths_B.repeat_interleave(orders_BTn.shape[1], output_size=tables.shape[0])
        costs_BT = dtw(tables, lengths_M, minimum=minimum, softness=softness).view(orders_BTn.shape[:2])
        if per_segment:
            costs_BT = costs_BT / lengths_B.clamp(min=1).unsqueeze(1)
        return contrast(costs_BT / temperature, counted_BN)


def cosines(text_Bnd: Tensor, visual_Bnd: Tensor, epsilon: float = 0.0) -> Tensor:
    """(B, n, n): cosine of text i and visual j, times |x||y| / (|x||y| + epsilon)."""
    if text_Bnd.dtype != torch.float64 or visual_Bnd.dtype != torch.float64:
        text_Bnd, visual_Bnd = text_Bnd.float(), visual_Bnd.float()
    text_norms, visual_norms = (side.norm(dim=2, keepdim=True).clamp(min=1e-3) for side in (text_Bnd, visual_Bnd))
    found = torch.bmm(text_Bnd / text_norms, (visual_Bnd / visual_norms).transpose(1, 2))
    if epsilon > 0:
        norms = torch.bmm(text_norms, visual_norms.transpose(1, 2))
        found = found * (norms / (norms + epsilon))
    return found


def contrast(costs_BT: Tensor, counted_BN: Tensor) -> Tensor:
    """Mean over samples with a counted negative of - log softmax(-cost) of the first of T = 1 + N; 0 with none."""
    logits_BT = torch.cat([-costs_BT[:, :1], (-costs_BT[:, 1:]).masked_fill(~counted_BN, -torch.inf)], dim=1)
    kept_B = counted_BN.any(dim=1)
    losses_B = torch.where(kept_B, logits_BT.logsumexp(dim=1) - logits_BT[:, 0], 0.0)
    return losses_B.sum() / kept_B.sum().clamp(min=1)


def reordered(table_Bnn: Tensor, orders_BTn: Tensor) -> Tensor:
    """(B * T, n, n): a sample's table in each of its orders, row i taken from row order[i]."""
    found: Tensor = _Reordered.apply(table_Bnn, orders_BTn)  # type: ignore[no-untyped-call]
    return found


class _Reordered(torch.autograd.Function):
    """Copies of rows, whose backward copies rows too, by the inverse orders: no scattered adds."""

    @staticmethod
    def forward(ctx: Any, table_Bnn: Tensor, orders_BTn: Tensor) -> Tensor:
        ctx.save_for_backward(orders_BTn)
        samples, orders, places = orders_BTn.shape
        first_B11 = torch.arange(0, samples * places, places, device=orders_BTn.device).view(-1, 1, 1)
        rows = table_Bnn.reshape(samples * places, places).index_select(0, (orders_BTn + first_B11).flatten())
        return rows.view(samples * orders, places, places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_Mnn: Tensor) -> tuple[Tensor, None]:
        (orders_BTn,) = ctx.saved_tensors
        samples, orders, places = orders_BTn.shape
        first = torch.arange(0, samples * orders * places, places, device=orders_BTn.device)
        index = orders_BTn.argsort(dim=2) + first.view(samples, orders, 1)
        rows = gradient_Mnn.reshape(samples * orders * places, places).index_select(0, index.flatten())
        return rows.view(samples, orders, places, places).sum(dim=1), None


def _valid_first(table_Bnn: Tensor, valid_Bn: Tensor) -> Tensor:
    """The table with the valid places first, in their order, on both sides."""
    order_Bn = (~valid_Bn).to(torch.int8).argsort(dim=1, stable=True)
    rows = order_Bn.unsqueeze(2).expand_as(table_Bnn)
    return table_Bnn.gather(1, rows).gather(2, order_Bn.unsqueeze(1).expand_as(table_Bnn))


def _positive(
    cosines_Bnn: Tensor,
    lengths_B: Tensor,
    *,
    mode: AlignmentMode,
    omega: Omega,
    gamma: float,
    num_swaps: int,
    generator: torch.Generator | None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """(B, n) the positive's order, and the orders that negatives must not equal."""
    samples, places, _ = cosines_Bnn.shape
    true_Bn = torch.arange(places, device=cosines_Bnn.device).expand(samples, places)
    if mode == "dtw":
        return true_Bn, (true_Bn,)
    released = mode == "mtam_released"
    swapped_Bn = swapped_orders(
        cosines_Bnn, lengths_B, omega="upper" if released else omega, gamma=gamma, num_swaps=num_swaps,
        generator=generator,
    )  # fmt: skip
    return (true_Bn, (swapped_Bn,)) if released else (swapped_Bn, (true_Bn, swapped_Bn))


def _check(
    text_Bnd: Tensor, visual_Bnd: Tensor, valid_Bn: Tensor | None, *, mode: str, shuffled: str, temperature: float,
    negatives: int,
) -> None:  # fmt: skip
    if text_Bnd.ndim != 3 or text_Bnd.shape != visual_Bnd.shape:
        raise ValueError(
            f"text and visual must both be (B, n, d) (found {tuple(text_Bnd.shape)}, {tuple(visual_Bnd.shape)})"
        )
    if valid_Bn is not None and valid_Bn.shape != text_Bnd.shape[:2]:
        raise ValueError(f"valid must be {tuple(text_Bnd.shape[:2])} (found {tuple(valid_Bn.shape)})")
    if mode not in get_args(AlignmentMode) or shuffled not in get_args(Shuffled):
        raise ValueError(
            f"mode must be one of {get_args(AlignmentMode)} and shuffled one of {get_args(Shuffled)} "
            f"(found {mode!r}, {shuffled!r})"
        )
    if temperature <= 0 or negatives < 1:
        raise ValueError(
            f"temperature must be above 0 and negatives at least 1 (found temperature {temperature}, "
            f"negatives {negatives})"
        )
