"""The scores of an impression in a score table: of its own, of its video, or of its live room up to that moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import KEY, DataError, DatasetFolder, ScoreTable, Split

Jagged = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
"Scores of all rows one after another, and offsets (n + 1,)."

LIVE_WINDOW = 20
"Newest ended segments of a live room that an impression gets the scores of."


@dataclass(frozen=True)
class LiveScores:
    """Scores of live rooms as they come in: a segment's score is there from the segment's end on."""

    frame: pl.DataFrame
    "item_id, end_ms, score; rooms one after another, each by end_ms."
    window: int

    @classmethod
    def of(cls, table: ScoreTable, window: int) -> Self:
        """:raises DataError: a room has two scores that end at one time."""
        columns = ["item_id", "end_ms", pl.col("score").cast(pl.Float32)]
        frame = table.frame().select(columns).collect().sort("item_id", "end_ms")
        twice = frame.filter(frame.select("item_id", "end_ms").is_duplicated())
        if twice.height:
            item, end_ms, _ = twice.row(0)
            raise DataError(
                table.path, "holds two scores of one moment", found=f"item_id {item}, end_ms {end_ms}",
                fix="score the dataset again",
            )  # fmt: skip
        return cls(frame, window)

    def at(self, rows: pl.DataFrame) -> Jagged:
        """Scores of the newest `window` segments with end_ms <= time_ms of each row's room, oldest first.

        :param rows: item_id (of the table's type), time_ms.
        """
        place = rows.select("item_id").join(self._rooms, on="item_id", how="left", maintain_order="left")
        room = place["room"].fill_null(0).to_numpy()
        ended = np.clip(rows["time_ms"].to_numpy() - self._first_ms, -1, self._span - 1)
        end = np.searchsorted(self._ended, room * self._span + ended, side="right")
        begin = np.maximum(end - self.window, self._offsets[room])
        lengths = np.where(place["room"].is_null().to_numpy(), 0, np.maximum(end - begin, 0))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        where = np.arange(offsets[-1]) + np.repeat(begin - offsets[:-1], lengths)
        return self.frame["score"].to_numpy()[where], offsets

    @cached_property
    def _rooms(self) -> pl.DataFrame:
        """item_id, room (0, 1, ..), segments."""
        counted = self.frame.group_by("item_id", maintain_order=True).agg(segments=pl.len())
        return counted.with_columns(room=pl.int_range(pl.len(), dtype=pl.Int64))

    @cached_property
    def _offsets(self) -> npt.NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self._rooms["segments"].to_numpy())]).astype(np.int64)

    @cached_property
    def _first_ms(self) -> int:
        return int(self.frame["end_ms"].min() or 0)  # type: ignore[arg-type]

    @cached_property
    def _span(self) -> int:
        """Longer than the time from the first end to the last: rooms lie one after another on one axis."""
        return int(self.frame["end_ms"].max() or 0) - self._first_ms + 2  # type: ignore[arg-type]

    @cached_property
    def _ended(self) -> npt.NDArray[np.int64]:
        """(T,) when each segment ends, on that axis."""
        room = np.repeat(np.arange(len(self._offsets) - 1), np.diff(self._offsets))
        ended: npt.NDArray[np.int64] = room * self._span + self.frame["end_ms"].to_numpy() - self._first_ms
        return ended


@dataclass(frozen=True)
class ScoreLookup:
    """Finds the scores of impressions in a score table."""

    table: ScoreTable
    content: pl.DataFrame | None = None
    "item_id, scores: content tables, grouped once; personal ones are read piece by piece."
    live: LiveScores | None = None

    @classmethod
    def of(cls, table: ScoreTable, window: int = LIVE_WINDOW) -> Self:
        """Opens `table` for look-ups.

        :param window: of live tables: how many of the room's newest scores an impression gets.
        """
        if table.meta.form == "personal":
            return cls(table)
        if table.meta.form == "live":
            return cls(table, live=LiveScores.of(table, window))
        grouped = table.frame().sort("item_id", "segment").group_by("item_id", maintain_order=True)
        return cls(table, content=grouped.agg(pl.col("score").cast(pl.Float32).alias("scores")).collect())

    @property
    def key(self) -> list[str]:
        """Columns that an impression is found by."""
        if self.live is not None:
            return ["item_id", "time_ms"]
        return ["item_id"] if self.content is not None else list(KEY)

    def scores_of(self, rows: pl.DataFrame) -> Jagged:
        """Scores of `rows` (with the columns `key`), in their order; a row that the table lacks has none.

        :raises DataError: ids of another type than the table's.
        """
        if self.live is not None:
            typed = _same_types(rows.select("item_id"), self.live.frame, self.table.path)
            return self.live.at(typed.with_columns(rows["time_ms"].cast(pl.Int64)))
        if self.content is not None:
            found = self.content
        else:
            first, last = rows["time_ms"].min(), rows["time_ms"].max()
            near = self.table.frame().filter(pl.col("time_ms").is_between(first, last))
            found = near.select(*KEY, "scores").collect().unique(list(KEY), keep="first", maintain_order=True)
        joined = _same_types(rows.select(self.key), found, self.table.path).join(
            found, on=self.key, how="left", maintain_order="left"
        )
        return jagged_of(joined["scores"])


def check_scores(table: ScoreTable | None, dataset: DatasetFolder, splits: Sequence[Split]) -> None:
    """Refuses scores that must not be used to predict rows of `splits`.

    Of all rows together, those of train are no test: how their scores were made was told when training.

    :raises DataError: scores of another dataset or grid, or fitted on these rows.
    """
    if table is not None:
        for split in [split for split in splits if split != "train"] or splits:
            table.check_usable(dataset, split)


def jagged_of(scores: pl.Series) -> Jagged:
    """A list column as values and offsets; null and empty lists have length 0."""
    lists = scores.cast(pl.List(pl.Float32))
    lengths = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
    values = lists.filter(lists.list.len() > 0).explode().fill_null(float("nan")).to_numpy()
    return values.astype(np.float32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _same_types(rows: pl.DataFrame, found: pl.DataFrame, path: Path) -> pl.DataFrame:
    for name in rows.columns:
        expected = found.schema[name]
        if rows.schema[name] != expected:
            if not (rows.schema[name].is_integer() and expected.is_integer()):
                raise DataError(path, f"column {name!r} has another type", found=expected, expected=rows.schema[name])
            rows = rows.with_columns(pl.col(name).cast(expected))
    return rows
