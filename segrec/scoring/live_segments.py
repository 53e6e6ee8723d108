"""What a caller of live scoring hands in, one segment at a time: raw segments and, later, their rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from segrec.scoring.live_slots import RoomId


@dataclass(frozen=True, slots=True)
class LiveSegment:
    """One segment of a room, when it has ended."""

    start_ms: int
    end_ms: int
    streamer: RoomId | None = None
    "author_id of the room; looked at when the room is new here."
    vectors: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    "By modality (visual, text): (E,) as the segment vectors of a dataset; left out where there is none."
    counters: Mapping[str, float] = field(default_factory=dict)
    "Counts inside the segment, by the dataset's names; left out where unknown."
    rates: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    "Rate and trials, where they are known with the segment (ctr is at its end); others come by `observe`."


@dataclass(frozen=True, slots=True)
class RateOutcome:
    """A rate of a segment of a room that has become known (or will at end_ms + known_after_ms)."""

    room: RoomId
    end_ms: int
    "End of the segment that it describes."
    rate: str
    "ctr, lvtr: a rate of the dataset that the encoder was fitted on."
    value: float
    "NaN: there was nothing to count."
    trials: float | None = None
    "Impressions, entries; None where the source does not tell."
