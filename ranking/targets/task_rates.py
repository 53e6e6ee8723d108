"""Lagged rates of several labels side by side, and of labels that are no chances."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ranking.rows.encoded_rows import EncodedRows
from ranking.targets.label_rates import LabelRates
from ranking.targets.labels import AnyLabel, EffectiveViewLabel, FlagLabel, JointLabel, SingleLabel, tasks_of


@dataclass(frozen=True)
class TaskRates:
    """The lagged rates of each task: a row's columns are those of all of them."""

    by_task: dict[str, LabelRates]

    @property
    def names(self) -> list[str]:
        """Names of the dense columns."""
        return [f"{name}_{task}" for task, rates in self.by_task.items() for name in rates.names]

    def columns(self, encoded: EncodedRows) -> npt.NDArray[np.float32]:
        """(n, columns of all tasks), standardised."""
        return np.concatenate([rates.columns(encoded) for rates in self.by_task.values()], axis=1)

    def save(self, file: Path) -> None:
        """One safetensors file a task, beside `file`."""
        for task, rates in self.by_task.items():
            rates.save(_of_task(file, task))


AnyRates = LabelRates | TaskRates


def fit_rates(
    train: Callable[[], Iterable[EncodedRows]],
    label: AnyLabel,
    features: Sequence[str],
    sizes: Mapping[str, int],
    strength: float,
) -> AnyRates:
    """Lagged rates of each task of `label` over the rows that have it; `train` as for `LabelRates.fit`.

    A watch time counts with its share u / (1 + u) (see `WatchTimeLabel`).
    """

    def fitted(task: SingleLabel, rows: Callable[[], Iterable[EncodedRows]]) -> LabelRates:
        fractional = not isinstance(task, FlagLabel | EffectiveViewLabel)
        return LabelRates.fit(rows, features, sizes, base=task.rate, strength=strength, fractional=fractional)

    if isinstance(label, JointLabel):
        # `rows` is called at once: each task has its own.
        return TaskRates(
            {
                task.name: fitted(task, lambda task=task, place=place: _rows_of(train(), task, place))  # type: ignore[misc]
                for place, task in enumerate(label.tasks)
            }
        )
    return fitted(label, lambda: _with_shares(train(), label))


def load_rates(file: Path, label: AnyLabel) -> AnyRates:
    """What `save` wrote for the rates of `label`.

    :raises DataError: a file is missing or damaged.
    """
    if isinstance(label, JointLabel):
        return TaskRates({task.name: LabelRates.load(_of_task(file, task.name)) for task in tasks_of(label)})
    return LabelRates.load(file)


def _with_shares(parts: Iterable[EncodedRows], task: SingleLabel) -> Iterator[EncodedRows]:
    return (_counted(part, task.shares(part.labels), slice(None)) for part in parts)


def _rows_of(parts: Iterable[EncodedRows], task: SingleLabel, place: int) -> Iterator[EncodedRows]:
    """The rows that have the task's label."""
    for part in parts:
        known = np.flatnonzero(~np.isnan(part.labels[:, place]))
        yield _counted(part, task.shares(part.labels[known, place]), known)


def _counted(part: EncodedRows, shares: npt.NDArray[np.float32], places: npt.NDArray[np.int64] | slice) -> EncodedRows:
    """What rates are counted from."""
    nothing = np.zeros((len(shares), 0), dtype=np.float32)
    return EncodedRows(part.ids[:, places], {}, nothing, labels=shares, spans=part.spans[places])


def _of_task(file: Path, task: str) -> Path:
    return file.with_name(f"{file.stem}.{task}{file.suffix}")
