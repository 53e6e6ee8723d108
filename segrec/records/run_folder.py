"""A run folder: what was run (config.yaml, run.json), what came out (metrics.json), and its parts by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from segrec.records.errors import DataError


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
    scores: str | None = None
    "Path of the score table a ranker used."
    scores_hash: str | None = None
    device: str = "cpu"
    versions: dict[str, str] = {}

    @property
    def model(self) -> str:
        """The name in metric rows: NAME or NAME:VARIANT."""
        return self.name if self.variant is None else f"{self.name}:{self.variant}"


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
            raise DataError(path, f"is a {meta.kind} run", expected=f"a run of kind {kind}")
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
