"""What a skip model says about a view: where it ends (a distribution), or only an order of the segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.encoders.exit_table import HazardTable, Outcomes
from segrec.encoders.rank_calibration import RankCalibration

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ExitPrediction:
    """P(view ends in segment s) for s < N and P(watched to the end): N + 1 outcomes a row that sum to one."""

    log_exit: FloatArray
    "(B, S) float32, log P(exit in segment s); -inf for s >= lengths."
    log_end: FloatArray
    "(B,) float32, log P(watched to the end)."
    lengths: IntArray
    "(B,) int32, N = segments of the view's video, 1 <= N <= S."

    def __post_init__(self) -> None:
        """:raises ValueError: shapes that do not fit, a length outside 1..S, NaN."""
        _check_lengths(self.log_exit, self.lengths)
        if self.log_end.shape != self.lengths.shape:
            raise ValueError(f"log_end has shape {self.log_end.shape} (expected {self.lengths.shape})")
        _check_numbers(self.log_exit, "log_exit")
        _check_numbers(self.log_end, "log_end")

    @classmethod
    def from_hazards(cls, hazards: FloatArray, lengths: IntArray) -> Self:
        """From hazards (B, S) in [0, 1]: h_s = P(exit in s | s was reached); padding is ignored.

        log P(exit in s) = log h_s + sum_{k<s} log(1 - h_k);  log P(end) = sum_{k<N} log(1 - h_k).
        """
        inside = _inside(hazards, lengths)
        kept = np.where(inside, hazards.astype(np.float64), 0.0)
        if ((kept < 0) | (kept > 1)).any():
            raise ValueError("hazards lie outside [0, 1]")
        with np.errstate(divide="ignore"):
            return cls._from_logs(np.log(kept), np.log1p(-kept), inside, lengths)

    @classmethod
    def from_logits(cls, logits: FloatArray, lengths: IntArray) -> Self:
        """From hazard logits (B, S): h = sigmoid(logit), stable for large logits; padding is ignored."""
        inside = _inside(logits, lengths)
        wide = np.where(inside, logits.astype(np.float64), 0.0)
        log_stay = np.where(inside, -np.logaddexp(0.0, wide), 0.0)
        return cls._from_logs(-np.logaddexp(0.0, -wide), log_stay, inside, lengths)

    @classmethod
    def from_outcomes(cls, exit_weights: FloatArray, end_weights: FloatArray, lengths: IntArray) -> Self:
        """From log weights of the N + 1 outcomes, (B, S) and (B,): a softmax over a row's own outcomes."""
        inside = _inside(exit_weights, lengths)
        wide = np.where(inside, exit_weights.astype(np.float64), -np.inf)
        ends = end_weights.astype(np.float64)
        top = np.maximum(wide.max(axis=1, initial=-np.inf), ends)
        if not np.isfinite(top).all():
            raise ValueError("a row has no outcome of finite log weight")
        total = np.log(np.exp(wide - top[:, None]).sum(axis=1) + np.exp(ends - top)) + top
        return cls._narrow(wide - total[:, None], ends - total, lengths)

    @classmethod
    def _from_logs(cls, log_hazard: FloatArray, log_stay: FloatArray, inside: BoolArray, lengths: IntArray) -> Self:
        reached = np.zeros((len(lengths), log_stay.shape[1] + 1))
        np.cumsum(log_stay, axis=1, out=reached[:, 1:])
        return cls._narrow(np.where(inside, log_hazard + reached[:, :-1], -np.inf), reached[:, -1], lengths)

    @classmethod
    def _narrow(cls, log_exit: FloatArray, log_end: FloatArray, lengths: IntArray) -> Self:
        return cls(log_exit.astype(np.float32), log_end.astype(np.float32), lengths.astype(np.int32))

    def __len__(self) -> int:
        return len(self.lengths)

    def skip_scores(self) -> FloatArray:
        """(B, S), lowest = most likely the skip: -log P(exit in s); +inf on padding."""
        scores: FloatArray = -self.log_exit
        return scores

    def log_likelihood(self, exits: IntArray) -> FloatArray:
        """(B,) log-probability of what happened; `exits` = exit segment, or N when watched to the end."""
        ended = exits >= self.lengths
        inside = np.take_along_axis(self.log_exit, np.where(ended, 0, exits)[:, None].astype(np.int64), axis=1)[:, 0]
        return np.where(ended, self.log_end, inside)

    def expected_exit(self) -> FloatArray:
        """(B,) float64, mean of the exit segment (N = the end): whole segments watched, on average."""
        position = np.arange(self.log_exit.shape[1])
        return np.exp(self.log_exit.astype(np.float64)) @ position + np.exp(self.log_end) * self.lengths

    def stay(self) -> FloatArray:
        """(B, S) float32, 1 - hazard of segment s given that it was reached; 1 on padding."""
        log_exit = self.log_exit.astype(np.float64)
        tails = np.concatenate([log_exit, self.log_end[:, None].astype(np.float64)], axis=1)[:, ::-1]
        log_reach = np.logaddexp.accumulate(tails, axis=1)[:, :0:-1]
        possible = np.isfinite(log_exit)
        hazard = np.exp(np.where(possible, log_exit - np.where(possible, log_reach, 0.0), -np.inf))
        return np.clip(1.0 - hazard, 0.0, 1.0).astype(np.float32)

    def rows(self, chosen: npt.NDArray[Any]) -> ExitPrediction:
        """The rows of a mask or of positions, in that order."""
        return ExitPrediction(self.log_exit[chosen], self.log_end[chosen], self.lengths[chosen])


