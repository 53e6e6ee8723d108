"""Prior features: how views of the same user, item, author ended, as numbers; never counted on the row itself.

For training rows take `out_of_fold`: each block of time gets statistics counted on the other blocks. For other rows
(valid, test, new ones) take `ExitStatistics.fit(train).features(views)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.encoders.exit_shifts import BANDS, ExpectedExits
from segrec.encoders.exit_table import HazardTable, IntArray, Outcomes, need_columns
from segrec.encoders.priors import LengthPositionPrior, lengths_of
from segrec.records import ConfigError
from segrec.tables.vocabulary import FIRST_KNOWN, Vocabulary

KEYS = ("user_id", "item_id", "author_id")
POSITION_KEYS = ("item_id", "author_id")
"Keys whose exits are also counted at each single position: a user's are too few for that."

BAND_STRENGTH = 2.0
POSITION_STRENGTH = 1.0
"Variance's worth of trust in a shift of 0."

VIEW_NAMES: tuple[str, ...] = tuple(
    f"{key}_{what}" for key in KEYS for what in ("log_views", *(f"shift_from_{band}" for band in BANDS))
)
"Columns of `StatisticFeatures.view`."
SEGMENT_NAMES: tuple[str, ...] = ("base_logit", *(f"{key}_shift_here" for key in POSITION_KEYS))
"Channels of `StatisticFeatures.segment`."


@dataclass(frozen=True)
class StatisticFeatures:
    """Features of B views; unknown ids have zeros (no view seen, exits as expected)."""

    view: npt.NDArray[np.float32]
    "(B, len(VIEW_NAMES)): log(1 + views), shifts of the hazards' logits by band of positions."
    segment: npt.NDArray[np.float32]
    "(B, S, len(SEGMENT_NAMES)): logit of the (length, position) hazard, shifts at that position; 0 on padding."


@dataclass(frozen=True)
class KeyStatistics:
    """One key's statistics, rows as its vocabulary's codes; codes 0 and 1 (missing, unseen) hold zeros."""

    ids: Vocabulary
    view: npt.NDArray[np.float32]
    "(n, 1 + bands)"
    position: npt.NDArray[np.float32]
    "(n, W), or (n, 0) for keys outside POSITION_KEYS."


@dataclass(frozen=True)
class ExitStatistics:
    """Statistics of the views it was fitted on."""

    table: HazardTable
    "The (length, position) prior that exits are compared with."
    keys: dict[str, KeyStatistics]

    @classmethod
    def fit(cls, views: pl.DataFrame, table: HazardTable | None = None) -> Self:
        """From training views with user_id, item_id, author_id (may be null), n_segments, exit_segment.

        `table`: the hazards to compare with, wide enough for `views`; counted on `views` when not given.
        """
        need_columns(views, KEYS)
        outcomes = Outcomes.of(views)
        compared = LengthPositionPrior.fit(views).table if table is None else table
        expected = ExpectedExits(compared)
        return cls(compared, {key: _count(views[key], outcomes, expected, key in POSITION_KEYS) for key in KEYS})

    def features(self, views: pl.DataFrame) -> StatisticFeatures:
        """Features of other views, in their order; S = the longest of them. Outcomes are not looked at."""
        need_columns(views, (*KEYS, "n_segments"))
        lengths = lengths_of(views)
        codes = {key: counted.ids.encode(views[key]) for key, counted in self.keys.items()}
        whole = [counted.view[codes[key]] for key, counted in self.keys.items()]
        channels = [ExpectedExits(self.table).logits(lengths).astype(np.float32)]
        width = channels[0].shape[1]
        channels += [_padded(self.keys[key].position[codes[key], :width], width) for key in POSITION_KEYS]
        segment = np.stack(channels, axis=2)
        segment[np.arange(width) >= lengths[:, None]] = 0.0
        return StatisticFeatures(np.concatenate(whole, axis=1), segment)

    def to_frames(self) -> dict[str, pl.DataFrame]:
        """Frames to keep (Parquet): "table", and for each key its ids with counts and statistics."""
        frames = {"table": self.table.to_frame()}
        for key, counted in self.keys.items():
            numbers = {name: getattr(counted, name)[FIRST_KNOWN:].tolist() for name in ("view", "position")}
            columns = [pl.Series(name, rows, dtype=pl.List(pl.Float32)) for name, rows in numbers.items()]
            frames[key] = counted.ids.to_frame().with_columns(columns)
        return frames

    @classmethod
    def from_frames(cls, frames: dict[str, pl.DataFrame]) -> Self:
        """:raises ConfigError: a frame of `to_frames` is missing."""
        missing = [name for name in ("table", *KEYS) if name not in frames]
        if missing:
            raise ConfigError(f"exit statistics lack the frame {missing[0]!r} (found: {', '.join(frames) or 'none'})")
        table = HazardTable.from_frame(frames["table"])
        return cls(table, {key: _from_frame(frames[key], table.width, key in POSITION_KEYS) for key in KEYS})


def out_of_fold(views: pl.DataFrame, folds: int = 5) -> StatisticFeatures:
    """Features of the training views themselves: `folds` blocks of time, each counted on the others.

    The base logits come from the other blocks too. S = the longest of all views.

    :raises ConfigError: fewer than two folds, or fewer views than folds.
    """
    need_columns(views, (*KEYS, "time_ms"))
    if folds < 2 or views.height < folds:
        raise ConfigError(
            f"out-of-fold statistics need 2 <= folds <= views (found: {folds} folds, {views.height} views)"
        )
    blocks, width = time_blocks(views["time_ms"], folds), int(lengths_of(views).max())
    view = np.zeros((views.height, len(VIEW_NAMES)), dtype=np.float32)
    segment = np.zeros((views.height, width, len(SEGMENT_NAMES)), dtype=np.float32)
    for block in range(folds):
        here = blocks == block
        found = ExitStatistics.fit(views.filter(~here)).features(views.filter(here))
        view[here] = found.view
        segment[here, : found.segment.shape[1]] = found.segment
    return StatisticFeatures(view, segment)


def time_blocks(times: pl.Series, folds: int) -> IntArray:
    """(B,) block 0 .. folds - 1 of each row: equal counts, cut by time."""
    blocks = np.empty(len(times), dtype=np.int64)
    blocks[np.argsort(times.to_numpy(), kind="stable")] = np.arange(len(times)) * folds // max(len(times), 1)
    return blocks


def _count(values: pl.Series, outcomes: Outcomes, expected: ExpectedExits, by_position: bool) -> KeyStatistics:
    ids = Vocabulary.fit(values)
    codes = ids.encode(values)
    log_views = np.log1p(np.bincount(codes, minlength=ids.size))[:, None]
    shifts = expected.by_band(codes, outcomes, ids.size).shifts(BAND_STRENGTH)
    view = np.concatenate([log_views, shifts], axis=1).astype(np.float32)
    position = np.zeros((ids.size, 0), dtype=np.float32)
    if by_position:
        position = expected.by_position(codes, outcomes, ids.size).shifts(POSITION_STRENGTH).astype(np.float32)
    view[:FIRST_KNOWN], position[:FIRST_KNOWN] = 0.0, 0.0
    return KeyStatistics(ids, view, position)


def _from_frame(frame: pl.DataFrame, width: int, by_position: bool) -> KeyStatistics:
    ids = Vocabulary.from_frame(frame)
    shapes = {"view": 1 + len(BANDS), "position": width if by_position else 0}
    rows = {name: np.zeros((ids.size, columns), dtype=np.float32) for name, columns in shapes.items()}
    for name, columns in shapes.items():
        flat = frame[name].explode().drop_nulls().to_numpy() if columns else np.empty(0)
        rows[name][FIRST_KNOWN:] = flat.reshape(-1, columns) if columns else 0.0
    return KeyStatistics(ids, rows["view"], rows["position"])


def _padded(values: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float32]:
    return np.pad(values, ((0, 0), (0, width - values.shape[1])))
