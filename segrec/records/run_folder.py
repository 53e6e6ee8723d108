"""A run folder: what was run (config.yaml, run.json), what came out (metrics.json), and its parts by name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from segrec.records.errors import DataError, SegrecError
from segrec.records.outputs import new_folder, partial_folder


class RunMeta(BaseModel):
    """run.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["encoder", "ranker", "comparison"]
    name: str
    "Registry name."
    variant: str | None = None
    seed: int
    dataset: str
    "Path of the dataset folder at that time."
    dataset_fingerprint: str
    trained_until_ms: int | None = None
    label: str | None = None
    "What a ranker learned: a flag of the log, or the rate of segments."
    rows: Literal["impressions", "segments"] = "impressions"
    "What a ranker's rows are; segments: predictions.parquet (item_id, segment, score) holds all of them."
    label_shift: int = 0
    "Rows are segments: 0 = the rate of the segment itself, 1 = of the next one."
    leak: bool = False
    "Counts of the very segment that is predicted went in, asked for by name; every table says so."
    scores: str | None = None
    "Path of the score table a ranker used."
    scores_hash: str | None = None
    device: str = "cpu"
    versions: dict[str, str] = {}

    @property
    def model(self) -> str:
        """The name in metric rows: NAME or NAME:VARIANT, with +leak where inputs tell of what is predicted."""
        told = self.name if self.variant is None else f"{self.name}:{self.variant}"
        return f"{told}+leak" if self.leak else told


@dataclass(frozen=True)
class RunFolder:
    """An opened run: frozen/ (encoders), checkpoints/, events/ (TensorBoard), metrics.json, report.html."""

    path: Path
    meta: RunMeta

    @classmethod
    def open(cls, path: Path | str, kind: Literal["encoder", "ranker"] | None = None) -> RunFolder:
        """:raises DataError: no finished run there, or one of another kind."""
        path = Path(path)
        if path.with_name(path.name + ".partial").is_dir() and not path.exists():
            raise DataError(path, "is not finished", fix="run the same command again: it resumes")
        if not (path / "run.json").is_file():
            raise DataError(
                path, "is not a run folder (run.json is missing)", fix="pass what `segrec fit` or `rank` wrote"
            )
        try:
            meta = RunMeta.model_validate_json((path / "run.json").read_text(encoding="utf-8"))
        except (ValidationError, ValueError) as error:
            raise DataError(path / "run.json", "does not parse", found=" ".join(str(error).split())[:200]) from None
        if kind is not None and meta.kind != kind:
            raise DataError(path, "is a run of another kind", found=meta.kind, expected=kind)
        return cls(path, meta)

    @property
    def config(self) -> Path:
        """The complete config as it ran."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """Metric rows measured at the end of the run."""
        return self.path / "metrics.json"

    @property
    def frozen(self) -> Path:
        """The frozen encoder."""
        return self.path / "frozen"


def write_run_meta(folder: Path, meta: RunMeta) -> None:
    """Writes run.json into the folder."""
    (folder / "run.json").write_text(meta.model_dump_json(indent=1) + "\n", encoding="utf-8")


@contextmanager
def new_run(out: Path, meta: RunMeta, config: str, *, overwrite: bool) -> Iterator[Path]:
    """Yields the folder of a run with its config.yaml (`config`) and run.json; on success it becomes `out`.

    A stopped run of the same name, config, dataset, label and scores goes on in its ".partial" folder; one that was
    refused before its first checkpoint leaves no folder.

    :raises DataError: `out` exists and `overwrite` is False, or another stopped run lies there.
    """
    if not out.exists() or overwrite:
        _check_resumable(partial_folder(out), meta, config, overwrite=overwrite)
    with new_folder(out, overwrite=overwrite, resumable=True) as folder:
        (folder / "config.yaml").write_text(config, encoding="utf-8")
        write_run_meta(folder, meta)
        try:
            yield folder
        except SegrecError:
            if not _learned(folder):
                shutil.rmtree(folder, ignore_errors=True)  # another process of the run may have been first
            raise


def _check_resumable(partial: Path, meta: RunMeta, config: str, *, overwrite: bool) -> None:
    """A stopped run in `partial` goes on only with what it began with; `overwrite` removes another one.

    :param config: the config of the new run, as YAML.
    :raises DataError: the stopped run has a checkpoint and another name, config, dataset, label or score table.
    """
    if not (partial / "run.json").is_file() or not (partial / "config.yaml").is_file():
        return
    began = RunMeta.model_validate_json((partial / "run.json").read_text(encoding="utf-8"))
    same = (partial / "config.yaml").read_text(encoding="utf-8") == config
    if same and all(
        getattr(began, field) == getattr(meta, field)
        for field in ("kind", "name", "dataset_fingerprint", "label", "rows", "label_shift", "scores_hash")
    ):
        return
    if not overwrite and _learned(partial):
        raise DataError(
            partial, "holds a stopped run with another config, dataset, label or scores",
            fix="remove that folder, choose another --out, or pass --overwrite",
        )  # fmt: skip
    shutil.rmtree(partial)


def _learned(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("step_*"))


def package_versions() -> dict[str, str]:
    """Versions of what a run depends on, for run.json."""
    found = {}
    for package in ("segrec", "torch", "torchrec", "fbgemm-gpu-cpu", "fbgemm-gpu", "polars", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
