"""Heat strips of segment interest for some user-video pairs with the real skip marked (SegMM, Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.report.scored_views import ScoredViews
from segrec.records import KEY

_SKIPPED, _FINISHED = 8, 4
"Views shown: ended early, watched to the end."
_LEAST_SEGMENTS = 5
_TRIMMED = 0.05
"Shades run between these quantiles of the scores shown, so that one outlier does not hide the rest."


@dataclass(frozen=True)
class Strip:
    """One view. Shades lie in 0..1: one scale for the whole picture, or one a strip for relevance scores."""

    user: str
    item: str
    seconds: float
    watched_seconds: float
    scores: tuple[float, ...]
    shades: tuple[float, ...]
    skip_segment: int | None
    "0-based; None when watched to the end."
    skip_share: float | None
    "Where on the strip the view ended, 0..1."
    likeliest: int
    "The segment in which the scores expect the exit: largest P(exit), or the lowest score where scores only rank."
    width: float
    "Percent of the longest strip."
    truth: tuple[float, ...] | None
    truth_shades: tuple[float, ...] | None

    @property
    def told(self) -> str:
        """The strip in words."""
        listed = ", ".join(f"{score:.2f}" for score in self.scores)
        end = "watched to the end" if self.skip_segment is None else f"left in segment {self.skip_segment + 1}"
        return f"Scores by segment: {listed}; {end}"


@dataclass(frozen=True)
class HeatStrips:
    """The strips and their scale."""

    strips: tuple[Strip, ...]
    low: float
    high: float
    longest_seconds: float
    one_scale: bool
    truth: bool


def heat_strips(scored: ScoredViews, segment_ms: int, truth: pl.DataFrame | None) -> HeatStrips | None:
    """Strips of views chosen by a fixed rule that looks at no score: one a user, by a shuffle of seed 0."""
    chosen = _choose(scored.views)
    if chosen.is_empty():
        return None
    one_scale = scored.kind == "stay_probability"
    known = _truth_lists(chosen, truth, "hazard" if one_scale else "interest")
    every = np.concatenate([*chosen["scores"].to_list(), *[values for values in known if values and one_scale]])
    low = float(np.quantile(every, _TRIMMED, method="lower"))
    high = float(np.quantile(every, 1 - _TRIMMED, method="higher"))
    longest_ms = int(chosen["n_segments"].to_numpy().max()) * segment_ms
    strips = tuple(
        _strip(view, listed, (low, high) if one_scale else None, longest_ms, segment_ms)
        for view, listed in zip(chosen.iter_rows(named=True), known, strict=True)
    )
    has_truth = any(strip.truth is not None for strip in strips)
    return HeatStrips(strips, low, high, longest_ms / 1000, one_scale, has_truth)


def _choose(views: pl.DataFrame) -> pl.DataFrame:
    order = np.random.default_rng(0).permutation(views.height)
    shuffled = views.select(*KEY, "duration_ms", "watch_ms", "n_segments", "exit_segment", "scores")[order]
    long = shuffled.filter(pl.col("n_segments") >= _LEAST_SEGMENTS)
    pool = (long if long.height else shuffled).unique("user_id", keep="first", maintain_order=True)
    finished = pl.col("exit_segment") >= pl.col("n_segments")
    ended = pool.filter(~finished).head(_SKIPPED)
    return pl.concat([ended, pool.filter(finished).head(_FINISHED)]).sort("n_segments", maintain_order=True)


def _truth_lists(chosen: pl.DataFrame, truth: pl.DataFrame | None, column: str) -> list[list[float] | None]:
    """True interest, or the true stay probability (1 - hazard), of each chosen view; None where unknown."""
    if truth is None or column not in truth.columns:
        return [None] * chosen.height
    once = truth.select(*KEY, column).join(chosen.select(KEY), on=list(KEY), how="semi").unique(list(KEY), keep="any")
    lists = chosen.select(KEY).join(once, on=list(KEY), how="left", maintain_order="left")[column].to_list()
    if column == "interest":
        return lists
    return [None if hazards is None else [1.0 - hazard for hazard in hazards] for hazards in lists]


def _strip(
    view: dict[str, Any], truth: list[float] | None, scale: tuple[float, float] | None, longest_ms: int, segment_ms: int
) -> Strip:
    scores: list[float] = view["scores"]
    count: int = view["n_segments"]
    skipped = view["exit_segment"] < count
    return Strip(
        user=str(view["user_id"]),
        item=str(view["item_id"]),
        seconds=view["duration_ms"] / 1000,
        watched_seconds=view["watch_ms"] / 1000,
        scores=tuple(scores),
        shades=_shades(scores, scale),
        skip_segment=view["exit_segment"] if skipped else None,
        skip_share=view["watch_ms"] / (count * segment_ms) if skipped else None,
        likeliest=_likeliest_exit(np.array(scores), probabilities=scale is not None),
        width=100 * count * segment_ms / longest_ms,
        truth=None if truth is None else tuple(truth),
        truth_shades=None if truth is None else _shades(truth[:count], scale),
    )


def _likeliest_exit(scores: npt.NDArray[np.float64], *, probabilities: bool) -> int:
    if not probabilities:
        return int(scores.argmin())
    reached = np.concatenate([[1.0], np.cumprod(scores)[:-1]])
    return int((reached * (1.0 - scores)).argmax())


def _shades(values: Sequence[float], scale: tuple[float, float] | None) -> tuple[float, ...]:
    low, high = scale if scale is not None else (min(values), max(values))
    span = high - low
    return tuple(0.5 if span <= 0 else min(max((value - low) / span, 0.0), 1.0) for value in values)


def ticks(longest_seconds: float) -> list[float]:
    """Round seconds for the axis below the strips: four to eight of them."""
    step = next(size for size in (1, 2, 5, 10, 15, 20, 30, 60, 120, 300) if longest_seconds / size <= 8)
    return [float(step * place) for place in range(int(longest_seconds // step) + 1)]
