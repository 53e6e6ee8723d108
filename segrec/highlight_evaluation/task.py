"""What is measured: the segments of the tested rooms, their true rates, and parts of them by streamer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from segrec.records import SPLITS, ConfigError, DataError, DatasetFolder, Split
from segrec.segments.rooms import IntArray, Rooms

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

COHORTS = ("all", "warm", "cold")
SHIFTS = (0, 1)


@dataclass(frozen=True)
class HighlightTask:
    """Segments of one split's rooms with the rate that is to be ranked. N segments, R rooms."""

    everything: Rooms
    "Rooms of all splits: what simple predictors count in."
    tested: Rooms
    split: Split
    rate: str
    shift: int
    window: int
    min_viewers: int

    @classmethod
    def of(
        cls, dataset: DatasetFolder, split: str, rate: str, shift: int, *, window: int = 20, min_viewers: int = 0
    ) -> Self:
        """:raises ConfigError: no such split or shift, a window below 2.
        :raises DataError: no live rooms, no such rate, no viewer counts to filter by, or nothing left to measure.
        """
        asked = known_split(split)
        if shift not in SHIFTS:
            raise ConfigError(f"shift is {shift} (allowed: 0 = the segment itself, 1 = the next one)")
        if window < 2:
            raise ConfigError(f"window is {window} (allowed: 2 and more)")
        task = cls(Rooms.of(dataset), Rooms.of(dataset, [asked]), asked, rate, shift, window, min_viewers)
        if min_viewers and "viewers" not in task.tested.frame.columns:
            raise DataError(dataset.path, "has no viewer counts", fix="leave --min-viewers out")
        if not task.counted.any():
            raise DataError(
                dataset.path, f"has no {asked} segment with a known {rate}",
                found=f"{len(task.counted):,} segments, shift {shift}, at least {min_viewers} viewers",
                fix="choose another target, split or --min-viewers",
            )  # fmt: skip
        return task

    @property
    def dataset(self) -> DatasetFolder:
        """Where the rooms come from."""
        return self.tested.dataset

    @cached_property
    def truth(self) -> FloatArray:
        """(N,) observed rate that each segment is asked for; NaN where unknown."""
        return self.tested.target(self.rate, self.shift).values.astype(np.float64)

    @cached_property
    def trials(self) -> FloatArray:
        """(N,) trials behind it; NaN where the source does not tell."""
        return self.tested.target(self.rate, self.shift).trials.astype(np.float64)

    @cached_property
    def counted(self) -> BoolArray:
        """(N,) with a known rate and enough viewers."""
        known = ~np.isnan(self.truth)
        if not self.min_viewers:
            return known
        return known & (self.tested.frame["viewers"].fill_null(0).to_numpy() >= self.min_viewers)

    @cached_property
    def window_end(self) -> BoolArray:
        """(N,) the last segment of a full window inside its run."""
        return self.tested.place_in_run >= self.window - 1

    @property
    def room_count(self) -> int:
        """R."""
        return len(self.tested.offsets) - 1

    def tested_rows(self, values: FloatArray) -> FloatArray:
        """Those of `everything`'s values (T,) that belong to tested segments (N,)."""
        found: FloatArray = values[(self.everything.frame["split"] == self.split).to_numpy()]
        return found


def known_split(split: str) -> Split:
    """:raises ConfigError: no such split."""
    found = next((name for name in SPLITS if name == split), None)
    if found is None:
        raise ConfigError(f"unknown split {split!r} (known: {', '.join(SPLITS)})")
    return found


@dataclass(frozen=True)
class Cohort:
    """Some of the tested rooms."""

    name: str
    rooms: BoolArray
    "(R,)"

    def rows(self, room: IntArray) -> BoolArray:
        """(N,) segments of its rooms; `room` (N,) is the room of each."""
        return self.rooms[room]


def highlight_cohorts(task: HighlightTask, names: Sequence[str] | None = None) -> list[Cohort]:
    """all; warm = rooms of streamers with a train room; cold = of others. Empty ones are left out.

    :raises ConfigError: a name among `names` (all when not given) that is none of these.
    """
    for name in names or ():
        if name not in COHORTS:
            raise ConfigError(f"unknown cohort {name!r} (known: {', '.join(COHORTS)})")
    everything = task.everything.frame
    trained = everything.filter(everything["split"] == "train")["author_id"].drop_nulls().unique()
    streamer = task.tested.frame["author_id"][task.tested.offsets[:-1].tolist()]
    warm = streamer.is_in(trained.implode()).fill_null(False).to_numpy()
    masks = {"all": np.ones(task.room_count, dtype=bool), "warm": warm, "cold": ~warm}
    return [Cohort(name, masks[name]) for name in names or COHORTS if masks[name].any()]
