"""What a page is made of: the runs in a folder, every metric row beside them, their data and their scores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ranking.id_report import FILE as ID_REPORT
from segrec.encoders import find_encoder
from segrec.records import (
    DataError,
    DatasetFolder,
    DatasetMeta,
    MetricRow,
    RunFolder,
    RunMeta,
    ScoreTable,
    read_metric_rows,
)


@dataclass(frozen=True)
class RunRecord:
    """One run as the page tells it."""

    folder: RunFolder
    rows: tuple[MetricRow, ...]
    "Of metrics.json and of every `evaluate --out` file in the run folder."
    dataset: DatasetFolder | None
    "None where the dataset folder is gone or has changed since."
    scores: ScoreTable | None
    "The score table that the run used, or one that lies beside it."

    @property
    def meta(self) -> RunMeta:
        """run.json."""
        return self.folder.meta

    @property
    def label(self) -> str:
        """The run folder's own name."""
        return self.folder.path.resolve().name

    @property
    def task(self) -> Literal["skip", "ctr", "highlight"]:
        """What its metric rows are about."""
        if self.meta.kind == "encoder":
            return find_encoder(self.meta.name).task
        return "highlight" if self.meta.rows == "segments" else "ctr"

    @property
    def of_rooms(self) -> bool:
        """Whether it is about live rooms, which have no length and no views that end at one."""
        if self.task == "highlight":
            return True
        return (
            self.task == "ctr"
            and self.dataset is not None
            and self.dataset.segments() is not None
            and bool(self.dataset.meta.rates)
        )

    @property
    def dataset_meta(self) -> DatasetMeta | None:
        """dataset.json, where the dataset is still there."""
        return None if self.dataset is None else self.dataset.meta


@dataclass(frozen=True)
class Gathered:
    """A run, or the runs of one folder."""

    path: Path
    runs: tuple[RunRecord, ...]
    rows: tuple[MetricRow, ...]
    "Of all runs and of the folder itself, each once."


def gather(path: Path) -> Gathered:
    """What lies in a run folder, or in a folder that holds run folders.

    :raises DataError: no run there, or a metric file that does not parse.
    """
    if (path / "run.json").is_file():
        run = _record(RunFolder.open(path), beside=path.resolve().parent)
        return Gathered(path, (run,), run.rows)
    folders = sorted(file.parent for file in path.glob("*/run.json"))
    if not folders:
        raise DataError(
            path, "is not a run folder, nor does it hold any (run.json is missing)",
            fix="pass what `segrec fit` or `segrec rank` wrote",
        )  # fmt: skip
    runs = _apart(_record(RunFolder.open(folder), beside=path) for folder in folders)
    own = [row for run in runs for row in run.rows]
    return Gathered(path, runs, tuple(dict.fromkeys([*own, *_metric_rows(path)])))


def _record(folder: RunFolder, beside: Path) -> RunRecord:
    dataset = _dataset(folder)
    rows = tuple(dict.fromkeys(_metric_rows(folder.path)))
    return RunRecord(folder, rows, dataset, _scores(folder, beside, dataset))


def _apart(records: Iterable[RunRecord]) -> tuple[RunRecord, ...]:
    """Two runs of one model get their folder's name in the rows, so that they can be told apart."""
    listed = sorted(records, key=lambda run: (run.meta.kind, run.label))
    models = [run.meta.model for run in listed]
    return tuple(run if models.count(run.meta.model) == 1 else _named(run) for run in listed)


def _named(run: RunRecord) -> RunRecord:
    own = run.meta.model

    def shown(row: MetricRow) -> MetricRow:
        return row.model_copy(update={"model": f"{own} ({run.label})"}) if row.model == own else row

    return replace(run, rows=tuple(shown(row) for row in run.rows))


def _metric_rows(folder: Path) -> Iterator[MetricRow]:
    for file in sorted(folder.glob("*.json")):
        if file.name not in ("run.json", ID_REPORT) and _holds_rows(file):
            yield from read_metric_rows(file)


def _holds_rows(file: Path) -> bool:
    """A list of objects; a run folder may hold other JSON."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return isinstance(found, list) and all(isinstance(row, dict) for row in found)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(file, "is not JSON", found=reason, fix="write it again with `segrec evaluate`") from None


def _dataset(folder: RunFolder) -> DatasetFolder | None:
    for path in (Path(folder.meta.dataset), folder.path / folder.meta.dataset):
        if (path / "dataset.json").is_file():
            dataset = DatasetFolder.open(path)
            return dataset if dataset.meta.fingerprint == folder.meta.dataset_fingerprint else None
    return None


def _scores(folder: RunFolder, beside: Path, dataset: DatasetFolder | None) -> ScoreTable | None:
    """The ranker's own table; for an encoder a table of this dataset in the run folder, or next to it."""
    if folder.meta.scores is not None:
        named = [Path(folder.meta.scores), beside / Path(folder.meta.scores).name]
    elif folder.meta.kind == "encoder" and dataset is not None:
        named = [*sorted(folder.path.glob("*.parquet")), *sorted(beside.glob("*.parquet"))]
    else:
        return None
    for file in named:
        table = _open(file)
        if table is not None and (dataset is None or table.meta.dataset_fingerprint == dataset.meta.fingerprint):
            return table
    return None


def _open(file: Path) -> ScoreTable | None:
    try:
        return ScoreTable.open(file)
    except DataError:
        return None
