"""What every demo is made of: its settings, its stages with their seconds, what it hands back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from segrec.records import Config, DataError, MetricRow

Tell = Callable[[str], None]


class DemoConfig(Config):
    """What both demos have; each says how large its own world is."""

    seed: NonNegativeInt = 0
    encoder_epochs: PositiveInt = 6
    folds: Annotated[int, Field(ge=2)] = 2
    "Of the out-of-fold scores for train rows."
    ranker_epochs: PositiveInt = 6
    ranker_batch_size: PositiveInt = 512
    ranker_cross_rank: PositiveInt | None = 32
    "Low-rank cross layers: five rankers are trained."
    replicates: PositiveInt = 1000
    "Of the bootstrap that gives the rankers' intervals."


@dataclass(frozen=True)
class ResultTable:
    """A table that the demo ends with: a line a model, cohort all."""

    title: str
    rows: Sequence[MetricRow]
    models: tuple[str, ...]
    "Starts of the names of the models that are printed; the page has all."
    metrics: Mapping[str, str]
    "Metric -> its protocol."
    share: str
    "The metric whose share of the oracle's lift stands in the last column."


@dataclass(frozen=True)
class DemoResult:
    """Where the page lies, and what came out."""

    page: Path
    segments: list[MetricRow]
    "Of the encoder: where views end, or which segments are highlights."
    ctr: list[MetricRow]
    tables: tuple[ResultTable, ...]
    seconds: float


@contextmanager
def demo_folder(out: Path, *, overwrite: bool) -> Iterator[float]:
    """Gives the moment it began (`perf_counter`); one thread meanwhile.

    Models this small gain nothing from a second thread, and lose a lot when another program wants that core.

    :raises DataError: `out` exists already.
    """
    if out.exists() and not overwrite:
        raise DataError(out, "exists already", fix="choose another --out, or pass --overwrite")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield time.perf_counter()
    finally:
        torch.set_num_threads(before)


@contextmanager
def stage(tell: Tell, name: str) -> Iterator[Callable[[str], None]]:
    """Tells the stage's name, its seconds and what was noted meanwhile."""
    notes: list[str] = []
    began = time.perf_counter()
    yield notes.append
    tell(f"{name:<9}{time.perf_counter() - began:6.1f} s  {'; '.join(notes)}".rstrip())
