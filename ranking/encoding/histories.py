"""All past events of a dataset by user and end, sorted once and kept beside it: what histories are windows into."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.encoding.column_values import id_values
from ranking.encoding.feature_fitting import vocabulary_of
from ranking.encoding.feature_spec import HistoryConfig
from ranking.encoding.history_features import ALL_EVENTS
from ranking.rows.row_context import RowContext
from segrec.records import DataError, DatasetFolder, new_folder
from segrec.segments.history import END_MS, EndedEvents, IntArray
from segrec.tables import Vocabulary

FOLDER = "histories"
"Inside the dataset folder; it may be deleted at any time."
_FORMAT = 1
_ROWS_AT_ONCE = 4_000_000
_MS_A_DAY = 86_400_000


@dataclass(frozen=True)
class EventColumn:
    """One column of V events."""

    vocabulary: Vocabulary
    "The column's different values."
    places: npt.NDArray[np.int32]
    "(V,) each event's place in `values`."

    @property
    def values(self) -> pl.Series:
        """Different values at their places; null at 0 (missing) and at 1 (never used)."""
        ids = self.vocabulary.ids
        return pl.concat([pl.Series(ids.name, [None, None], dtype=ids.dtype), ids])


@dataclass(frozen=True)
class HistoryStore:
    """The events of all splits; an impression's history is the window of its user's that ended strictly before it."""

    ended: EndedEvents
    columns: dict[str, EventColumn]

    @classmethod
    def of(cls, dataset: DatasetFolder, columns: Sequence[str], events: str = ALL_EVENTS) -> Self:
        """The store of `dataset`: opened from its folder, or built, and written there where that is possible.

        Memory follows the ids and, while building, 40 + 8 * columns bytes an event (the arrays, their order, and the
        arrays in that order); afterwards the arrays are mapped from their files. In a dataset folder that cannot be
        written they stay in memory.

        :param columns: what past events show: columns of interactions, `hour` and the like included.
        :param events: "all", or a flag: only events where it is set.
        :raises DataError: the dataset lacks user_id, the flag or a column.
        """
        columns = tuple(sorted(set(columns)))
        told = _told(dataset, columns, events)
        folder = dataset.path / FOLDER / hashlib.sha256(json.dumps(told["what"]).encode()).hexdigest()[:16]
        found = cls._open(folder, told)
        if found is not None:
            return found
        with _alone(folder.parent) as writable:
            found = cls._open(folder, told) if writable else None
            if found is not None:
                return found
            built = cls._build(dataset, columns, events)
            return (built._kept(folder, told) if writable else None) or built

    def windows(self, rows: pl.DataFrame, history: HistoryConfig) -> tuple[IntArray, IntArray]:
        """(start, end) of each row's history (n,); an unknown user's is empty.

        :param rows: user_id, time_ms.
        """
        age = None if history.max_age_days is None else int(history.max_age_days * _MS_A_DAY)
        asked = rows.select(id_values(rows["user_id"]), "time_ms")
        return self.ended.windows(asked, history.length or 0, age)

    @classmethod
    def _build(cls, dataset: DatasetFolder, columns: Sequence[str], events: str) -> Self:
        context = RowContext.of(dataset)
        wanted = _wanted(dataset, columns, events)
        rows = context.added(dataset.interactions().filter(wanted), columns)
        users = vocabulary_of(rows, "user_id")
        values = {column: vocabulary_of(rows, column) for column in columns}
        count = int(users.counts.sum())
        user, time, end = np.empty(count, np.int32), np.empty(count, np.int64), np.empty(count, np.int64)
        places = {column: np.empty(count, dtype=np.int32) for column in columns}
        start = 0
        for part in _parts(dataset, context, wanted, columns):
            inside = slice(start, start := start + part.height)
            user[inside] = users.encode(id_values(part["user_id"]))
            time[inside], end[inside] = part["time_ms"].to_numpy(), part["end_ms"].to_numpy()
            for column in columns:
                places[column][inside] = values[column].encode(id_values(part[column]))
        order = np.lexsort((time, end, user))
        last = np.cumsum(users.counts.to_numpy().astype(np.int64))
        bounds = pl.DataFrame({"user_id": users.ids, "first": last - users.counts.to_numpy(), "last": last})
        return cls(
            EndedEvents(bounds, end[order]),
            {column: EventColumn(values[column], places[column][order]) for column in columns},
        )

    def _kept(self, folder: Path, told: dict[str, Any]) -> Self | None:
        """The same, mapped from files in `folder`; None where they could not be written."""
        try:
            with new_folder(folder, overwrite=True) as building:
                self.ended.users.write_parquet(building / "users.parquet", compression="zstd")
                np.save(building / "ends.npy", self.ended.ends)
                for place, name in enumerate(told["what"]["columns"]):
                    column = self.columns[name]
                    column.vocabulary.to_frame().write_parquet(building / f"{place:02d}.parquet", compression="zstd")
                    np.save(building / f"{place:02d}.npy", column.places)
                (building / "histories.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
        except (DataError, OSError):
            return None
        return self._open(folder, told)

    @classmethod
    def _open(cls, folder: Path, told: dict[str, Any]) -> Self | None:
        """What `_kept` wrote; None where it is missing, damaged or of other rows."""
        try:
            if json.loads((folder / "histories.json").read_text(encoding="utf-8")) != told:
                return None
            users = pl.read_parquet(folder / "users.parquet")
            columns = {
                name: EventColumn(
                    Vocabulary.from_frame(pl.read_parquet(folder / f"{place:02d}.parquet")),
                    np.load(folder / f"{place:02d}.npy", mmap_mode="r"),
                )
                for place, name in enumerate(told["what"]["columns"])
            }
            return cls(EndedEvents(users, np.load(folder / "ends.npy", mmap_mode="r")), columns)
        except (OSError, ValueError, DataError, pl.exceptions.PolarsError):
            return None


def _told(dataset: DatasetFolder, columns: Sequence[str], events: str) -> dict[str, Any]:
    """What a store is of; another one is not opened."""
    files = [[str(file.relative_to(dataset.path)), file.stat().st_size, file.stat().st_mtime_ns]
             for file in dataset.interaction_files()]  # fmt: skip
    return {
        "what": {"events": events, "columns": list(columns), "format": _FORMAT},
        "fingerprint": dataset.meta.fingerprint, "utc_offset_hours": dataset.meta.utc_offset_hours, "files": files,
        "left_out": [[damage.file, damage.row_group] for damage in dataset.left_out],
    }  # fmt: skip


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Holds the lock of `folder`: of several processes one builds, the others find. False: it cannot be written."""
    try:
        folder.mkdir(exist_ok=True)
        lock = (folder / ".lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        yield False
        return
    with lock:
        yield True


def _wanted(dataset: DatasetFolder, columns: Sequence[str], events: str) -> pl.Expr:
    """True for events: rows with a user and a known end (and the flag)."""
    schema = dataset.interactions().collect_schema().names()
    flag = () if events == ALL_EVENTS else (events,)
    own = [column for column in columns if column not in RowContext.of(dataset).names]
    for column in ("user_id", "watch_ms", *flag, *own):
        if column not in schema:
            raise DataError(
                dataset.path, f"interactions lack column {column!r}, which this run's histories use",
                found=", ".join(schema), fix="read the source with it, or train without (features.history.length=0)",
            )  # fmt: skip
    known = pl.col("user_id").is_not_null() & END_MS.is_not_null()
    return known if not flag else known & (pl.col(events).cast(pl.Float64) > 0).fill_null(False)


def _parts(
    dataset: DatasetFolder, context: RowContext, wanted: pl.Expr, columns: Sequence[str]
) -> Iterator[pl.DataFrame]:
    """user_id, time_ms, end_ms and `columns` of the events, oldest day first, some rows at a time."""
    rows, names = dataset.interactions(), dict.fromkeys(["user_id", "time_ms", *columns])
    for start in range(0, rows.select(pl.len()).collect().item(), _ROWS_AT_ONCE):
        events = context.added(rows.slice(start, _ROWS_AT_ONCE).filter(wanted), columns)
        yield events.select(*names, END_MS.alias("end_ms")).collect()
