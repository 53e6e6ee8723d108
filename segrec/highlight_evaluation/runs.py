"""What is evaluated as the user names it: encoder runs, ranker runs on segments, files of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from segrec.encoders.encoder import LiveEncoder
from segrec.encoders.encoder_runs import thaw_live
from segrec.encoders.one_step_highlight import TARGET as M3_TARGET
from segrec.freezing import FrozenEncoder
from segrec.highlight_evaluation.answers import SEGMENT_KEY, Answer, score_file, scores_of
from segrec.highlight_evaluation.task import HighlightTask
from segrec.records import ConfigError, DataError, DatasetFolder, RunFolder, ScoreTable, Split

LEAK = "+leak"
"Ends the name of whatever looked at counts of the segment that it predicts."
PREDICTIONS = "predictions.parquet"


@dataclass(frozen=True)
class Asked:
    """One opened thing to evaluate."""

    where: Path
    model: str
    seed: int | None
    target: tuple[str, int] | None
    "The rate and label shift that it predicts; None: it does not tell."
    encoder: LiveEncoder | None
    "None: its scores lie in `file`."
    file: Path | None
    trained_until_ms: int | None = None
    "Newest time that it can have learned from; None: it does not tell."

    @classmethod
    def open(cls, named: str, dataset: DatasetFolder, split: Split) -> Asked:
        """RUN, NAME=RUN (runs of one name are averaged as its seeds) or NAME=FILE.parquet.

        :raises DataError: no such run or file, one of another kind or dataset, or fitted on the measured split.
        """
        name, equals, where = named.partition("=")
        if not equals or Path(named).exists():
            return cls._of_run(Path(named), dataset, split)
        if not name:
            raise ConfigError(f"={where} has no name (expected: NAME=RUN or NAME=FILE.parquet)")
        if not Path(where).is_dir():
            return cls._of_file(name, Path(where), dataset, split)
        run = cls._of_run(Path(where), dataset, split)
        return replace(run, model=name + LEAK if LEAK in run.model and LEAK not in name else name)

    @classmethod
    def _of_run(cls, folder: Path, dataset: DatasetFolder, split: Split) -> Asked:
        run = RunFolder.open(folder)
        if run.meta.dataset_fingerprint != dataset.meta.fingerprint:
            raise _other_dataset(run.path, run.meta.dataset_fingerprint, dataset)
        if run.meta.kind == "encoder":
            return cls._of_encoder(run, dataset, split)
        if not (run.path / PREDICTIONS).is_file():
            raise DataError(
                run.path, f"has no {PREDICTIONS} of segments", found=f"a {run.meta.kind} run",
                fix="rank segments: `segrec rank MODEL DATASET --rows segments --label lvtr`",
            )  # fmt: skip
        target = (run.meta.label, run.meta.label_shift) if run.meta.label and run.meta.rows == "segments" else None
        return cls(
            run.path, run.meta.model, run.meta.seed, target, None, run.path / PREDICTIONS, run.meta.trained_until_ms
        )

    @classmethod
    def _of_encoder(cls, run: RunFolder, dataset: DatasetFolder, split: Split) -> Asked:
        frozen = FrozenEncoder.open(run.frozen)
        if frozen.meta.dataset_fingerprint != dataset.meta.fingerprint:
            raise _other_dataset(run.path, frozen.meta.dataset_fingerprint, dataset)
        encoder = thaw_live(frozen)
        if split in frozen.meta.fitted_on and encoder.target in dataset.meta.rates:
            raise DataError(run.path, f"was fitted on the {split} rows", fix="measure it on another --split")
        target = encoder.target, encoder.label_shift
        return cls(run.path, run.meta.model, run.meta.seed, target, encoder, None, frozen.meta.trained_until_ms)

    @classmethod
    def _of_file(cls, name: str, file: Path, dataset: DatasetFolder, split: Split) -> Asked:
        if not file.is_file():
            raise DataError(file, "is missing", expected="a Parquet file with item_id, segment, score")
        score_file(file)
        until = None
        if b"segrec" in (pq.read_schema(file).metadata or {}):
            table = ScoreTable.open(file)
            table.check_usable(dataset, split)
            until = table.meta.trained_until_ms
        beside = file.parent / "run.json"
        leaks = beside.is_file() and LEAK in RunFolder.open(file.parent).meta.model and LEAK not in name
        return cls(file, name + LEAK if leaks else name, None, None, None, file, until)

    def answer(self, task: HighlightTask) -> Answer:
        """Its scores of the tested segments.

        :raises DataError: vectors or scores are missing.
        """
        if self.encoder is not None:
            scores = self.encoder.predict(task.tested, task.dataset).astype("float64")
        else:
            assert self.file is not None
            scores = scores_of(score_file(self.file), task.tested.frame.select(SEGMENT_KEY), self.file)
        is_rate = bool(len(scores)) and float(scores.min()) >= 0 and float(scores.max()) <= 1
        return Answer(self.model, scores, is_rate, self.seed, challenger=True)


def agreed_target(asked: Sequence[Asked], target: str | None, shift: int | None) -> tuple[str, int]:
    """The rate and label shift that all runs predict, or the given ones.

    :raises ConfigError: runs that disagree with each other or with what was given, or that predict another protocol's
        score; nothing said where no run tells.
    """
    told = {one.target: one.model for one in asked if one.target is not None}
    if len(told) > 1:
        shown = "; ".join(f"{model}: {rate} shift {by}" for (rate, by), model in told.items())
        raise ConfigError(f"runs predict different targets ({shown}); evaluate them in separate calls")
    if told:
        (((rate, by), model),) = told.items()
        if rate == M3_TARGET:
            raise ConfigError(f"{model} predicts the score of the KuaiLive-M3 benchmark; pass --protocol kuailive_m3")
        if (target or rate, by if shift is None else shift) != (rate, by):
            given = f"--target {target or rate} --shift {by if shift is None else shift}"
            raise ConfigError(f"{model} predicts {rate} shift {by} (given: {given}); leave the two options out")
        return rate, by
    if target is None or shift is None:
        raise ConfigError("no run says what is predicted; pass --target (lvtr, ctr) and --shift (0, 1)")
    return target, shift


def _other_dataset(path: Path, found: str, dataset: DatasetFolder) -> DataError:
    return DataError(
        path, "was fitted on another dataset", found=found[:12], expected=dataset.meta.fingerprint[:12],
        fix="pass the dataset folder it was fitted on",
    )  # fmt: skip
