"""Exits observed against exits expected from a hazard table: how much sooner or later than others an id's views end.

An id's shift d of the hazards' logits, in a band of positions, is estimated by one Newton step from 0 of the logistic
likelihood with a ridge of `strength`:  d = (observed - expected) / (variance + strength), where a view that reaches
segment s expects h_s exits there, with variance h_s (1 - h_s).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segrec.encoders.exit_table import FloatArray, HazardTable, IntArray, Outcomes, exits_by

BANDS = (0, 1, 3)
"First positions of the bands: the first segment, the next two, the rest."

_MIN_HAZARD, _MAX_HAZARD = 1e-5, 0.999


@dataclass(frozen=True)
class ExitTally:
    """Exits of n keys, by band or by position: (n, bands) or (n, W) each."""

    observed: FloatArray
    expected: FloatArray
    variance: FloatArray

    def shifts(self, strength: float) -> FloatArray:
        """(n, ...) shifts of the hazards' logits, shrunk to 0; `strength` > 0 in units of variance."""
        found: FloatArray = (self.observed - self.expected) / (self.variance + strength)
        return found


@dataclass(frozen=True)
class ExpectedExits:
    """What a hazard table lets expect. Outcomes counted here must have lengths within the table."""

    table: HazardTable

    def by_band(self, keys: IntArray, outcomes: Outcomes, n: int) -> ExitTally:
        """Tally by key and band, float64."""
        hazards = self.table.hazards
        observed = np.zeros((n, len(BANDS)))
        for band, (start, stop) in enumerate(self._bands()):
            exited = outcomes.left & (outcomes.exits >= start) & (outcomes.exits < stop)
            observed[:, band] = np.bincount(keys[exited], minlength=n)
        return ExitTally(
            observed,
            self._through_bands(hazards, keys, outcomes, n),
            self._through_bands(hazards * (1.0 - hazards), keys, outcomes, n),
        )

    def by_position(self, keys: IntArray, outcomes: Outcomes, n: int) -> ExitTally:
        """Tally by key and position, float32."""
        width = self.table.width
        expected, variance = np.zeros((n, width), dtype=np.float32), np.zeros((n, width), dtype=np.float32)
        for position in range(width):
            there = outcomes.last >= position
            hazard = self.table.hazards[outcomes.lengths[there], position]
            expected[:, position] = np.bincount(keys[there], hazard, minlength=n)
            variance[:, position] = np.bincount(keys[there], hazard * (1.0 - hazard), minlength=n)
        return ExitTally(exits_by(keys, outcomes, n, width), expected, variance)

    def logits(self, lengths: IntArray) -> FloatArray:
        """(B, S) logits of the table's hazards, cut to [1e-5, 0.999]."""
        hazards = np.clip(self.table.of(lengths), _MIN_HAZARD, _MAX_HAZARD)
        logits: FloatArray = np.log(hazards / (1.0 - hazards))
        return logits

    def shifted(self, lengths: IntArray, shifts: FloatArray) -> FloatArray:
        """(B, S) hazards whose logits are moved by shifts (B, bands)."""
        logits = self.logits(lengths)
        bands = np.searchsorted(BANDS, np.arange(logits.shape[1]), side="right") - 1
        moved: FloatArray = 1.0 / (1.0 + np.exp(-(logits + shifts[:, bands])))
        return moved

    def _through_bands(self, values: FloatArray, keys: IntArray, outcomes: Outcomes, n: int) -> FloatArray:
        """(n, bands) sums of values (W + 1, W) over the segments that views of a key reached."""
        sums = np.pad(np.cumsum(values, axis=1), ((0, 0), (1, 0)))
        reached, total = outcomes.last + 1, np.zeros((n, len(BANDS)))
        for band, (start, stop) in enumerate(self._bands()):
            upto, before = (sums[outcomes.lengths, np.minimum(reached, end)] for end in (stop, start))
            total[:, band] = np.bincount(keys, upto - before, minlength=n)
        return total

    def _bands(self) -> list[tuple[int, int]]:
        width = self.table.width
        stops = (*BANDS[1:], width)
        return [(min(start, width), min(stop, width)) for start, stop in zip(BANDS, stops, strict=True)]
