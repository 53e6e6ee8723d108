"""Metric rows of a skip table: values with user-clustered intervals, paired differences, shares of an oracle's lift."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segrec.metrics.drawn import Statistics, over_seeds
from segrec.records import MetricRow
from segrec.skip_evaluation.cohorts import Cohort
from segrec.skip_evaluation.protocols import Key, Measured
from segrec.skip_evaluation.replicates import bootstrap

PRIOR, ITEM_PRIOR, TREES, ORACLE = "length_position", "item_shrunk", "lightgbm_hazard", "oracle"
REFERENCES = (ITEM_PRIOR, TREES)
"What paired differences are taken against."
SHARED_METRICS: tuple[Key, ...] = (("exit", "NLL"), ("exit", "AUC"), ("masked_skip", "NDCG@5"))
"Metrics whose share of the oracle's lift over the (length, position) prior is given, in made worlds."
OBSERVED = "observed"
"Stands for a model's name in rows that say what happened."


@dataclass(frozen=True)
class Entry:
    """One measured model."""

    model: str
    seed: int | None
    challenger: bool
    "True: paired differences against the references are given."
    measured: Measured


def skip_rows(entries: Sequence[Entry], cohorts: Sequence[Cohort], split: str, seed: int) -> list[MetricRow]:
    """All rows of the table, for each cohort: each seed, over seeds (seed = null), paired, calibration.

    Over seeds: the mean; its interval draws users and seeds. `seed` fixes the draws.
    """
    rows: list[MetricRow] = []
    for cohort in cohorts:
        page = _Page(split, cohort.name)
        single = bootstrap([entry.measured for entry in entries], cohort, seed)
        merged = {
            model: over_seeds(
                [found for entry, found in zip(entries, single, strict=True) if entry.model == model], seed
            )
            for model in dict.fromkeys(entry.model for entry in entries)
        }
        for entry, statistics in zip(entries, single, strict=True):
            if entry.seed is not None:
                rows += page.rows(entry.model, statistics, seed=entry.seed)
        for model, statistics in merged.items():
            rows += page.rows(model, statistics)
        rows += page.paired(dict.fromkeys(entry.model for entry in entries if entry.challenger), merged)
        rows += page.oracle_shares(merged)
        rows += page.calibration(entries, cohort.size)
    return rows


@dataclass(frozen=True)
class _Page:
    """Rows of one split and cohort."""

    split: str
    cohort: str

    def rows(
        self, model: str, statistics: Statistics, *, versus: str | None = None, seed: int | None = None
    ) -> Iterator[MetricRow]:
        """A row a statistic."""
        for key, found in statistics.items():
            value, low, high = found.interval
            row = self._row(model, key, value, found.n, seed)
            yield row.model_copy(update={"versus": versus, "low": _or_none(low), "high": _or_none(high)})

    def paired(self, challengers: Mapping[str, None], merged: Mapping[str, Statistics]) -> Iterator[MetricRow]:
        """Differences of each challenger against the references."""
        for model in challengers:
            for versus in REFERENCES:
                if versus in merged and versus != model:
                    other = merged[versus]
                    both = {key: found.minus(other[key]) for key, found in merged[model].items() if key in other}
                    yield from self.rows(model, both, versus=versus)

    def oracle_shares(self, merged: Mapping[str, Statistics]) -> Iterator[MetricRow]:
        """(model - prior) / (oracle - prior), where the oracle is known."""
        if ORACLE not in merged or PRIOR not in merged:
            return
        prior, oracle = merged[PRIOR], merged[ORACLE]
        for model, statistics in merged.items():
            shares = {
                (key[0], f"oracle_share_{key[1]}"): statistics[key]
                .minus(prior[key])
                .share_of(oracle[key].minus(prior[key]))
                for key in SHARED_METRICS
                if key in statistics and model not in (PRIOR, ORACLE)
            }
            yield from self.rows(model, shares)

    def calibration(self, entries: Sequence[Entry], views: int) -> Iterator[MetricRow]:
        """Means over seeds of ECE and, on all views, of the predicted shares of exits by segment; the observed ones."""
        by_model: dict[str, list[Measured]] = {}
        for entry in entries:
            if entry.measured.calibration is not None:
                by_model.setdefault(entry.model, []).append(entry.measured)
        observed: list[float] | None = None
        for model, seeds in by_model.items():
            yield self._row(model, ("exit", "ECE"), float(np.mean([one.ece[self.cohort] for one in seeds])), views)
            if self.cohort == "all":
                curves = [one.calibration for one in seeds if one.calibration is not None]
                yield from self._shares(model, np.mean([curve.predicted for curve in curves], axis=0).tolist(), views)
                observed = observed or curves[0].observed.tolist()
        yield from self._shares(OBSERVED, observed or [], views)

    def _shares(self, model: str, shares: list[float], views: int) -> Iterator[MetricRow]:
        for place, share in enumerate(shares):
            name = "end" if place == len(shares) - 1 else str(place)
            yield self._row(model, ("exit", f"exit_share@{name}"), share, views)

    def _row(self, model: str, key: Key, value: float, n: int, seed: int | None = None) -> MetricRow:
        return MetricRow(
            task="skip", split=self.split, cohort=self.cohort, protocol=key[0], model=model, seed=seed,
            metric=key[1], value=value, n=n,
        )  # fmt: skip


def _or_none(bound: float) -> float | None:
    return None if math.isnan(bound) else bound
