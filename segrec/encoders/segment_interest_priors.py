"""Prior knowledge as features: the shrunk item prior, exit statistics, and what the user's past views showed.

Legend: V views, T their segments, F dense columns, K columns known of a segment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.encoders.exit_ratios import BANDS, CumulativeHazards
from segrec.encoders.exit_statistics import SEGMENT_NAMES, VIEW_NAMES, ExitStatistics, time_blocks
from segrec.encoders.exit_table import HazardTable, Outcomes
from segrec.encoders.priors import ItemShrunkPrior
from segrec.segments.history import HistoryLog, window_sums
from segrec.tables import Vocabulary

FloatArray = npt.NDArray[np.float32]

RECENT_VIEWS = 5
HISTORY_NAMES: tuple[str, ...] = (
    "past_log_views",
    "log_hours_since_last",
    *(f"past_log_ratio_from_{band}" for band in BANDS),
    *(f"recent_log_ratio_from_{band}" for band in BANDS),
)
DENSE_NAMES = (*VIEW_NAMES, *HISTORY_NAMES)
KNOWN_NAMES = ("prior_logit", *SEGMENT_NAMES)

_MIN_HAZARD, _MAX_HAZARD = 1e-4, 1 - 1e-3
_RATIO_STRENGTH = 2.0
_MS_AN_HOUR = 3_600_000


@dataclass(frozen=True)
class Knowledge:
    """What was counted on training views: the item prior and the exit statistics."""

    prior: ItemShrunkPrior
    statistics: ExitStatistics

    @classmethod
    def count(cls, train: pl.DataFrame, valid: pl.DataFrame | None, strength: float | None = None) -> Self:
        """From training views; `valid` only chooses how far the item prior is shrunk (unless `strength` says)."""
        chosen_on = valid if valid is not None and valid.height else None
        prior = ItemShrunkPrior.fit(train, chosen_on, strength)
        return cls(prior, ExitStatistics.fit(train, prior.table))

    def features(self, views: pl.DataFrame) -> tuple[FloatArray, FloatArray]:
        """(view features (V, ...), known (T, K)) of views that were not counted."""
        lengths = views["n_segments"].to_numpy().astype(np.int64)
        found = self.statistics.features(views)
        hazards = np.clip(self.prior.hazards(views), _MIN_HAZARD, _MAX_HAZARD)
        logits = np.log(hazards / (1 - hazards)).astype(np.float32)
        inside = np.arange(logits.shape[1]) < lengths[:, None]
        return found.view, np.concatenate([logits[inside][:, None], found.segment[inside]], axis=1)

    def out_of_fold(self, train: pl.DataFrame, folds: int) -> tuple[FloatArray, FloatArray]:
        """The same for the counted views themselves: each block of time from counts on the other blocks."""
        blocks = time_blocks(train["time_ms"], folds)
        lengths = train["n_segments"].to_numpy().astype(np.int64)
        block_T = np.repeat(blocks, lengths)
        view = np.zeros((train.height, len(VIEW_NAMES)), np.float32)
        known = np.zeros((int(lengths.sum()), len(KNOWN_NAMES)), np.float32)
        for block in range(folds):
            here = blocks == block
            others = Knowledge.count(train.filter(~here), None, self.prior.strength)
            view[here], known[block_T == block] = others.features(train.filter(here))
        return view, known

    def history_features(self, views: pl.DataFrame, log: HistoryLog, cap: int) -> FloatArray:
        """(V, len(HISTORY_NAMES)): how the user's newest past views ended against what their lengths let expect."""
        outcomes = Outcomes.of(log.rows)
        places = np.arange(log.rows.height)
        observed, expected = CumulativeHazards(self.statistics.table).by_band(places, outcomes, log.rows.height)
        start, end = log.windows(views, cap)
        recent = np.maximum(start, end - RECENT_VIEWS)
        known = end > start
        last = np.where(known, log.times[np.maximum(end - 1, 0)], 0) if len(log.times) else np.zeros_like(end)
        hours = np.where(known, (views["time_ms"].to_numpy() - last) / _MS_AN_HOUR, 0.0)
        columns = [np.log1p(end - start)[:, None], np.log1p(hours)[:, None]]
        for first in (start, recent):
            seen, due = window_sums(observed, first, end), window_sums(expected, first, end)
            columns.append(np.log((seen + _RATIO_STRENGTH) / (due + _RATIO_STRENGTH)))
        return np.concatenate(columns, axis=1).astype(np.float32)

    def parts(self) -> tuple[dict[str, pl.DataFrame], dict[str, npt.NDArray[Any]], dict[str, float]]:
        """(frames, arrays, numbers) to freeze: what `of_parts` reads."""
        frames = {f"statistics_{name}": frame for name, frame in self.statistics.to_frames().items()}
        frames |= {"prior_ids": self.prior.ids.to_frame(), "prior_table": self.prior.table.to_frame()}
        arrays = {"prior.exits": self.prior.exits, "prior.reached": self.prior.reached}
        return frames, arrays, {"prior_strength": self.prior.strength}

    @classmethod
    def of_parts(
        cls, frames: dict[str, pl.DataFrame], arrays: dict[str, npt.NDArray[Any]], numbers: dict[str, float]
    ) -> Self:
        """From what `parts` gave."""
        prior = ItemShrunkPrior(
            Vocabulary.from_frame(frames["prior_ids"]),
            arrays["prior.exits"],
            arrays["prior.reached"],
            HazardTable.from_frame(frames["prior_table"]),
            numbers["prior_strength"],
        )
        prefix = "statistics_"
        statistics = {name.removeprefix(prefix): frame for name, frame in frames.items() if name.startswith(prefix)}
        return cls(prior, ExitStatistics.from_frames(statistics))
