"""A model's answers for all rows of a stream: each process answers its share of the pieces, all get the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from ranking.batching import RankingBatch
from ranking.stream import RankingStream
from segrec.tables import rank, world_size


@dataclass(frozen=True)
class Predicted:
    """Answers in the stream's order: oldest day first."""

    probabilities: npt.NDArray[np.float64]
    "(n,), or (n, K) of K tasks."
    labels: npt.NDArray[np.float32]
    "Alike; NaN where the stream has none."
    weights: npt.NDArray[np.float32]
    "(n,), 1 where rows have none."


@torch.no_grad()
def predicted(logits: Callable[[RankingBatch], Tensor], stream: RankingStream, device: torch.device) -> Predicted:
    """Probabilities of all rows of a stream, by `logits` of a batch on `device`: (B,) or (B, K).

    All processes must call: each answers for its pieces, and gets the answers of all. A process that runs out of rows
    goes on with empty batches, because sharded tables need every process at each look-up.
    """
    starts = np.cumsum([0, *(piece.kept for piece in stream.source.pieces)])
    found: Tensor | None = None
    for start, batch in _batches(stream, starts):
        moved = batch.to(device, non_blocking=True)
        answers = logits(moved).float().cpu().reshape(batch.rows, -1) if batch.rows else _asked(logits, moved)
        if found is None:
            found = torch.zeros(int(starts[-1]), 2 * answers.shape[1] + 1)
        tasks, rows = answers.shape[1], slice(start, start + batch.rows)
        found[rows, :tasks] = answers
        found[rows, tasks:-1] = batch.labels.reshape(-1, tasks) if len(batch.labels) else torch.nan
        found[rows, -1] = batch.weights if batch.weights is not None else 1.0
    assert found is not None
    if world_size() > 1:
        dist.all_reduce(found)  # a row is one process's, the others add zero: exact
    tasks = found.shape[1] // 2
    answers, labels = found[:, :tasks], found[:, tasks:-1]
    if tasks == 1:
        answers, labels = answers[:, 0], labels[:, 0]
    return Predicted(torch.sigmoid(answers.double()).numpy(), labels.numpy(), found[:, -1].numpy())


def shares(rows: list[int], processes: int) -> list[list[int]]:
    """Which pieces (of so many `rows`) each process takes: the largest first, to the one with the fewest rows."""
    taken: list[list[int]] = [[] for _ in range(processes)]
    load = [0] * processes
    for place in sorted(range(len(rows)), key=lambda place: -rows[place]):
        least = load.index(min(load))
        taken[least].append(place)
        load[least] += rows[place]
    return [sorted(places) for places in taken]


def _batches(stream: RankingStream, starts: npt.NDArray[np.int64]) -> Iterator[tuple[int, RankingBatch]]:
    """(row number of its first row, batch) of this process's share, then empty ones up to the longest share."""
    rows = [piece.kept for piece in stream.source.pieces]
    of_all = shares(rows, world_size())
    rounds = max(sum(stream.batches_of(rows[place]) for place in places) for places in of_all)
    done = 0
    for place in of_all[rank()]:
        first = int(starts[place])
        for batch in stream.piece_batches(place):
            yield first, batch
            first, done = first + batch.rows, done + 1
    for _ in range(done, rounds):
        yield 0, stream.empty_batch()


def _asked(logits: Callable[[RankingBatch], Tensor], batch: RankingBatch) -> Tensor:
    """The (0, K) answer for no row."""
    answers = logits(batch).float().cpu()
    return answers.reshape(0, answers.shape[1] if answers.dim() > 1 else 1)
