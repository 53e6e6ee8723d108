"""A log with damaged shards: the shard is named and the run stops, or its rows are left out and counted."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from segrec.records import DataError, DatasetFolder
from segrec.records.shards import DAMAGE, Damage, find_damage

SKIPPED = "skipped.json"
_log = logging.getLogger(__name__)


@contextmanager
def readable(dataset: DatasetFolder, on_corrupt: Literal["stop", "skip"]) -> Iterator[DatasetFolder]:
    """Yields the dataset; under "skip" without the row groups that cannot be read, each of which is read once to know.

    Several processes find the same: what is left out is known before the first batch. A shard that is damaged later
    stops the run.

    :raises DataError: a file is gone or damaged (the first one is named), or nothing is left.
    """
    if on_corrupt == "skip":
        damages = find_damage(dataset.interaction_files(), dataset.path)
        dataset = replace(dataset, left_out=tuple(damages))
    _check_rows(dataset, on_corrupt)
    try:
        yield dataset
    except DAMAGE:
        damages = find_damage(dataset.interaction_files(), dataset.path)
        first = next((damage for damage in damages if damage not in dataset.left_out), None)
        if first is None:
            raise
        raise DataError(
            dataset.path / first.file, _what(first) + " cannot be read", found=first.reason,
            fix="write it again, or leave damaged shards out (data.on_corrupt=skip)",
        ) from None  # fmt: skip


def write_skipped(folder: Path, dataset: DatasetFolder) -> None:
    """Writes skipped.json, and one line a file to the log, where something was left out."""
    rows = rows_left_out(dataset)
    if not dataset.left_out and rows <= 0:
        return
    told = {"rows": rows, "shards": [damage.model_dump() for damage in dataset.left_out]}
    (folder / SKIPPED).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if not dataset.left_out:
        _log.warning("%s: %s rows are in no file any more", dataset.path, f"{rows:,}")
    for file in dict.fromkeys(damage.file for damage in dataset.left_out):
        of_file = [damage for damage in dataset.left_out if damage.file == file]
        _log.warning("%s is left out: %s (%s)", file, ", ".join(map(_what, of_file)), of_file[0].reason)


def rows_left_out(dataset: DatasetFolder) -> int:
    """Rows that dataset.json tells of and that nobody can read."""
    return sum(dataset.meta.rows.values()) - sum(group.rows for group in dataset.row_groups())


def skipped_note(folder: Path) -> str | None:
    """One line about what a run left out, if anything."""
    file = folder / SKIPPED
    if not file.is_file():
        return None
    told = json.loads(file.read_text(encoding="utf-8"))
    return f"{told['rows']:,} rows in damaged or lost shards were left out: see {file}"


def _check_rows(dataset: DatasetFolder, on_corrupt: Literal["stop", "skip"]) -> None:
    """Day files that are gone show in the number of rows."""
    expected, left = sum(dataset.meta.rows.values()), sum(group.rows for group in dataset.row_groups())
    if not left:
        raise DataError(dataset.path, "no readable interactions are left", fix="read the source again")
    if on_corrupt == "stop" and left < expected:
        raise DataError(
            dataset.path, "interactions lack rows: a day file is gone", found=f"{left:,}", expected=f"{expected:,}",
            fix="read the source again, or go on without them (data.on_corrupt=skip)",
        )  # fmt: skip


def _what(damage: Damage) -> str:
    return "the whole file" if damage.row_group is None else f"row group {damage.row_group}"
