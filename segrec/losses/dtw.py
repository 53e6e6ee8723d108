"""Dynamic time warping of two sequences of one length, many tables at once, along anti-diagonals.

Legend: M tables of n x n costs, K = 2n - 1 anti-diagonals; cell (i, j) lies on anti-diagonal k = i + j. Inside, tables
are innermost, so that one anti-diagonal of all tables is one run of memory and one step of the recursion.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Minimum = Literal["soft", "hard"]


def dtw(
    costs_Mnn: Tensor, lengths_M: Tensor | None = None, *, minimum: Minimum = "soft", softness: float = 0.1
) -> Tensor:
    """(M,) costs of the best monotone path from cell (0, 0) to the last valid cell (ContentCTR, Eq. 7).

    C_ij = D_ij + min(C_{i-1,j-1}, C_{i-1,j}, C_{i,j-1}). `soft` replaces min by -w log sum exp(-. / w), w = `softness`
    in the units of D (soft-DTW, Cuturi and Blondel 2017, with its backward recursion); at most w log 3 a step below the
    hard one. `lengths_M` in [0, n] says that only the first cells are valid: the cost is read at (length - 1,
    length - 1); a length of 0 costs 0. At a tie `hard` takes the diagonal step before the others.
    Computed in float32, or float64 if D is. Once differentiable in D.

    :raises ValueError: D not (M, n, n), lengths not (M,), an unknown minimum, softness not above 0.
    """
    if costs_Mnn.ndim != 3 or costs_Mnn.shape[1] != costs_Mnn.shape[2]:
        raise ValueError(f"costs must be (M, n, n) (found {tuple(costs_Mnn.shape)})")
    tables, cells = costs_Mnn.shape[:2]
    if lengths_M is None:
        lengths_M = torch.full((tables,), cells, device=costs_Mnn.device)
    if lengths_M.shape != (tables,):
        raise ValueError(f"lengths must be ({tables},) (found {tuple(lengths_M.shape)})")
    check_minimum(minimum, softness)
    if costs_Mnn.dtype != torch.float64:
        costs_Mnn = costs_Mnn.float()
    if costs_Mnn.numel() == 0:
        return costs_Mnn.sum(dim=(1, 2))
    scale = softness if minimum == "soft" else 1.0
    scaled_nnM = (costs_Mnn / scale).permute(1, 2, 0)
    found: Tensor = _AntiDiagonals.apply(scaled_nnM, lengths_M, minimum == "soft")  # type: ignore[no-untyped-call]
    return found * scale


def check_minimum(minimum: Minimum, softness: float) -> None:
    """:raises ValueError: an unknown minimum, softness not above 0."""
    if minimum not in get_args(Minimum) or softness <= 0:
        raise ValueError(
            f"minimum must be one of {get_args(Minimum)} and softness above 0 (found {minimum!r}, {softness})"
        )


class _AntiDiagonals(torch.autograd.Function):
    """The recursion with w = 1 and its backward: E = dC_last / dC, from the last anti-diagonal to the first.

    Forward keeps, for each cell, the weights of its three predecessors (a softmax, or one of them at the hard
    minimum); E_p = sum of weight times E over the cells that p precedes.
    """

    @staticmethod
    def forward(ctx: Any, costs_nnM: Tensor, lengths_M: Tensor, soft: bool) -> Tensor:
        n, _, tables = costs_nnM.shape
        last = 2 * n - 1
        skewed_KnM = _skew(costs_nnM).unbind(0)
        # Two anti-diagonals and one row ahead of the table, infinitely dear but for the one before cell (0, 0).
        sums = costs_nnM.new_full((last + 2, n + 1, tables), torch.inf)
        sums[0, 0] = 0.0
        weights = costs_nnM.new_empty((last, 3, n, tables))
        rows, weight_rows = sums.unbind(0), weights.unbind(0)
        step = _soft_step if soft else _hard_step
        for k in range(last):
            low, high = _span(k, n)
            step(
                rows[k][low:high],
                rows[k + 1][low:high],
                rows[k + 1][low + 1 : high + 1],
                skewed_KnM[k][low:high],
                out=rows[k + 2][low + 1 : high + 1],
                weights=weight_rows[k][:, low:high],
            )
        ends = (lengths_M - 1).clamp(min=0)
        costs_M = sums[2 * ends + 2, ends + 1, torch.arange(tables, device=ends.device)]
        ctx.save_for_backward(weights, lengths_M)
        return torch.where(lengths_M > 0, costs_M, 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_M: Tensor) -> tuple[Tensor, None, None]:
        weights, lengths_M = ctx.saved_tensors
        last, _, n, tables = weights.shape
        ends = (lengths_M - 1).clamp(min=0)
        flow = weights.new_zeros((last, n, tables))
        flow[2 * ends, ends, torch.arange(tables, device=ends.device)] = torch.where(lengths_M > 0, gradient_M, 0.0)
        rows, weight_rows = flow.unbind(0), weights.unbind(0)
        for k in range(last - 2, -1, -1):
            low, high = _span(k, n)
            for part, later, down in ((1, k + 1, 1), (2, k + 1, 0), (0, k + 2, 1)):
                if later == last:
                    continue
                first, end = _span(later, n)
                first, end = max(first, low + down), min(end, high + down)
                rows[k][first - down : end - down].addcmul_(weight_rows[later][part, first:end], rows[later][first:end])
        return _unskew(flow), None, None


def _span(k: int, n: int) -> tuple[int, int]:
    """Rows [low, high) in which anti-diagonal k has cells; nothing else of a skewed table is written or read."""
    return max(0, k - n + 1), min(k, n - 1) + 1


def _soft_step(across: Tensor, above: Tensor, left: Tensor, cost: Tensor, *, out: Tensor, weights: Tensor) -> None:
    lowest = torch.minimum(torch.minimum(above, left), across)
    for part, before in zip(weights.unbind(0), (across, above, left), strict=True):
        torch.sub(lowest, before, out=part)
    weights.exp_()
    total = weights.sum(0)
    weights.div_(total)
    torch.add(lowest.sub_(total.log_()), cost, out=out)


def _hard_step(across: Tensor, above: Tensor, left: Tensor, cost: Tensor, *, out: Tensor, weights: Tensor) -> None:
    lowest = torch.minimum(torch.minimum(above, left), across)
    from_across, from_above = across == lowest, above == lowest
    from_above &= ~from_across
    weights[0].copy_(from_across)
    weights[1].copy_(from_above)
    weights[2].copy_(~(from_across | from_above))
    torch.add(lowest, cost, out=out)


def _skew(table_nnM: Tensor) -> Tensor:
    """(K, n, M): row i of anti-diagonal k holds cell (i, k - i), by reading rows of width 2n as rows of 2n - 1."""
    n, _, tables = table_nnM.shape
    wide = table_nnM.new_empty((n, 2 * n, tables))
    wide[:, :n] = table_nnM
    return wide.view(2 * n * n, tables)[: n * (2 * n - 1)].view(n, 2 * n - 1, tables).transpose(0, 1)


def _unskew(table_KnM: Tensor) -> Tensor:
    """(n, n, M): the inverse of `_skew`."""
    _, n, tables = table_KnM.shape
    wide = table_KnM.new_empty((2 * n * n, tables))
    wide[: n * (2 * n - 1)].view(n, 2 * n - 1, tables).copy_(table_KnM.transpose(0, 1))
    return wide.view(n, 2 * n, tables)[:, :n]


def dtw_path(costs_nn: Tensor) -> Tensor:
    """(P, 2) int64 cells (i, j) of the cheapest path of one table, from (0, 0) to (n - 1, n - 1) (ContentCTR, Fig. 6).

    At a tie the diagonal step is taken before (i - 1, j), and that before (i, j - 1).

    :raises ValueError: D not (n, n).
    """
    if costs_nn.ndim != 2 or costs_nn.shape[0] != costs_nn.shape[1]:
        raise ValueError(f"costs must be (n, n) (found {tuple(costs_nn.shape)})")
    cells = costs_nn.detach().to("cpu", torch.float64, copy=True).requires_grad_()
    if cells.numel() == 0:
        return torch.zeros((0, 2), dtype=torch.int64)
    with torch.enable_grad():
        (on_path,) = torch.autograd.grad(dtw(cells.unsqueeze(0), minimum="hard").sum(), cells)
    return on_path.nonzero()  # each step adds to i + j or to both, so the order of rows is the order of the path
