"""Ranker runs and prediction files -> predictions on the same rows, under names that tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from ranking.evaluation import Prediction
from ranking.labels import Label, StoredLabel
from ranking.outcomes import Outcomes
from ranking.prediction import predict
from ranking.prediction_files import read_predictions
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


def common_label(runs: Sequence[RunFolder]) -> Label:
    """The label that all runs were trained for, as fitted by the first.

    :raises ConfigError: no run, two labels, or a run on segments.
    """
    if not runs:
        raise ConfigError("no ranker run given: the label to measure is that of a run")
    of_segments = next((run for run in runs if run.meta.rows == "segments"), None)
    if of_segments is not None:
        raise ConfigError(f"{of_segments.path} was trained on segments: measure it with `segrec evaluate highlight`")
    names = {run.meta.label or "": run for run in runs}
    if len(names) > 1:
        told = ", ".join(f"{run.path}: {label}" for label, run in names.items())
        raise ConfigError(f"runs of different labels cannot be compared ({told}); evaluate them one by one")
    return StoredLabel.load(runs[0].path / "label.yaml")


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


def run_prediction(run: RunFolder, name: str, dataset: DatasetFolder, outcomes: Outcomes) -> Prediction:
    """A run's probabilities on the rows of `outcomes`.

    :raises DataError: the run was trained on rows as new as these (of another dataset), or cannot predict them.
    """
    _check_not_trained_on(run, dataset, outcomes.split)
    found = predict(run, dataset, outcomes.split)
    if not found.select(KEY).equals(outcomes.rows.select(KEY)):
        raise DataError(run.path, "predicted other rows than the dataset's", fix="read the dataset again")
    return Prediction(name, found["prediction"].to_numpy(), run.meta.seed)


def file_predictions(files: Sequence[NamedPath], outcomes: Outcomes) -> list[Prediction]:
    """Probabilities in files; several files of one name are its seeds, 0, 1, ...

    :raises DataError: as `read_predictions`.
    """
    names = [file.name or file.path.stem for file in files]
    seeds: list[int | None] = [
        names[:place].count(name) if names.count(name) > 1 else None for place, name in enumerate(names)
    ]
    read: list[npt.NDArray[np.float64]] = [read_predictions(file.path, outcomes.rows) for file in files]
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
