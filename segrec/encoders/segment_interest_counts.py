"""Exit counts of items, authors and pages as features, each training view without its own block of time.

Legend: V views, T their segments (view after view), W grid width, n ids of a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.encoders.exit_table import Outcomes, exits_by, reached_by
from segrec.segments.history import ranges
from segrec.tables import Vocabulary
from segrec.tables.vocabulary import FIRST_KNOWN

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

KEYS = ("item_id", "author_id")
"""Not the user: counts from a user's other days run against the label (few views a user), and the view's own past,
as of its time, tells more; see `segment_interest_past`."""
STRENGTHS = (5.0, 20.0, 80.0)
"Views' worth of trust in the (length, position) hazard: a network that sees all three picks its own."

_SMOOTHING = 20.0
"Views' worth of trust in the lengths next to a length, and in the position alone."
_MIN_HAZARD, _MAX_HAZARD = 1e-4, 1 - 1e-4


def smoothed_hazards(outcomes: Outcomes, width: int) -> npt.NDArray[np.float64]:
    """(W + 1, W) hazards by length and position; each length shrunk to its neighbours, those to the position alone.

    Neighbours weigh exp(-d^2 / 2), d = difference of the lengths. Row N: videos of N segments; row 0 is not used.
    """
    exits = exits_by(outcomes.lengths, outcomes, width + 1, width).astype(np.float64)
    reached = reached_by(outcomes.lengths, outcomes, width + 1, width).astype(np.float64)
    alone = (exits.sum(axis=0) + 1) / (reached.sum(axis=0) + 10)
    lengths = np.arange(width + 1)
    near = np.exp(-0.5 * (lengths[:, None] - lengths) ** 2)
    pooled = (near @ exits + _SMOOTHING * alone) / (near @ reached + _SMOOTHING)
    shrunk = (exits + _SMOOTHING * pooled) / (reached + _SMOOTHING)
    hazards: npt.NDArray[np.float64] = np.clip(shrunk, _MIN_HAZARD, _MAX_HAZARD)
    return hazards


@dataclass(frozen=True)
class KeyCounts:
    """One key's counts by code of `ids`; codes 0 and 1 (missing, unseen) hold zeros."""

    ids: Vocabulary
    exits: FloatArray
    "(n, W) views that ended in segment s."
    reached: FloatArray
    "(n, W) views that reached segment s."
    totals: FloatArray
    "(n, 4): views, exits in segment 0, expected exits in all, expected exits in segment 0."


