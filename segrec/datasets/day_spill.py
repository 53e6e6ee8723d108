"""Rows cut by day on disk, then given back day by day: sorted, without exact duplicates, in bounded memory."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from segrec.records import KEY

FLUSH_ROWS = 1_000_000
"Rows held in memory before they go to their days."
RUN_ROWS = 500_000
"A day with more rows is taken in slices of whole hours."

_HOUR_MS = 3_600_000
_ORDER = ("time_ms", "user_id", "item_id")


@dataclass
class DaySpill:
    """Takes frames in any order, keeps them by day (of the source's clock) under `folder`."""

    folder: Path
    utc_offset_hours: float
    finish: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame
    "Applied to about a million rows at a time (joins)."
    hours: Counter[int] = field(default_factory=Counter)
    "Rows of each hour since the epoch in the source's clock."
    _held: list[pl.DataFrame] = field(default_factory=list)
    _rows: int = 0
    _flushes: int = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Takes the rows of `frame`."""
        self._held.append(frame)
        self._rows += frame.height
        if self._rows >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes what is held to the days' folders."""
        if not self._held:
            return
        frame = self.finish(pl.concat(self._held)).with_columns(_hour=self._hour())
        self._held, self._rows = [], 0
        self.hours.update(dict(frame["_hour"].value_counts().iter_rows()))
        days = (
            frame.with_columns(_day=pl.col("_hour") // 24)
            .drop("_hour")
            .partition_by("_day", as_dict=True, include_key=False)
        )
        for (day,), rows in days.items():
            folder = self.folder / f"{day}"
            folder.mkdir(parents=True, exist_ok=True)
            rows.write_ipc(folder / f"{self._flushes:06}.arrow", compression="lz4")
        self._flushes += 1

    def runs(self, dropped: Counter[str]) -> Iterator[tuple[int, pl.DataFrame]]:
        """(day since the epoch, rows sorted by time_ms, user_id, item_id), oldest first; counts duplicates.

        Consumes the spill: it can be read once.
        """
        self.flush()
        for day in sorted({hour // 24 for hour in self.hours}):
            for folder in self._sliced(day):
                frame = pl.concat([pl.read_ipc(file) for file in sorted(folder.iterdir())])
                shutil.rmtree(folder)
                kept = sorted_without_duplicates(frame)
                if kept.height < frame.height:
                    dropped["exact duplicate"] += frame.height - kept.height
                yield day, kept

    def _hour(self) -> pl.Expr:
        return (pl.col("time_ms") + round(self.utc_offset_hours * _HOUR_MS)) // _HOUR_MS

    def _sliced(self, day: int) -> list[Path]:
        """Folders whose rows follow each other in time: the day's own, or one for each of its slices."""
        whole, starts = self.folder / f"{day}", self._slice_starts(day)
        if len(starts) == 1:
            return [whole]
        number = pl.sum_horizontal(self._hour() >= start for start in starts)
        folders = [self.folder / f"{day}-{index:02}" for index in range(1, len(starts) + 1)]
        for folder in folders:
            folder.mkdir()
        for file in sorted(whole.iterdir()):
            cut = pl.read_ipc(file).with_columns(_slice=number)
            for (index,), rows in cut.partition_by("_slice", as_dict=True, include_key=False).items():
                rows.write_ipc(folders[index - 1] / file.name, compression="lz4")
            file.unlink()
        return folders

    def _slice_starts(self, day: int) -> list[int]:
        """First hours of slices of at most RUN_ROWS rows, where single hours allow."""
        starts, held = [day * 24], 0
        for hour in range(day * 24, day * 24 + 24):
            if held and held + self.hours[hour] > RUN_ROWS:
                starts.append(hour)
                held = 0
            held += self.hours[hour]
        return starts


def sorted_without_duplicates(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows in order of time_ms, user_id, item_id, then of all other columns; exact duplicates once."""
    ordered = frame.sort(_ORDER)
    same_key = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in KEY).fill_null(False)
    tied = ordered.select(tied=same_key | same_key.shift(-1, fill_value=False))["tied"]
    if not tied.any():
        return ordered
    others = [name for name in frame.columns if name not in _ORDER]
    unique = ordered.filter(tied).unique(maintain_order=True).sort([*_ORDER, *others])
    return pl.concat([ordered.filter(~tied), unique]).sort(_ORDER, maintain_order=True)


class StoredRuns:
    """Runs kept on disk, so that a split can look at all rows before it is assigned."""

    def __init__(self, folder: Path, runs: Iterator[tuple[int, pl.DataFrame]]) -> None:
        folder.mkdir()
        self._folder = folder
        self.heights: list[int] = []
        self._days: list[int] = []
        for day, frame in runs:
            frame.write_ipc(self._file(len(self.heights)), compression="lz4")
            self.heights.append(frame.height)
            self._days.append(day)

    def read(self, run: int, columns: Sequence[str]) -> pl.DataFrame:
        """Those columns of a run."""
        return pl.read_ipc(self._file(run), columns=list(columns))

    def __iter__(self) -> Iterator[tuple[int, pl.DataFrame]]:
        for run, day in enumerate(self._days):
            yield day, pl.read_ipc(self._file(run))

    def _file(self, run: int) -> Path:
        return self._folder / f"{run:06}.arrow"
