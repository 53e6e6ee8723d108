"""The warping costs by hand, against all paths, a float64 loop over cells, tslearn, and their gradients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segrec.losses.dtw import dtw, dtw_path

TABLE = [[1.0, 2.0, 9.0], [9.0, 1.0, 9.0], [9.0, 3.0, 1.0]]
Cells = list[tuple[int, int]]


def all_paths(end: int, i: int = 0, j: int = 0) -> Iterator[Cells]:
    """Every monotone path from (i, j) to (end, end)."""
    if i == j == end:
        yield [(i, j)]
    for below, right in ((1, 1), (1, 0), (0, 1)):
        if i + below <= end and j + right <= end:
            yield from ([(i, j), *rest] for rest in all_paths(end, i + below, j + right))


def looped(table: Tensor, softness: float | None) -> Tensor:
    """One table, one cell after the other; at a tie the diagonal step first, then from above."""
    sums: dict[tuple[int, int], Tensor] = {}
    for i in range(len(table)):
        for j in range(len(table)):
            before = [sums[cell] for cell in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if cell in sums]
            if not before:
                sums[i, j] = table[i, j]
            elif softness is None:
                sums[i, j] = table[i, j] + before[int(torch.stack(before).argmin())]
            else:
                sums[i, j] = table[i, j] - softness * torch.logsumexp(-torch.stack(before) / softness, 0)
    return sums[len(table) - 1, len(table) - 1]


def test_by_hand() -> None:
    """Down the diagonal: 1 + 1 + 1; at length 2 only two of them."""
    table = torch.tensor([TABLE, TABLE, TABLE, TABLE])
    assert dtw(table, torch.tensor([3, 2, 1, 0]), minimum="hard").tolist() == [3.0, 2.0, 1.0, 0.0]
    assert dtw_path(table[0]).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_path_of_frozen_pictures_runs_along_the_row() -> None:
    """Text 0 fits pictures 0 and 1, texts 1 and 2 fit picture 2: right, then across, then down."""
    table = torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    assert dtw_path(table).tolist() == [[0, 0], [0, 1], [1, 2], [2, 2]]


def test_ties_take_the_diagonal_step_and_the_gradient_follows_the_path() -> None:
    table = torch.zeros(1, 3, 3, requires_grad=True)
    dtw(table, minimum="hard").sum().backward()
    assert table.grad is not None
    assert torch.equal(table.grad[0], torch.eye(3))


@pytest.mark.parametrize("cells", [1, 2, 3, 4, 5])
def test_hard_is_the_best_of_all_paths_and_soft_their_log_sum(cells: int) -> None:
    random = torch.Generator().manual_seed(cells)
    table = torch.rand(cells, cells, dtype=torch.float64, generator=random)
    costs = torch.stack([sum((table[cell] for cell in path), torch.zeros(())) for path in all_paths(cells - 1)])
    assert dtw(table[None], minimum="hard").item() == pytest.approx(costs.min().item(), abs=1e-12)
    soft = -0.1 * torch.logsumexp(-costs / 0.1, 0)
    assert dtw(table[None]).item() == pytest.approx(soft.item(), abs=1e-12)
    path = [tuple(cell) for cell in dtw_path(table).tolist()]
    assert sum(table[cell].item() for cell in path) == pytest.approx(costs.min().item())
    assert path in all_paths(cells - 1)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 3), st.integers(1, 7), st.sampled_from([None, 0.1, 1.0]), st.integers(0, 99))
def test_values_and_gradients_agree_with_a_loop(tables: int, cells: int, softness: float | None, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    table = torch.randint(0, 4, (tables, cells, cells), generator=random).double().requires_grad_()  # ties are common
    lengths = torch.randint(0, cells + 1, (tables,), generator=random)
    share = torch.rand(tables, dtype=torch.float64, generator=random)
    found = dtw(table, lengths, minimum="hard" if softness is None else "soft", softness=softness or 0.1)
    wanted = [looped(one[:n, :n], softness) if n else one.sum() * 0 for one, n in zip(table, lengths, strict=True)]
    whole = torch.stack(wanted) if wanted else table.sum((1, 2))
    torch.testing.assert_close(found, whole, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad((value * share).sum(), table)[0] for value in (found, whole)]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("minimum", ["soft", "hard"])
def test_gradient(minimum: str) -> None:
    table = torch.rand(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    lengths = torch.tensor([4, 3, 1])
    assert torch.autograd.gradcheck(lambda d: dtw(d, lengths, minimum=minimum), table)


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_agrees_with_tslearn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # its loops compile for 15 s and run for 4 ms
    metrics = pytest.importorskip("tslearn.metrics", reason="tslearn is not installed")
    random = torch.Generator().manual_seed(3)
    left, right = (torch.rand(5, 9, 2, dtype=torch.float64, generator=random) for _ in range(2))
    squared = ((left.unsqueeze(2) - right.unsqueeze(1)) ** 2).sum(-1).requires_grad_()
    found = dtw(squared, softness=0.3)
    wanted = [metrics.soft_dtw(a.numpy(), b.numpy(), gamma=0.3) for a, b in zip(left, right, strict=True)]
    assert found.tolist() == pytest.approx(wanted, rel=1e-10)
    hard = [metrics.dtw(a.numpy(), b.numpy()) ** 2 for a, b in zip(left, right, strict=True)]
    assert dtw(squared, minimum="hard").tolist() == pytest.approx(hard, rel=1e-10)
    path, _ = metrics.dtw_path(left[0].numpy(), right[0].numpy())
    assert dtw_path(squared[0]).tolist() == [list(cell) for cell in path]
    (slope,) = torch.autograd.grad(found[0], squared)
    gradient = metrics.SoftDTW(squared[0].detach().numpy(), gamma=0.3)
    gradient.compute()
    torch.testing.assert_close(slope[0], torch.tensor(gradient.grad()), rtol=1e-8, atol=1e-10)


def test_cells_beyond_the_length_do_not_matter_even_when_not_finite() -> None:
    table = torch.tensor([TABLE]).requires_grad_()
    with torch.no_grad():
        table[0, 2, :] = torch.inf
    dtw(table, torch.tensor([2])).sum().backward()
    assert table.grad is not None
    assert table.grad.isfinite().all()
    assert table.grad[0, 2].abs().sum() == 0


def test_long_and_dear_tables_stay_finite_in_single_precision() -> None:
    table = (torch.rand(2, 192, 192) * 2).requires_grad_()
    exact = table.detach().double().requires_grad_()
    found, wanted = dtw(table, softness=0.01), dtw(exact, softness=0.01)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-4)
    slope, exact_slope = torch.autograd.grad(found.sum(), table)[0], torch.autograd.grad(wanted.sum(), exact)[0]
    torch.testing.assert_close(slope.double(), exact_slope, rtol=0, atol=0.02)


@pytest.mark.parametrize("shape", [(0, 4, 4), (0, 0, 0), (2, 0, 0)])
def test_nothing_to_warp(shape: tuple[int, int, int]) -> None:
    table = torch.zeros(shape, requires_grad=True)
    found = dtw(table)
    found.sum().backward()
    assert found.tolist() == [0.0] * shape[0]
    assert dtw_path(torch.zeros(0, 0)).shape == (0, 2)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 2, 3), {}, r"costs must be \(M, n, n\) \(found \(1, 2, 3\)\)"),
        ((1, 2, 2), {"lengths_M": torch.tensor([1, 2])}, r"lengths must be \(1,\) \(found \(2,\)\)"),
        ((1, 2, 2), {"minimum": "max"}, "minimum must be one of .*'max'"),
        ((1, 2, 2), {"softness": 0.0}, "softness above 0 .*0.0"),
    ],
)
def test_bad_input(shape: tuple[int, ...], options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dtw(torch.zeros(shape), **options)
    with pytest.raises(ValueError, match=r"costs must be \(n, n\) \(found \(2, 3\)\)"):
        dtw_path(torch.zeros(2, 3))


@pytest.mark.gpu
@pytest.mark.parametrize("minimum", ["soft", "hard"])
def test_gpu_agrees_with_cpu(minimum: str) -> None:
    table = torch.rand(9, 20, 20, generator=torch.Generator().manual_seed(1)).requires_grad_()
    lengths = torch.tensor([20, 19, 5, 1, 0, 20, 2, 3, 20])
    here = dtw(table, lengths, minimum=minimum)
    there = dtw(table.cuda(), lengths.cuda(), minimum=minimum)
    torch.testing.assert_close(there.cpu(), here, rtol=1e-5, atol=1e-5)
    slopes = [torch.autograd.grad(value.sum(), table)[0] for value in (here, there)]
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-5)