@dataclass(frozen=True)
class ExitCounts:
    """What was counted on training views."""

    hazards: npt.NDArray[np.float64]
    "(W + 1, W), see `smoothed_hazards`: the prior that the network starts from."
    keys: Mapping[str, KeyCounts]

    @property
    def known_names(self) -> tuple[str, ...]:
        """What is known of a segment, in order."""
        each = (*(f"shrunk_by_{a:.0f}" for a in STRENGTHS), "log_reached")
        return ("length_position_logit", *(f"{key}_{what}" for key in self.keys for what in each))

    @property
    def view_names(self) -> tuple[str, ...]:
        """What is known of a view, in order."""
        return tuple(f"{key}_{what}" for key in self.keys for what in ("log_views", "log_ratio", "log_ratio_first"))

    @classmethod
    def count(cls, train: pl.DataFrame, width: int, keys: Sequence[str] = KEYS) -> Self:
        """From training views with n_segments, exit_segment and the columns `keys`."""
        outcomes = Outcomes.of(train)
        hazards = smoothed_hazards(outcomes, width)
        found = {}
        for key in keys:
            ids = Vocabulary.fit(train[key])
            found[key] = _counted(ids, ids.encode(train[key]), outcomes, hazards)
        return cls(hazards, found)

    def features(self, views: pl.DataFrame) -> tuple[FloatArray, FloatArray]:
        """(V, len(view_names)) and (T, len(known_names)) of views that were not counted."""
        return self._features(views, self.keys)

    def out_of_fold(self, train: pl.DataFrame, blocks: IntArray) -> tuple[FloatArray, FloatArray]:
        """The same for the counted views: each from the other blocks alone, the hazards too."""
        lengths = train["n_segments"].to_numpy().astype(np.int64)
        block_T = np.repeat(blocks, lengths)
        whole = np.zeros((train.height, len(self.view_names)), np.float32)
        known = np.zeros((int(lengths.sum()), len(self.known_names)), np.float32)
        for block in np.unique(blocks):
            here = pl.Series(blocks == block)
            others = ExitCounts.count(train.filter(~here), self.hazards.shape[1], tuple(self.keys))
            whole[blocks == block], known[block_T == block] = others.features(train.filter(here))
        return whole, known

    def _features(self, views: pl.DataFrame, keys: Mapping[str, KeyCounts]) -> tuple[FloatArray, FloatArray]:
        lengths = views["n_segments"].to_numpy().astype(np.int64)
        view_T, place_T = np.repeat(np.arange(len(lengths)), lengths), ranges(np.zeros_like(lengths), lengths)
        hazard_T = self.hazards[lengths[view_T], place_T].astype(np.float32)
        base_T = log_odds(hazard_T)
        whole: list[npt.NDArray[Any]] = []
        known: list[npt.NDArray[Any]] = [base_T]
        for key, counts in keys.items():
            codes = counts.ids.encode(views[key])
            exits_T, reached_T = counts.exits[codes[view_T], place_T], counts.reached[codes[view_T], place_T]
            known += [log_odds((exits_T + a * hazard_T) / (reached_T + a)) - base_T for a in STRENGTHS]
            known.append(np.log1p(reached_T) / 3)
            seen, first, due, due_first = counts.totals[codes].T
            exited = counts.exits[codes].sum(axis=1)
            whole += [np.log1p(seen), np.log((exited + 5) / (due + 5)), np.log((first + 3) / (due_first + 3))]
        return np.stack(whole, axis=1).astype(np.float32), np.stack(known, axis=1).astype(np.float32)

    def parts(self) -> tuple[dict[str, pl.DataFrame], dict[str, npt.NDArray[Any]]]:
        """(frames, arrays) to freeze: what `of_parts` reads."""
        frames = {f"counted_{key}": counts.ids.to_frame() for key, counts in self.keys.items()}
        arrays: dict[str, npt.NDArray[Any]] = {"hazards": self.hazards}
        for key, counts in self.keys.items():
            arrays |= {f"{key}.exits": counts.exits, f"{key}.reached": counts.reached, f"{key}.totals": counts.totals}
        return frames, arrays

    @classmethod
    def of_parts(cls, frames: Mapping[str, pl.DataFrame], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """From what `parts` gave."""
        keys = {}
        counted = [name.removesuffix(".totals") for name in arrays if name.endswith(".totals")]
        for key in (*KEYS, *(name for name in counted if name not in KEYS)):
            ids = Vocabulary.from_frame(frames[f"counted_{key}"], f"counted_{key}")
            keys[key] = KeyCounts(ids, *(arrays[f"{key}.{part}"] for part in ("exits", "reached", "totals")))
        return cls(arrays["hazards"], keys)


def log_odds(hazards: FloatArray) -> FloatArray:
    """log(h / (1 - h)), h cut to [1e-4, 1 - 1e-4]."""
    cut = np.clip(hazards, _MIN_HAZARD, _MAX_HAZARD)
    odds: FloatArray = np.log(cut / (1 - cut))
    return odds


def blocks_of(train: pl.DataFrame, folds: int, utc_offset_hours: float) -> IntArray:
    """(V,) block of each training view: its day where there are 3 to 10 of them, else `folds` equal parts by time."""
    times = train["time_ms"].to_numpy()
    days = (times + round(utc_offset_hours * 3_600_000)) // 86_400_000
    distinct, block = np.unique(days, return_inverse=True)
    if 3 <= len(distinct) <= 10:
        return block.astype(np.int64)
    order = np.empty(len(times), np.int64)
    order[np.argsort(times, kind="stable")] = np.arange(len(times))
    return order * folds // max(len(times), 1)


def _counted(ids: Vocabulary, codes: IntArray, outcomes: Outcomes, hazards: npt.NDArray[np.float64]) -> KeyCounts:
    width, n = hazards.shape[1], ids.size
    due = np.cumsum(hazards, axis=1)[outcomes.lengths, outcomes.last]
    sums = [
        np.bincount(codes, minlength=n),
        np.bincount(codes, outcomes.exits == 0, minlength=n),
        np.bincount(codes, due, minlength=n),
        np.bincount(codes, hazards[outcomes.lengths, 0], minlength=n),
    ]
    totals = np.stack(sums, axis=1).astype(np.float32)
    counts = [count(codes, outcomes, n, width) for count in (exits_by, reached_by)]
    for part in (*counts, totals):
        part[:FIRST_KNOWN] = 0.0
    return KeyCounts(ids, counts[0], counts[1], totals)
