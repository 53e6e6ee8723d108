"""Metric rows of a highlight table: values with room-clustered intervals, paired differences, oracle shares."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segrec.encoders.live_priors import LAST_VALUE, SIMPLE
from segrec.highlight_evaluation.answers import ORACLE
from segrec.highlight_evaluation.sums import Measured, bootstrap
from segrec.metrics.drawn import Statistics, over_seeds
from segrec.records import MetricRow

SHARED_METRICS = ("tau_room", "tau_global")
"Metrics whose share of the oracle's lift over the last known value is given, in made worlds."


@dataclass(frozen=True)
class Entry:
    """One model measured on one cohort."""

    model: str
    seed: int | None
    challenger: bool
    "True: paired differences against the simple predictors are given."
    measured: Measured


def highlight_rows(
    entries: Sequence[Entry], rooms: npt.NDArray[np.bool_], *, split: str, cohort: str, seed: int
) -> list[MetricRow]:
    """All rows of one cohort: each seed, over seeds (seed = null), paired differences, shares of the oracle's lift.

    :param rooms: (R,) the rooms of the cohort, drawn again by the bootstrap; `seed` fixes the draws.
    """
    page = _Page(split, cohort)
    single = bootstrap([entry.measured for entry in entries], rooms, seed)
    rows: list[MetricRow] = []
    merged: dict[str, Statistics] = {}
    for model in dict.fromkeys(entry.model for entry in entries):
        own = [(entry, found) for entry, found in zip(entries, single, strict=True) if entry.model == model]
        rows += [row for entry, found in own if entry.seed is not None for row in page.rows(model, found, entry.seed)]
        merged[model] = over_seeds([found for _, found in own], seed)
    for model, statistics in merged.items():
        rows += page.rows(model, statistics)
    for model in dict.fromkeys(entry.model for entry in entries if entry.challenger):
        for versus in SIMPLE:
            if versus in merged:
                rows += page.paired(model, merged[model], versus, merged[versus])
    return [*rows, *page.oracle_shares(merged)]


@dataclass(frozen=True)
class _Page:
    """Rows of one split and cohort."""

    split: str
    cohort: str

    def rows(
        self, model: str, statistics: Statistics, seed: int | None = None, versus: str | None = None
    ) -> Iterator[MetricRow]:
        """A row a statistic."""
        for (protocol, metric), found in statistics.items():
            value, low, high = found.interval
            yield MetricRow(
                task="highlight", split=self.split, cohort=self.cohort, protocol=protocol, model=model, versus=versus,
                seed=seed, metric=metric, value=value, low=_or_none(low), high=_or_none(high), n=found.n,
            )  # fmt: skip

    def paired(self, model: str, own: Statistics, versus: str, other: Statistics) -> Iterator[MetricRow]:
        """Differences of what both have, calibration apart."""
        both = {
            key: found.minus(other[key])
            for key, found in own.items()
            if key in other and not key[1].startswith("calibration")
        }
        return self.rows(model, both, versus=versus)

    def oracle_shares(self, merged: dict[str, Statistics]) -> Iterator[MetricRow]:
        """(model - last_value) / (oracle - last_value), where the oracle is known."""
        if ORACLE not in merged or LAST_VALUE not in merged:
            return
        prior, oracle = merged[LAST_VALUE], merged[ORACLE]
        for model, statistics in merged.items():
            if model in (LAST_VALUE, ORACLE):
                continue
            shares = {
                (key[0], f"oracle_share_{key[1]}"): found.minus(prior[key]).share_of(oracle[key].minus(prior[key]))
                for key, found in statistics.items()
                if key[1] in SHARED_METRICS and key in prior
            }
            yield from self.rows(model, shares)


def _or_none(bound: float) -> float | None:
    return None if math.isnan(bound) else bound
