"""Exits observed against exits expected from a hazard table: how much sooner or later than others an id's views end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segrec.encoders.exit_table import FloatArray, HazardTable, IntArray, Outcomes, exits_by

BANDS = (0, 1, 3)
"First positions of the bands: the first segment, the next two, the rest."

_MAX_HAZARD = 0.999


@dataclass(frozen=True)
class CumulativeHazards:
    """-log(1 - h) of a hazard table: what is expected of a view that stays through those segments.

    In a grouped proportional hazards model, 1 - h' = (1 - h) ** r, the ratio of observed to expected estimates r.
    Outcomes counted here have lengths within the table: count the views that the table was fitted on.
    """

    table: HazardTable

    @cached_property
    def rates(self) -> FloatArray:
        """(W + 1, W) -log(1 - h), h cut at 0.999."""
        rates: FloatArray = -np.log1p(-np.minimum(self.table.hazards, _MAX_HAZARD))
        return rates

    def by_band(self, keys: IntArray, outcomes: Outcomes, n: int) -> tuple[FloatArray, FloatArray]:
        """(observed, expected) exits by key and band, (n, bands) each, float64."""
        lengths, last = outcomes.lengths, outcomes.last
        sums = np.pad(np.cumsum(self.rates, axis=1), ((0, 0), (1, 0)))
        observed, expected = np.zeros((n, len(BANDS))), np.zeros((n, len(BANDS)))
        for band, (start, stop) in enumerate(self._bands()):
            through = sums[lengths, np.minimum(last + 1, stop)] - sums[lengths, np.minimum(last + 1, start)]
            expected[:, band] = np.bincount(keys, through, minlength=n)
            exited = outcomes.left & (outcomes.exits >= start) & (outcomes.exits < stop)
            observed[:, band] = np.bincount(keys[exited], minlength=n)
        return observed, expected

    def by_position(self, keys: IntArray, outcomes: Outcomes, n: int) -> tuple[FloatArray, FloatArray]:
        """(observed, expected) exits by key and position, (n, W) each, float32."""
        width = self.table.width
        expected = np.zeros((n, width), dtype=np.float32)
        for position in range(width):
            there = outcomes.last >= position
            expected[:, position] = np.bincount(keys[there], self.rates[outcomes.lengths[there], position], minlength=n)
        return exits_by(keys, outcomes, n, width), expected

    def scaled(self, lengths: IntArray, ratios: FloatArray) -> FloatArray:
        """(B, S) hazards 1 - (1 - h) ** r, with ratios (B, bands)."""
        base = self.table.of(lengths)
        bands = np.searchsorted(BANDS, np.arange(base.shape[1]), side="right") - 1
        return -np.expm1(np.log1p(-np.minimum(base, _MAX_HAZARD)) * ratios[:, bands])

    def _bands(self) -> list[tuple[int, int]]:
        width = self.table.width
        stops = (*BANDS[1:], width)
        return [(min(start, width), min(stop, width)) for start, stop in zip(BANDS, stops, strict=True)]
