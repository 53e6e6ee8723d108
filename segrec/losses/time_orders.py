"""Other orders of a sample's segments in time: negatives for the alignment, and the swap that MTAM makes.

Legend: B samples, n places, N negatives; an order is a permutation of the places, the identity on padding.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Omega = Literal["all", "upper", "lower"]
SPARE = 8  # further draws a sample, to replace those that repeat


def shuffled_orders(
    lengths_B: Tensor, places: int, count: int, *, unlike: tuple[Tensor, ...] = (), generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """(B, N, n) int64 random orders of the first `length` places, and (B, N) bool: which of them count.

    Those of a sample differ from each other and from the `unlike` orders, each (B, n); an order that repeats does not
    count, so that a sample of 3 segments has at most 5 shuffled orders and one of 1 segment none. Drawn from
    `generator` (on the device of `lengths_B`). Each distinct order is as likely as any other.
    """
    device, samples = lengths_B.device, lengths_B.numel()
    draws = count + SPARE
    place_n = torch.arange(places, device=device)
    keys_BCn = torch.rand((samples, draws, places), device=device, generator=generator)
    padding_B1n = (place_n >= lengths_B.unsqueeze(1)).unsqueeze(1)
    orders_BCn = torch.where(padding_B1n, 1.0 + place_n, keys_BCn).argsort(dim=2)
    code_n = torch.randint(-(2**62), 2**62, (places,), generator=torch.Generator().manual_seed(0)).to(device)
    names_BC = _names(orders_BCn, code_n)
    earlier_CC = torch.ones((draws, draws), dtype=torch.bool, device=device).tril(-1)
    repeated_BC = ((names_BC.unsqueeze(2) == names_BC.unsqueeze(1)) & earlier_CC).any(dim=2)
    for order_Bn in unlike:
        repeated_BC |= names_BC == _names(order_Bn, code_n).unsqueeze(1)
    chosen_BN = repeated_BC.to(torch.int8).argsort(dim=1, stable=True)[:, :count]
    orders_BNn = orders_BCn.gather(1, chosen_BN.unsqueeze(2).expand(samples, chosen_BN.shape[1], places))
    return orders_BNn, ~repeated_BC.gather(1, chosen_BN)


def _names(orders: Tensor, code_n: Tensor) -> Tensor:
    """One number an order: equal orders have equal ones, two unlike ones share one with a chance of about 2^-60."""
    return (code_n[orders] * torch.arange(1, 2 * code_n.numel(), 2, device=code_n.device)).sum(dim=-1)


@torch.no_grad()
def swapped_orders(
    cosines_Bnn: Tensor,
    lengths_B: Tensor,
    *,
    omega: Omega = "all",
    gamma: float = 0.1,
    num_swaps: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """(B, n) int64: the order in time with places i and j exchanged, (i, j) ~ softmax over omega of cosine / gamma.

    KuaiHL, Eq. 6: one softmax over all index pairs; row i of the cosines is the text's place, column j the video's, so
    that text i then stands opposite video j. `omega`: `all` i != j, `upper` i < j (text earlier than its picture, the
    authors' code), `lower` i > j (comments that lag). `num_swaps` pairs are drawn with replacement and exchanged one
    after the other. A sample of fewer than 2 segments keeps its order.

    :raises ValueError: an unknown omega, gamma not above 0, num_swaps below 0.
    """
    if omega not in get_args(Omega) or gamma <= 0 or num_swaps < 0:
        raise ValueError(
            f"omega must be one of {get_args(Omega)}, gamma above 0, num_swaps at least 0 "
            f"(found {omega!r}, {gamma}, {num_swaps})"
        )
    samples, places, _ = cosines_Bnn.shape
    place_n = torch.arange(places, device=cosines_Bnn.device)
    orders_Bn = place_n.expand(samples, places).clone()
    if num_swaps == 0 or samples == 0 or places == 0:
        return orders_Bn
    valid_Bn = place_n < lengths_B.unsqueeze(1)
    apart_nn = place_n.unsqueeze(1) - place_n
    side_nn = {"all": apart_nn != 0, "upper": apart_nn < 0, "lower": apart_nn > 0}[omega]
    allowed_Bnn = side_nn & valid_Bn.unsqueeze(2) & valid_Bn.unsqueeze(1)
    allowed_Bnn[:, 0, 0] |= lengths_B < 2  # the exchange of a place with itself
    odds_BP = torch.where(allowed_Bnn, cosines_Bnn / gamma, -torch.inf).flatten(1).softmax(dim=1)
    pairs_BS = odds_BP.multinomial(num_swaps, replacement=True, generator=generator)
    for pair_B in pairs_BS.unbind(1):
        ends_B2 = torch.stack([pair_B // places, pair_B % places], dim=1)
        orders_Bn.scatter_(1, ends_B2, orders_Bn.gather(1, ends_B2.flip(1)))
    return orders_Bn
