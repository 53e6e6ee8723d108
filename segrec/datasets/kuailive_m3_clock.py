"""Which clock KuaiLive-M3's datetimes are in: tested against the segments, whose ends are epoch milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from segrec.datasets.kuailive_m3_segments import VectorRows, whole_ids
from segrec.datasets.live_times import HOUR_MS, epoch_ms, has_no_zone
from segrec.datasets.parquet_stream import parquet_frames
from segrec.records import DataError

USUAL_HOURS = (8.0, 0.0)
"Tried where nobody says: the publisher's dates are UTC+8; its code takes datetimes as UTC."
_EVERY_HOURS = np.arange(-28, 29) / 2
_ENOUGH = 0.5
"Share of segments that must end while their room is on."
_SLACK_MS = 60_000


@dataclass(frozen=True)
class Clock:
    """Hours that datetimes without a zone are ahead of UTC."""

    offset_hours: float
    notes: tuple[str, ...] = ()


def clock_of(rooms: Path, segments: VectorRows, asked: float | None) -> Clock:
    """The clock that was asked for, or the usual one in which segments end while their rooms are on.

    :raises DataError: they do not; names the offset in which they would.
    """
    begun, over, ends, naive = _sample(rooms, segments)
    if not len(ends):
        return Clock(asked or 0.0)
    if not naive:
        _refuse_if_apart(rooms, _inside(begun, over, ends, 0.0))
        return Clock(0.0)
    tried = USUAL_HOURS if asked is None else (asked,)
    chosen = max(tried, key=lambda hours: _inside(begun, over, ends, hours))
    share = _inside(begun, over, ends, chosen)
    best = max(_EVERY_HOURS.tolist(), key=lambda hours: (_inside(begun, over, ends, hours), -abs(hours - chosen)))
    there = _inside(begun, over, ends, best)
    if share < 0.9 * there:
        compared = (
            f"{share:.0%} of segments end while their room is on with UTC{chosen:+g}, {there:.0%} with UTC{best:+g}"
        )
        raise DataError(
            rooms, "datetimes without a zone are in another clock than the segments", found=compared,
            fix=f"pass --utc-offset {best:g}",
        )  # fmt: skip
    _refuse_if_apart(rooms, share)
    said = "as asked" if asked is not None else f"{share:.0%} of segments then end while their room is on"
    return Clock(chosen, (f"datetimes without a zone are taken as UTC{chosen:+g} ({said})",))


def _refuse_if_apart(rooms: Path, share: float) -> None:
    if share < _ENOUGH:
        raise DataError(
            rooms, "rooms and segments do not overlap in time",
            found=f"{share:.0%} of segments end while their room is on", expected=f"at least {_ENOUGH:.0%}",
            fix="check that the files are of one release",
        )  # fmt: skip


def _sample(rooms: Path, segments: VectorRows) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Of some segments: start and end of their room (as if in UTC) and their own end; are the rooms' times naive?"""
    rows = pl.concat([pl.DataFrame(schema={"item_id": pl.Int64, "end_ms": pl.Int64}), *(
        frame.select("item_id", "end_ms") for frame in islice(segments.segment_ends(), 1)
    )])  # fmt: skip
    found, naive = [], False
    for frame in parquet_frames(rooms, ["live_id", "start_timestamp", "end_timestamp"]):
        naive = naive or has_no_zone(frame["start_timestamp"])
        known = frame.select(
            whole_ids(frame["live_id"], rooms).alias("item_id"),
            epoch_ms(frame["start_timestamp"], rooms, 0.0, 1).alias("begun"),
            epoch_ms(frame["end_timestamp"], rooms, 0.0, 1).alias("over"),
        )
        found.append(rows.join(known, on="item_id"))
    joined = pl.concat(found).drop_nulls() if found else rows.clear().with_columns(begun="end_ms", over="end_ms")
    return joined["begun"].to_numpy(), joined["over"].to_numpy(), joined["end_ms"].to_numpy(), naive


def _inside(begun: np.ndarray, over: np.ndarray, ends: np.ndarray, hours: float) -> float:
    utc = ends + hours * HOUR_MS
    return float(np.mean((utc > begun) & (utc <= over + _SLACK_MS)))
