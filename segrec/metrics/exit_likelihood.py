"""The exit distribution measured: likelihood, who leaves at once, who stays longer, and whether shares come true.

A prediction is log P(exit in s) (B, S), -inf for s >= N, log P(watched to the end) (B,), and N (B,); the outcome is the
exit segment (B,), N when watched to the end. What is undefined is NaN. Legend: B views, S segments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_ROWS_AT_ONCE = 16_384


def exit_nll(log_exit: Array, log_end: Array, lengths: Array, exits: Array) -> FloatArray:
    """(B,) -log P of what happened, nats a view; +inf where it was called impossible.

    :raises ValueError: shapes that do not fit, exits outside 0 .. N, NaN.
    """
    if log_exit.ndim != 2 or not len(log_exit) == len(log_end) == len(lengths) == len(exits):
        raise ValueError(
            f"log_exit {log_exit.shape}, log_end {log_end.shape}, lengths {lengths.shape} and exits {exits.shape} "
            "must be (B, S) and three times (B,)"
        )
    if len(exits) and ((exits < 0) | (exits > lengths) | (lengths > log_exit.shape[1])).any():
        raise ValueError(f"exits must lie in 0 .. length, lengths in 1 .. {log_exit.shape[1]}")
    ended = exits >= lengths
    places = np.where(ended, 0, exits).astype(np.int64)
    likelihood = np.where(ended, log_end, np.take_along_axis(log_exit, places[:, None], axis=1)[:, 0])
    if np.isnan(likelihood).any():
        raise ValueError(f"a log probability is NaN (row {int(np.isnan(likelihood).argmax())})")
    return -likelihood.astype(np.float64)


@dataclass(frozen=True)
class PairCounts:
    """A share of won pairs (AUC, concordance) with each row's part in it."""

    wins: FloatArray
    "(n,) won pairs that the row is in, ties half."
    pairs: FloatArray
    "(n,) comparable pairs that the row is in."

    @property
    def value(self) -> float:
        """Won pairs over pairs; NaN without a pair."""
        total = self.pairs.sum()
        return float(self.wins.sum() / total) if total else math.nan

    @property
    def influence(self) -> FloatArray:
        """(n,) change of `value` as a row's weight grows from 1, to first order: 2 (wins - value * pairs) / pairs' sum.

        value + sum_i (w_i - 1) influence_i approximates the value under row weights w: the bootstrap of a share of
        pairs without counting pairs again (DeLong's structural components).
        """
        total = self.pairs.sum()
        return np.zeros(len(self.wins)) if not total else 2.0 * (self.wins - self.value * self.pairs) / total


def first_exit_pairs(log_exit: Array, exits: Array) -> PairCounts:
    """AUC of an exit in the first segment: views that ended there against all others, score = P(exit in segment 0).

    Pairs are counted by row, for intervals; the value equals `auc(exits == 0, log_exit[:, 0])`.
    """
    places, levels = _dense_ranks(-log_exit[:, 0])
    return PairCounts(*_won(places, levels, exits == 0, exits > 0))


def concordance_pairs(expected_exit: Array, lengths: Array, exits: Array) -> PairCounts:
    """Harrell's concordance of watch time: who was predicted to stay longer stayed longer, ties of predictions half.

    Views i, j are comparable when i ended in segment s < N and j was still watching after it: exit_j > s. A view
    watched to the end is censored at its N; who would have left later is unknown.

    :param expected_exit: (n,) expected exit segment (whole segments watched).
    """
    places, levels = _dense_ranks(expected_exit)
    observed = np.where(exits < lengths, exits, -1)
    wins, pairs = np.zeros(len(exits)), np.zeros(len(exits))
    for segment in np.unique(observed[observed >= 0]):
        won, compared = _won(places, levels, observed == segment, exits > segment)
        wins += won
        pairs += compared
    return PairCounts(wins, pairs)


@dataclass(frozen=True)
class PositionCalibration:
    """Exits by position, summed over views: what was predicted and what happened; the last entry is the end."""

    observed: FloatArray
    "(S + 1,) share of views."
    predicted: FloatArray
    "(S + 1,) mean probability."


def position_calibration(log_exit: Array, log_end: Array, lengths: Array, exits: Array) -> PositionCalibration:
    """Observed and predicted share of views that end in each segment, and of those watched to the end."""
    width, rows = log_exit.shape[1], max(len(exits), 1)
    places = np.where(exits < lengths, exits, width)
    observed = np.bincount(places, minlength=width + 1) / rows
    predicted = np.append(np.exp(log_exit).sum(axis=0, dtype=np.float64), np.exp(log_end).sum(dtype=np.float64)) / rows
    return PositionCalibration(observed, predicted)


def exit_ece(log_exit: Array, log_end: Array, lengths: Array, exits: Array, bins: int = 10) -> float:
    """Class-wise expected calibration error: the share of probability that stands on wrong outcomes, 0 .. 1.

    1/2 sum over outcomes (segment 0, 1, ..., end) and bins of probability of |predicted - observed| views, over views.
    Bins are equal in width on [0, 1]. With one bin it is the total variation between the mean prediction and what
    happened; more bins add what cancels out between views.
    """
    if not len(exits):
        return math.nan
    width = log_exit.shape[1] + 1
    places = np.where(exits < lengths, exits, width - 1)
    surplus = np.zeros(width * bins)
    for start in range(0, len(exits), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        chances = np.exp(np.concatenate([log_exit[rows], log_end[rows, None]], axis=1))
        cells = np.minimum((chances * bins).astype(np.int32), bins - 1) + np.arange(width, dtype=np.int32) * bins
        happened = np.take_along_axis(cells, places[rows, None], axis=1)[:, 0]
        surplus += np.bincount(cells.ravel(), chances.ravel(), minlength=width * bins)
        surplus -= np.bincount(happened, minlength=width * bins)
    return float(np.abs(surplus).sum()) / (2 * len(exits))


def _dense_ranks(scores: Array) -> tuple[IntArray, int]:
    """(n,) 0 .. levels - 1 by ascending score, equal scores alike, and the number of levels."""
    if np.isnan(scores).any():
        raise ValueError(f"a score is NaN (row {int(np.isnan(scores).argmax())})")
    levels, places = np.unique(scores, return_inverse=True)
    return places.reshape(-1).astype(np.int64), len(levels)


def _won(places: IntArray, levels: int, case: Array, control: Array) -> tuple[FloatArray, FloatArray]:
    """(won, compared) pairs (n,) of each row: a case wins against a control that is placed above it, ties half."""
    cases, controls = (np.bincount(places[rows], minlength=levels) for rows in (case, control))
    lower_cases = np.cumsum(cases) - 0.5 * cases
    upper_controls = controls.sum() - np.cumsum(controls) + 0.5 * controls
    won, compared = np.zeros(len(places)), np.zeros(len(places))
    won[case], compared[case] = upper_controls[places[case]], controls.sum()
    won[control], compared[control] = lower_cases[places[control]], cases.sum()
    return won, compared
