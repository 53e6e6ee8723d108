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
from ranking.rows.stream import RankingStream
from segrec.tables import rank, world_size


@dataclass(frozen=True)
class Predicted:
    """Answers in the stream's order: oldest day first."""

    logits: npt.NDArray[np.float64]
    "(n,), or (n, K) of K tasks."
    labels: npt.NDArray[np.float32]
    "Alike; NaN where the stream has none."
    weights: npt.NDArray[np.float32]
    "(n,), 1 where rows have none."

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Sigmoids of the logits."""
        probabilities: npt.NDArray[np.float64] = torch.sigmoid(torch.from_numpy(self.logits)).numpy()
        return probabilities


@torch.no_grad()
def predicted(
    logits: Callable[[RankingBatch], Tensor], stream: RankingStream, device: torch.device, *, sharded: bool
) -> Predicted:
    """Answers for all rows of a stream, by `logits` of a batch on `device`: (B,) or (B, K).

    All processes must call: each answers for its pieces, and gets the answers of all.

    :param sharded: the tables behind `logits` are shared out, so that each look-up needs all processes: one that
        runs out of rows goes on with empty batches.
    """
    starts = np.cumsum([0, *(piece.kept for piece in stream.source.pieces)])
    found: list[tuple[int, Tensor]] = []
    for start, batch in _batches(stream, starts, evenly=sharded):
        answers = logits(batch.to(device, non_blocking=True))
        if batch.rows:
            found.append((start, _with_labels(answers.float().cpu().reshape(batch.rows, -1), batch)))
    tasks = _largest(found[0][1].shape[1] // 2 if found else 0)
    rows = torch.zeros(int(starts[-1]), 2 * tasks + 1)
    for start, part in found:
        rows[start : start + len(part)] = part
    if world_size() > 1:
        dist.all_reduce(rows)  # a row is one process's, the others add zero: exact
    answers, labels = (part[:, 0] if tasks == 1 else part for part in (rows[:, :tasks], rows[:, tasks:-1]))
    return Predicted(answers.double().numpy(), labels.numpy(), rows[:, -1].numpy())


def _with_labels(answers: Tensor, batch: RankingBatch) -> Tensor:
    """(B, K) -> (B, 2 K + 1): answers, labels, weights."""
    labels = batch.labels.reshape(answers.shape) if len(batch.labels) else torch.full_like(answers, torch.nan)
    weights = batch.weights if batch.weights is not None else torch.ones(batch.rows)
    return torch.cat([answers, labels, weights[:, None]], dim=1)


def _largest(number: int) -> int:
    """The largest of all processes' numbers."""
    found = torch.tensor(number)
    if world_size() > 1:
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def shares(rows: list[int], processes: int) -> list[list[int]]:
    """Which pieces (of so many `rows`) each process takes: the largest first, to the one with the fewest rows."""
    taken: list[list[int]] = [[] for _ in range(processes)]
    load = [0] * processes
    for place in sorted(range(len(rows)), key=lambda place: -rows[place]):
        least = load.index(min(load))
        taken[least].append(place)
        load[least] += rows[place]
    return [sorted(places) for places in taken]


def _batches(
    stream: RankingStream, starts: npt.NDArray[np.int64], *, evenly: bool
) -> Iterator[tuple[int, RankingBatch]]:
    """(row number of its first row, batch) of this process's share; `evenly`: then empty ones up to the longest."""
    rows = [piece.kept for piece in stream.source.pieces]
    of_all, done = shares(rows, world_size()), 0
    for place in of_all[rank()]:
        first = int(starts[place])
        for batch in stream.piece_batches(place):
            yield first, batch
            first, done = first + batch.rows, done + 1
    rounds = max(sum(stream.batches_of(rows[place]) for place in places) for places in of_all)
    for _ in range(done, rounds if evenly else done):
        yield 0, stream.empty_batch()
