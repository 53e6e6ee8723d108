"""How views ended, counted: exits and reached segments by any key, and hazards by position and by length.

Legend: B views, S segments, n keys, W width of a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import ConfigError

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]

POSITION_STRENGTH = 1.0
"Pseudo views, at the overall hazard, that keep positions nobody reached finite."


@dataclass(frozen=True)
class Outcomes:
    """Where views ended."""

    lengths: IntArray
    "(B,) N, segments of the video."
    exits: IntArray
    "(B,) exit segment, N when watched to the end."

    @classmethod
    def of(cls, views: pl.DataFrame) -> Self:
        """From views with n_segments and exit_segment.

        :raises ConfigError: a column is missing, or a row lies outside 0 <= exit_segment <= n_segments >= 1.
        """
        need_columns(views, ("n_segments", "exit_segment"))
        lengths, exits = (views[name].cast(pl.Int64).to_numpy() for name in ("n_segments", "exit_segment"))
        if len(lengths) and (lengths.min() < 1 or exits.min() < 0 or (exits > lengths).any()):
            raise ConfigError("views need n_segments >= 1 and 0 <= exit_segment <= n_segments; cut them again")
        return cls(lengths, exits)

    @property
    def last(self) -> IntArray:
        """(B,) the last segment that was reached."""
        return np.minimum(self.exits, self.lengths - 1)

    @property
    def left(self) -> npt.NDArray[np.bool_]:
        """(B,) True where the view ended before the end."""
        return self.exits < self.lengths

    @property
    def width(self) -> int:
        """Segments of the longest video, at least 1."""
        return int(self.lengths.max(initial=1))

    def rows(self, chosen: npt.NDArray[Any]) -> Outcomes:
        """The rows of a mask or of positions."""
        return Outcomes(self.lengths[chosen], self.exits[chosen])


def need_columns(views: pl.DataFrame, names: tuple[str, ...]) -> None:
    """:raises ConfigError: `views` lacks one of `names`."""
    for name in names:
        if name not in views.columns:
            raise ConfigError(f"views lack the column {name!r} (found: {', '.join(views.columns)})")


def exits_by(keys: IntArray, outcomes: Outcomes, n: int, width: int) -> FloatArray:
    """(n, width) how often a view of that key ended in segment s; ends of videos do not count."""
    left = outcomes.left & (outcomes.exits < width)
    cells = keys[left] * width + outcomes.exits[left]
    return np.bincount(cells, minlength=n * width).reshape(n, width).astype(np.float32)


def reached_by(keys: IntArray, outcomes: Outcomes, n: int, width: int) -> FloatArray:
    """(n, width) how many views of that key reached segment s."""
    cells = keys * width + np.minimum(outcomes.last, width - 1)
    ended = np.bincount(cells, minlength=n * width).reshape(n, width)
    return np.cumsum(ended[:, ::-1], axis=1)[:, ::-1].astype(np.float32)


def shrunk_hazards(exits: FloatArray, reached: FloatArray, base: FloatArray, strength: float) -> FloatArray:
    """Hazards (m, S) of counts shrunk to `base` hazards: a Dirichlet prior of `strength` views on where a view ends.

    h_s = (exits_s + strength * P_base(exit in s)) / (reached_s + strength * P_base(s is reached)).
    For a key whose videos are all of one length this is (counts + strength * P_base) / (n + strength).
    """
    reach = np.ones_like(base)
    np.cumprod(1.0 - base[:, :-1], axis=1, out=reach[:, 1:])
    weight = reached + strength * reach
    return np.where(weight > 0, (exits + strength * reach * base) / np.where(weight > 0, weight, 1.0), base)


@dataclass(frozen=True)
class HazardTable:
    """Hazards by length and position; row 0 holds those by position alone, used for lengths beyond the table."""

    hazards: FloatArray
    "(W + 1, W) float64, row N = hazards of a video of N segments."

    @classmethod
    def by_position(cls, outcomes: Outcomes) -> HazardTable:
        """One hazard a position, whatever the length. Without any view all hazards are one half."""
        width, none = outcomes.width, np.zeros(len(outcomes.exits), dtype=np.int64)
        exits, reached = (count(none, outcomes, 1, width)[0] for count in (exits_by, reached_by))
        overall = (exits.sum() + 1.0) / (reached.sum() + 2.0)
        hazards = (exits + POSITION_STRENGTH * overall) / (reached + POSITION_STRENGTH)
        return cls(np.tile(hazards.astype(np.float64), (width + 1, 1)))

    @classmethod
    def by_length(cls, outcomes: Outcomes, strength: float) -> HazardTable:
        """Hazards by length and position, shrunk to those by position by `strength` views a length."""
        base, width = cls.by_position(outcomes).hazards, outcomes.width
        exits, reached = (count(outcomes.lengths, outcomes, width + 1, width) for count in (exits_by, reached_by))
        hazards = shrunk_hazards(exits.astype(np.float64), reached.astype(np.float64), base, strength)
        hazards[0] = base[0]
        return cls(hazards)

    @property
    def width(self) -> int:
        """Positions in the table."""
        return int(self.hazards.shape[1])

    def of(self, lengths: IntArray) -> FloatArray:
        """(B, S) hazards of videos of these lengths, S = the longest; padding holds the table's own values."""
        rows = self.hazards[np.where(lengths <= self.width, lengths, 0)]
        places = np.minimum(np.arange(int(lengths.max(initial=1))), self.width - 1)
        return rows[:, places]

    def log_outcomes(self, lengths: IntArray) -> tuple[FloatArray, FloatArray]:
        """(log P(exit in s) (B, S) with -inf on padding, log P(watched to the end) (B,)), float64."""
        hazards = self.of(lengths)
        inside = np.arange(hazards.shape[1]) < lengths[:, None]
        log_stay = np.where(inside, np.log1p(-hazards), 0.0)
        reached = np.cumsum(log_stay, axis=1)
        log_exit = np.where(inside, np.log(hazards) + reached - log_stay, -np.inf)
        return log_exit, reached[:, -1]

    def to_frame(self) -> pl.DataFrame:
        """length, hazards (list): what `from_frame` reads."""
        return pl.DataFrame({"length": np.arange(len(self.hazards)), "hazards": self.hazards.tolist()})

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> Self:
        """From what `to_frame` gave, also after a round through Parquet."""
        return cls(np.array(frame.sort("length")["hazards"].to_list(), dtype=np.float64))
