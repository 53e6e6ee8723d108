"""The highlight score of the KuaiLive-M3 benchmark: rooms, labels, split and inputs exactly as its authors make them.

https://github.com/imgkkk574/KuaiLive-M3 (highlight/). The score is made from counts that only grow and is scaled by
the whole room, so it falls with the position by construction and looks ahead: measure it beside `minus_position`.
Legend: T segments of the kept rooms, R rooms, K segments of one room.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import DataError, DatasetFolder, Split

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

MAX_ROOMS = 10_000
"Those with most sessions."
MIN_SEGMENTS = MIN_ENTERED = 5
LVTR_SHARE, ENGAGEMENT_SHARE = 0.6, 0.4
COMMENT_WORTH = 2.0
"Likes that one comment counts as."
HIGHLIGHT_PERCENTILE = 70.0
TRAIN_SHARE, VALID_SHARE = 0.7, 0.1
MAX_SEGMENTS = 201
"Of a room that are used; the last of them is a target only."
PAST_ROWS = 5
STATISTICS = (
    "rel_pos", "log_length_s", "sum_entered", "sum_likes", "sum_comments", "mean_entered", "std_entered",
    "trend_entered", "mean_likes", "mean_comments",
)  # fmt: skip
_OF_THE_ROW_ITSELF = 2
"The first ones of STATISTICS tell of the row, the others of the rows before it."
_TREND = STATISTICS.index("trend_entered")


@dataclass(frozen=True)
class M3Rooms:
    """The benchmark's rooms by start, their segments in time order, and what was counted in them."""

    frame: pl.DataFrame
    "(T rows) item_id, author_id, segment, start_ms, end_ms."
    offsets: IntArray
    "(R + 1,) room r = rows offsets[r]:offsets[r + 1]."
    entered: IntArray
    "(T,) E: sessions that began by the segment's start; leavers stay counted."
    stayed: IntArray
    "(T,) S: those of them that lasted until the segment's end."
    likes: IntArray
    "(T,) inside the segment; 0 where the dataset has none."
    comments: IntArray
    "(T,)"

    @classmethod
    def of(cls, dataset: DatasetFolder, max_rooms: int = MAX_ROOMS) -> Self:
        """From sessions (entered impressions: time_ms, watch_ms) and the counters likes and comments.

        :raises DataError: no segments, items, sessions or counters, or no room with enough of them.
        """
        segments, items = dataset.segments(), dataset.items()
        if segments is None or items is None or not {"author_id", "start_ms"} <= set(items.columns):
            raise DataError(dataset.path, "has no live rooms", fix="read a live source: `segrec read kuailive_m3`")
        counted = set(segments.collect_schema().names()) & {"likes", "comments"}
        if not counted:
            raise DataError(dataset.path, "has no counts of likes or comments", fix="read a source that has them")
        sessions = _sessions(dataset, max_rooms)
        rooms = items.select("item_id", "author_id", _begun="start_ms").join(
            sessions.select("item_id").unique(), on="item_id", how="semi"
        )
        frame = (
            segments.select("item_id", "segment", "start_ms", "end_ms", *sorted(counted))
            .join(rooms.lazy(), on="item_id")
            .sort("_begun", "item_id", "end_ms")
            .collect()
        )
        return cls._counted(dataset, frame, sessions)

    @classmethod
    def _counted(cls, dataset: DatasetFolder, frame: pl.DataFrame, sessions: pl.DataFrame) -> Self:
        entered, stayed = _sessions_at(frame, sessions)
        counts = frame.with_columns(_entered=pl.Series(entered), _stayed=pl.Series(stayed))
        enough = (pl.len() >= MIN_SEGMENTS) & (pl.col("_entered").max() >= MIN_ENTERED)
        kept = counts.filter(enough.over("item_id"))
        if kept.is_empty():
            raise DataError(
                dataset.path, "has no room with enough segments and sessions",
                expected=f"{MIN_SEGMENTS} segments and {MIN_ENTERED} sessions", fix="read a longer log",
            )  # fmt: skip
        sizes = kept.group_by("item_id", maintain_order=True).len()["len"].to_numpy().astype(np.int64)
        numbers = [
            kept[name].fill_null(0).to_numpy().astype(np.int64) if name in kept.columns else np.zeros(kept.height, int)
            for name in ("_entered", "_stayed", "likes", "comments")
        ]
        shown = kept.select("item_id", "author_id", "segment", "start_ms", "end_ms")
        return cls(shown, np.append(0, sizes.cumsum()), *numbers)

    @cached_property
    def sizes(self) -> IntArray:
        """(R,) K of each room."""
        return np.diff(self.offsets)

    @cached_property
    def room(self) -> IntArray:
        """(T,)"""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @cached_property
    def place(self) -> IntArray:
        """(T,) segments of the room before each."""
        return np.arange(len(self.room)) - self.offsets[self.room]

    @cached_property
    def split(self) -> npt.NDArray[np.str_]:
        """(R,) train, valid or test: by room start."""
        count = len(self.sizes)
        train, valid = int(TRAIN_SHARE * count), int(VALID_SHARE * count)
        return np.repeat(np.array(["train", "valid", "test"]), [train, valid, count - train - valid])

    @cached_property
    def score(self) -> FloatArray:
        """(T,) 0.6 lvtr' + 0.4 engagement', each min-maxed inside its whole room (0 where constant)."""
        below = np.maximum(self.entered, 1)
        engagement = (self.likes + COMMENT_WORTH * self.comments) / below
        return LVTR_SHARE * self._scaled(self.stayed / below) + ENGAGEMENT_SHARE * self._scaled(engagement)

    @cached_property
    def binary(self) -> npt.NDArray[np.int8]:
        """(T,) 1 where the score reaches its room's 70th percentile: 30% of the segments, more where scores tie."""
        bounds = zip(self.offsets[:-1], self.offsets[1:], strict=True)
        border = [np.percentile(self.score[first:last], HIGHLIGHT_PERCENTILE) for first, last in bounds]
        return (self.score >= np.array(border)[self.room]).astype(np.int8)

    @cached_property
    def statistics(self) -> npt.NDArray[np.float32]:
        """(T, 10) STATISTICS of each row, all but the trend min-maxed over all rows of all splits."""
        first, last = self.offsets[self.room], np.arange(len(self.room))
        recent = np.maximum(first, last - PAST_ROWS)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = [_mean(column, recent, last) for column in (self.entered, self.likes, self.comments)]
            spread = np.sqrt(self._squares(means[0]) / (last - recent - 1))
        trend = np.where(self.place > 0, means[0] - np.roll(means[0], 1), np.nan)
        length = self.frame.select((pl.col("end_ms") - pl.col("start_ms")) / 1000).to_series().to_numpy()
        sums = [_total(column, first, last) for column in (self.entered, self.likes, self.comments)]
        columns = [
            (self.place + 1) / self.sizes[self.room],
            np.log1p(length),
            *sums,
            means[0],
            spread,
            trend,
            *means[1:],
        ]
        table = np.nan_to_num(np.stack(columns, axis=1))
        scaled = _min_maxed(table)
        scaled[:, _TREND] = np.clip(table[:, _TREND], -1, 1)
        return scaled.astype(np.float32)

    def positions(self, split: Split | None = None) -> M3Positions:
        """Where something is predicted in the rooms of `split` (all by default)."""
        used = self.place < np.minimum(self.sizes, MAX_SEGMENTS)[self.room] - 1
        if split is not None:
            used &= (self.split == split)[self.room]
        rows = np.flatnonzero(used)
        sizes = np.bincount(self.room[rows], minlength=len(self.sizes))
        return M3Positions(self, rows, np.append(0, sizes[sizes > 0].cumsum()))

    def _squares(self, means: FloatArray) -> FloatArray:
        """(T,) sum of (E - mean)^2 over the last rows before each."""
        total = np.zeros(len(means))
        for back in range(1, PAST_ROWS + 1):
            total += np.where(self.place >= back, (np.roll(self.entered, back) - means) ** 2, 0)
        return total

    def _scaled(self, values: FloatArray) -> FloatArray:
        low, high = (ufunc.reduceat(values, self.offsets[:-1])[self.room] for ufunc in (np.minimum, np.maximum))
        span = high - low
        scaled: FloatArray = np.where(span > 0, (values - low) / np.where(span > 0, span, 1), 0.0)
        return scaled


