"""Seconds of the alignment's warping and negatives, forward and backward, beside the way of the papers' released code.

    python benchmarks/alignment_speed.py [--threads 1] [--full]

Beside: one cell after the other, written in place into one tensor, all tables in one call (one sequence a call, as in
that code's training, is slower still); negatives as lists of permutations, compared and indexed one by one, after a
swap drawn by walking the whole table. At windows 64 and 192 the slow warping is timed on a few tables and on twice as
many, and the line through both read at the number asked for: at window 64 that is too kind to it, as few tables fit the
cache. --full times all tables. Fails if our warping grows faster than the window squared.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

import numpy as np
import torch
from machine import write_result
from torch import Tensor

from segrec.losses.alignment import alignment_loss, reordered
from segrec.losses.dtw import dtw
from segrec.losses.pairwise import pairwise_loss
from segrec.losses.time_orders import shuffled_orders, swapped_orders

SAMPLES, NEGATIVES, WIDTH = 48, 8, 512
WINDOWS = {20: (432, 432), 64: (432, 24), 192: (8, 1)}  # tables, and how few the slow way is timed on
GROWTH = (32, 64, 128, 192)
STEEPEST = 2.4  # 2 and what caches add


def cell_by_cell(tables: Tensor, softness: float = 0.1) -> Tensor:
    """(M,) soft-DTW costs, one cell after the other: autograd keeps the whole tensor's history for each."""
    sums = torch.zeros_like(tables)
    sums[:, 0, 0] = tables[:, 0, 0]
    places = tables.shape[1]
    for k in range(1, places):
        sums[:, 0, k] = tables[:, 0, k] + sums[:, 0, k - 1]
        sums[:, k, 0] = tables[:, k, 0] + sums[:, k - 1, 0]
    for i in range(1, places):
        for j in range(1, places):
            before = [sums[:, i - 1, j - 1], sums[:, i, j - 1], sums[:, i - 1, j]]
            scaled = torch.cat([-cost.unsqueeze(-1) / softness for cost in before], dim=-1)
            sums[:, i, j] = tables[:, i, j] - softness * torch.logsumexp(scaled, dim=-1)
    return sums[:, -1, -1]


def swap_by_walking(similar: Tensor, gamma: float = 0.1) -> tuple[int, int]:
    """A pair above the diagonal, drawn from the sorted cells; writes into `similar`."""
    places = similar.shape[0]
    for i in range(places):
        for j in range(i + 1):
            similar[i, j] = float("-inf")
    values, index = torch.sort(similar.view(-1), descending=True)
    value = random.choices(values, torch.softmax(values / gamma, dim=0))[0]
    cell = int(index[torch.where(values == value)[0][0]])
    return cell // places, cell % places


def negatives_by_lists(table: Tensor) -> Tensor:
    """(1 + N, n, n) tables of one sample: permutations drawn, compared as lists and indexed one at a time."""
    i, j = swap_by_walking((1 - table).clone())
    base = list(range(table.shape[0]))
    base[i], base[j] = j, i
    orders: list[list[int]] = []
    for _ in range(NEGATIVES):
        order = np.random.permutation(base)  # noqa: NPY002 (as there)
        if list(order) not in orders and list(order) != base:
            orders.append(list(order))
    random.shuffle(orders)
    start = torch.tensor(base)
    found = []
    for order in orders:
        index = torch.tensor(order)
        if not torch.equal(start, index):
            found.append(torch.index_select(table, 0, index))
    return torch.stack([table, *found])


def negatives_at_once(table: Tensor) -> Tensor:
    """(B * (1 + N), n, n) tables of a batch."""
    samples, places, _ = table.shape
    true = torch.arange(places).expand(samples, places)
    lengths = torch.full((samples,), places)
    swapped = swapped_orders(1 - table, lengths, omega="upper")
    orders, _ = shuffled_orders(lengths, places, NEGATIVES, unlike=(swapped,), generator=None)
    return reordered(table, torch.cat([true.unsqueeze(1), orders], dim=1))