@dataclass(frozen=True)
class RankPrediction:
    """An order of the segments without probabilities: the lowest score is the most likely skip."""

    scores: FloatArray
    "(B, S) float32; padding may hold what the network gave there (protocol slots40 looks at it) or +inf."
    lengths: IntArray
    "(B,) int32, N = segments of the view's video, 1 <= N <= S."

    def __post_init__(self) -> None:
        """:raises ValueError: shapes that do not fit, a length outside 1..S, NaN."""
        _check_lengths(self.scores, self.lengths)
        _check_numbers(self.scores, "scores")

    def __len__(self) -> int:
        return len(self.lengths)

    def skip_scores(self) -> FloatArray:
        """(B, S), lowest = most likely the skip; +inf on padding."""
        return np.where(_inside(self.scores, self.lengths), self.scores, np.inf)

    def calibrate(
        self, valid: RankPrediction, valid_views: pl.DataFrame, table: HazardTable | None = None
    ) -> ExitPrediction:
        """A distribution, by a few numbers fitted on `valid` (see `rank_calibration`).

        `table`: the (length, position) prior to lean on, from training views; counted on `valid_views` when not given.
        """
        outcomes = Outcomes.of(valid_views)
        prior = HazardTable.by_length(outcomes, strength=100.0) if table is None else table
        fitted = RankCalibration.fit(valid.scores, outcomes, prior)
        return ExitPrediction.from_outcomes(*fitted.apply(self.scores, np.asarray(self.lengths)), self.lengths)

    def rows(self, chosen: npt.NDArray[Any]) -> RankPrediction:
        """The rows of a mask or of positions, in that order."""
        return RankPrediction(self.scores[chosen], self.lengths[chosen])


SkipPrediction = ExitPrediction | RankPrediction


class SkipModel(Protocol):
    """Anything that predicts skips: a prior, the boosted trees, a frozen encoder."""

    @property
    def name(self) -> str:
        """The name in metric rows."""
        ...

    def predict(self, views: pl.DataFrame) -> SkipPrediction:
        """One row a view, in the order of `views`."""
        ...


def concatenate(parts: Sequence[ExitPrediction]) -> ExitPrediction:
    """All rows of `parts`, padded to the widest."""
    width = max(part.log_exit.shape[1] for part in parts)
    padded = [
        np.pad(part.log_exit, ((0, 0), (0, width - part.log_exit.shape[1])), constant_values=-np.inf) for part in parts
    ]
    ends, lengths = [part.log_end for part in parts], [part.lengths for part in parts]
    return ExitPrediction(np.concatenate(padded), np.concatenate(ends), np.concatenate(lengths))


def _inside(values: FloatArray, lengths: IntArray) -> BoolArray:
    inside: BoolArray = np.arange(values.shape[1]) < np.asarray(lengths)[:, None]
    return inside


def _check_lengths(values: FloatArray, lengths: IntArray) -> None:
    if values.ndim != 2 or lengths.shape != values.shape[:1]:
        raise ValueError(f"values have shape {values.shape}, lengths {lengths.shape} (expected (B, S) and (B,))")
    if len(lengths) and not (lengths.min() >= 1 and lengths.max() <= values.shape[1]):
        raise ValueError(f"lengths lie in {lengths.min()}..{lengths.max()} (expected 1..{values.shape[1]})")


def _check_numbers(values: FloatArray, name: str) -> None:
    if np.isnan(values).any():
        raise ValueError(f"{name} holds NaN (first in row {int(np.argwhere(np.isnan(values))[0][0])})")