@dataclass(frozen=True)
class M3Positions:
    """Positions t = 0 .. K-2 of some rooms: segment t is given, the score of t + 1 is asked for. P positions."""

    rooms: M3Rooms
    rows: IntArray
    "(P,) row of segment t."
    offsets: IntArray
    "(Q + 1,) positions offsets[q]:offsets[q + 1] are one room's."

    @property
    def keys(self) -> pl.DataFrame:
        """(P rows) item_id, segment of segment t."""
        return self.rooms.frame[self.rows].select("item_id", "segment")

    @property
    def score(self) -> FloatArray:
        """(P,) of segment t + 1."""
        return self.rooms.score[self.rows + 1]

    @property
    def binary(self) -> npt.NDArray[np.int8]:
        """(P,) of segment t + 1."""
        return self.rooms.binary[self.rows + 1]

    @property
    def statistics(self) -> npt.NDArray[np.float32]:
        """(P, 10) inputs: place and length of row t, the rest of row t + 1, whose history ends at t."""
        table = self.rooms.statistics[self.rows + 1]
        table[:, :_OF_THE_ROW_ITSELF] = self.rooms.statistics[self.rows, :_OF_THE_ROW_ITSELF]
        return table


def _sessions(dataset: DatasetFolder, max_rooms: int) -> pl.DataFrame:
    """item_id, time_ms, end_ms of the sessions of the rooms that have most of them."""
    entered = dataset.interactions().filter((pl.col("is_click") == 1) & (pl.col("watch_ms") >= 0))
    counts = entered.group_by("item_id").len().sort("len", "item_id", descending=[True, False]).head(max_rooms)
    sessions = entered.select("item_id", "time_ms", end_ms=pl.col("time_ms") + pl.col("watch_ms"))
    found = sessions.join(counts.select("item_id"), on="item_id", how="semi").collect()
    if found.is_empty():
        raise DataError(dataset.path, "has no session (entered impression)", fix="read a source with watch sessions")
    return found