def seconds(work: Callable[[], object], times: int = 7) -> float:
    """The best of some runs, after one that is not counted where there are several."""
    taken = []
    for _ in range(times + (times > 1)):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken[1:] or taken)


def forward_and_backward(way: Callable[[Tensor], Tensor], tables: int, window: int) -> Callable[[], object]:
    costs = torch.rand(tables, window, window, requires_grad=True)
    return lambda: torch.autograd.grad(way(costs).sum(), costs)


def against(name: str, slow: float, fast: float, note: str = "") -> dict[str, object]:
    print(f"{name:<34}{slow:10.4f} s{fast:10.5f} s{slow / fast:9.1f} x  {note}")
    return {"what": name, "cell_by_cell_s": slow, "ours_s": fast, "ratio": slow / fast, "note": note}


def slow_warping(window: int, tables: int, fewer: int) -> float:
    """Seconds of the slow way, or of the line through two smaller numbers of tables."""
    if fewer == tables:
        return seconds(forward_and_backward(cell_by_cell, tables, window), times=1)
    once, twice = (seconds(forward_and_backward(cell_by_cell, k * fewer, window), times=1) for k in (1, 2))
    return once + max(twice - once, 0.0) * (tables - fewer) / fewer


def warping(full: bool) -> list[dict[str, object]]:
    rows = []
    for window, (tables, fewer) in WINDOWS.items():
        note = "" if full or fewer == tables else f"slow way extrapolated from {fewer} and {2 * fewer} tables"
        slow = slow_warping(window, tables, tables if full else fewer)
        fast = seconds(forward_and_backward(dtw, tables, window))
        rows.append(against(f"warping, window {window}, {tables} tables", slow, fast, note))
    return rows


def negatives() -> list[dict[str, object]]:
    """The batches of the papers: 48 samples of 20 segments, 8 of 192."""
    rows = []
    for window, samples in ((20, SAMPLES), (192, 8)):
        batch = torch.rand(samples, window, window)
        slow = seconds(lambda batch=batch: [negatives_by_lists(table) for table in batch], times=1)
        fast = seconds(lambda batch=batch: negatives_at_once(batch))
        rows.append(against(f"negatives, window {window}, {samples} samples", slow, fast))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--full", action="store_true", help="time the slow way on all tables (minutes)")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    rows = [*warping(asked.full), *negatives()]
    taken = {window: seconds(forward_and_backward(dtw, 64, window)) for window in GROWTH}
    growth = float(np.polyfit(np.log(list(taken)), np.log(list(taken.values())), 1)[0])
    print(f"64 tables, windows {GROWTH[0]} .. {GROWTH[-1]}: seconds grow as window^{growth:.2f}")
    losses = whole_losses()
    write_result(
        "alignment_speed", threads=asked.threads, full=asked.full, rows=rows, growth={"exponent": growth, **taken},
        losses_s=losses,
    )  # fmt: skip
    if growth > STEEPEST:
        raise SystemExit(f"seconds grow as window^{growth:.2f} (expected at most {STEEPEST})")


def whole_losses() -> dict[str, float]:
    """Forward and backward of a papers' batch: 48 samples of 20 segments, width 512, 8 negatives."""
    text, visual = (torch.randn(SAMPLES, 20, WIDTH, requires_grad=True) for _ in range(2))
    found = {
        f"alignment_loss, {mode}": seconds(lambda mode=mode: alignment_loss(text, visual, mode=mode).backward())
        for mode in ("dtw", "mtam", "mtam_released")
    }
    for window in (20, 192):
        scores, targets = torch.rand(SAMPLES, window, requires_grad=True), torch.rand(SAMPLES, window)
        found[f"pairwise_loss, window {window}"] = seconds(lambda s=scores, y=targets: pairwise_loss(s, y).backward())
    for name, taken in found.items():
        print(f"{name:<34}{taken * 1e3:10.2f} ms")
    return found


if __name__ == "__main__":
    main()
