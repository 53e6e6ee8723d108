"""Ranker runs and prediction files -> predictions on the same rows, under names that tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import yaml

from ranking.evaluation import Prediction
from ranking.measures.outcomes import Outcomes
from ranking.measures.prediction_files import read_predictions
from ranking.prediction import predict
from ranking.targets.labels import JOIN, SingleLabel, StoredLabel, tasks_of
from segrec.records import KEY, ConfigError, DataError, DatasetFolder, RunFolder, Split


@dataclass(frozen=True)
class NamedPath:
    """A run folder or a prediction file, and the name that the user gave it."""

    path: Path
    name: str | None = None

    @classmethod
    def parse(cls, text: str) -> NamedPath:
        """PATH or NAME=PATH."""
        name, equals, path = text.partition("=")
        return cls(Path(path), name) if equals and name and not Path(text).exists() else cls(Path(text))

    @property
    def is_file(self) -> bool:
        """True for predictions in a Parquet file."""
        return self.path.suffix == ".parquet"


def common_labels(runs: Sequence[RunFolder], asked: Sequence[str] = ()) -> tuple[SingleLabel, ...]:
    """The labels that all runs were trained for, as fitted by the first, in its order; only the `asked` ones, if any.

    :raises ConfigError: no run, no common label, an asked one that is not common, or a run on segments.
    """
    if not runs:
        raise ConfigError("no ranker run given: the label to measure is that of a run")
    of_segments = next((run for run in runs if run.meta.rows == "segments"), None)
    if of_segments is not None:
        raise ConfigError(f"{of_segments.path} was trained on segments: measure it with `segrec evaluate highlight`")
    first = tasks_of(StoredLabel.load(runs[0].path / "label.yaml"))
    common = tuple(label for label in first if all(label.name in labels_of(run) for run in runs))
    if not common:
        told = ", ".join(f"{run.path}: {run.meta.label}" for run in {run.meta.label: run for run in runs}.values())
        raise ConfigError(f"runs of different labels cannot be compared ({told}); evaluate them one by one")
    missing = next((name for name in asked if name not in {label.name for label in common}), None)
    if missing is not None:
        known = ", ".join(label.name for label in common)
        raise ConfigError(f"--label {missing!r} is no label of these runs (labels of all: {known})")
    return tuple(label for label in common if not asked or label.name in asked)


def labels_of(run: RunFolder) -> tuple[str, ...]:
    """Names of the labels that a run answers."""
    return tuple((run.meta.label or "").split(JOIN))


def model_names(runs: Sequence[RunFolder], given: Sequence[str | None] = ()) -> list[str]:
    """A name for each run: the given one or its model, with the folder where runs differ in more than the seed."""
    chosen = list(given) or [None] * len(runs)
    settings: dict[str, set[str]] = {}
    for run, name in zip(runs, chosen, strict=True):
        if name is None:
            settings.setdefault(run.meta.model, set()).add(_settings(run))

    def shown(run: RunFolder) -> str:
        alone = len(settings[run.meta.model]) == 1
        return run.meta.model if alone else f"{run.meta.model} ({run.path.resolve().name})"

    return [name or shown(run) for run, name in zip(runs, chosen, strict=True)]


@dataclass(frozen=True)
class RunAnswers:
    """A run's predictions on a split, of all its labels."""

    run: RunFolder
    name: str
    rows: pl.DataFrame
    "As `predict` makes them."

    @classmethod
    def of(cls, run: RunFolder, name: str, dataset: DatasetFolder, split: Split) -> RunAnswers:
        """:raises DataError: the run was trained on rows as new as these (of another dataset), or cannot predict."""
        _check_not_trained_on(run, dataset, split)
        return cls(run, name, predict(run, dataset, split))

    def on(self, outcomes: Outcomes) -> Prediction:
        """The predictions of the label of `outcomes`, on its rows.

        :raises DataError: they are of other rows.
        """
        label, prediction = (f"{column}_{outcomes.label}" for column in ("label", "prediction"))
        if prediction not in self.rows.columns:
            label, prediction = "label", "prediction"
        found = self.rows.filter(pl.col(label).is_not_null())
        if not found.select(KEY).equals(outcomes.rows.select(KEY)):
            raise DataError(self.run.path, "predicted other rows than the dataset's", fix="read the dataset again")
        return Prediction(self.name, found[prediction].to_numpy(), self.run.meta.seed)


def run_prediction(run: RunFolder, name: str, dataset: DatasetFolder, outcomes: Outcomes) -> Prediction:
    """A run's predictions on the rows of `outcomes`.

    :raises DataError: as `RunAnswers.of` and `RunAnswers.on`.
    """
    return RunAnswers.of(run, name, dataset, outcomes.split).on(outcomes)


def file_predictions(files: Sequence[NamedPath], outcomes: Outcomes) -> list[Prediction]:
    """Predictions in files; several files of one name are its seeds, 0, 1, ...

    :raises DataError: as `read_predictions`.
    """
    names = [file.name or file.path.stem for file in files]
    seeds: list[int | None] = [
        names[:place].count(name) if names.count(name) > 1 else None for place, name in enumerate(names)
    ]
    read: list[npt.NDArray[np.float64]] = [
        read_predictions(file.path, outcomes.rows, probabilities=outcomes.bounded, label=outcomes.label)
        for file in files
    ]
    return [Prediction(*made) for made in zip(names, read, seeds, strict=True)]


def check_distinct(predictions: Sequence[Prediction]) -> None:
    """:raises ConfigError: one model twice with the same seed."""
    seen = set()
    for prediction in predictions:
        key = (prediction.model, prediction.seed)
        if key in seen:
            told = prediction.model if prediction.seed is None else f"{prediction.model}, seed {prediction.seed}"
            raise ConfigError(f"model {told} was given twice; name one of them: NAME=PATH")
        seen.add(key)


def _settings(run: RunFolder) -> str:
    """Everything a run was made of but its seed and device."""
    values = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    kept = {key: value for key, value in values.items() if key not in ("seed", "device")}
    return f"{yaml.safe_dump(kept)} {run.meta.scores_hash} {run.meta.dataset_fingerprint}"


def _check_not_trained_on(run: RunFolder, dataset: DatasetFolder, split: Split) -> None:
    if run.meta.dataset_fingerprint == dataset.meta.fingerprint:
        if split == "train":
            raise DataError(run.path, "was trained on the train rows", fix="evaluate on valid or test")
        return
    first = dataset.interactions([split]).select("time_ms").min().collect(engine="streaming").item()
    until = run.meta.trained_until_ms
    if until is None or until >= first:
        raise DataError(
            run.path, f"was trained on another dataset, on rows as new as these {split} rows",
            found=f"trained until {until}, first {split} row at {first}", fix="train it on this dataset",
        )  # fmt: skip