def _sessions_at(frame: pl.DataFrame, sessions: pl.DataFrame) -> tuple[IntArray, IntArray]:
    """E and S (T,): a session counts in S from the first segment that starts after it to the last that ends before."""
    codes = frame.select("item_id").unique(maintain_order=True).with_row_index("room")
    room = frame.join(codes, on="item_id", how="left", maintain_order="left")["room"].to_numpy().astype(np.int64)
    held = sessions.join(codes, on="item_id").select("room", "time_ms", "end_ms")
    begin = min(int(frame["start_ms"].min() or 0), int(held["time_ms"].min() or 0))  # type: ignore[arg-type]
    latest = max(int(frame["end_ms"].max() or 0), int(held["end_ms"].max() or 0))  # type: ignore[arg-type]
    span = latest - begin + 2

    def keys(rooms: IntArray, times: pl.Series) -> IntArray:
        return rooms * span + (times.to_numpy().astype(np.int64) - begin)

    of_session = held["room"].to_numpy().astype(np.int64)
    first = np.searchsorted(keys(room, frame["start_ms"]), keys(of_session, held["time_ms"]))
    until = np.searchsorted(keys(room, frame["end_ms"]), keys(of_session, held["end_ms"]), side="right")
    room_end = np.searchsorted(room, of_session, side="right")
    entered = _running(first, room_end, len(room))
    return entered, _running(first, np.maximum(first, until), len(room))


def _running(first: IntArray, until: IntArray, count: int) -> IntArray:
    """(count,) how many of the ranges first:until each place lies in."""
    steps = np.bincount(first, minlength=count + 1) - np.bincount(until, minlength=count + 1)
    return steps[:count].cumsum().astype(np.int64)


def _total(column: npt.NDArray[np.number], first: IntArray, until: IntArray) -> FloatArray:
    running: FloatArray = np.append(0.0, np.cumsum(column, dtype=np.float64))
    found: FloatArray = running[until] - running[first]
    return found


def _mean(column: npt.NDArray[np.number], first: IntArray, until: IntArray) -> FloatArray:
    return _total(column, first, until) / (until - first)


def _min_maxed(table: FloatArray) -> FloatArray:
    low, span = table.min(axis=0), np.ptp(table, axis=0)
    scaled: FloatArray = (table - low) / np.where(span > 0, span, 1)
    return scaled
