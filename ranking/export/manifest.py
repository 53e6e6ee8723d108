"""manifest.json of an exported ranker: whose it is, what goes in and comes out, and the hash of every file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from segrec.records import DataError, check_folder, folder_hashes

MANIFEST = "manifest.json"
TABLES, PROGRAM, PARITY, FEATURES = "tables.safetensors", "dense.pt2", "parity.json", "features"
MANAGED = "managed.safetensors"
LABEL, LABEL_RATES = "label.yaml", "label_rates.safetensors"
_FIX = "export the run again with `segrec export`"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProgramInput(_Part):
    """One tensor of the dict that the dense program takes."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    "A letter stands for any size: B rows, T past events, S segments."


class ScoreInput(_Part):
    """How per-segment scores reach the program."""

    features: bool
    weights: bool
    scaling: tuple[tuple[float, float], ...]
    live_window: int


class Compiled(_Part):
    """The AOTInductor package, good for the device that it was compiled for."""

    file: str
    device: Literal["cpu", "cuda"]
    processor: str
    "Where it was compiled: another processor may lack its instructions."


class ExportManifest(_Part):
    """manifest.json."""

    schema_version: Literal[1] = 1
    ranker: str
    "Registry name, with its variant."
    run: str
    "Path of the run at that time."
    seed: int
    label: str
    outputs: tuple[str, ...]
    "What each column of the logits predicts."
    dataset_fingerprint: str
    trained_until_ms: int | None
    weights_hash: str
    "SHA-256 of the run's model.safetensors."
    scores_hash: str | None
    quantise: Literal["none", "int8"]
    embedding: dict[str, Any]
    "`RankerInputs`: what is looked up where, before the program runs."
    names: tuple[str, ...]
    "Ids, bags and sequences, in the order of a batch."
    dense_names: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]
    "Raw columns that features are made of, by side: impression, user, item."
    program_inputs: tuple[ProgramInput, ...]
    managed: tuple[str, ...] = ()
    "Features whose ids came and went in training; their rows are those at its end."
    rates: bool = False
    "Whether lagged rates of ids are among the dense columns."
    scores: ScoreInput | None = None
    segments: bool = False
    "Whether the program weighs a row's segments."
    max_segments: int
    compiled: Compiled | None = None
    versions: dict[str, str]
    files: dict[str, str] = {}
    "SHA-256 of every other file."

    @property
    def events(self) -> int | None:
        """T, where the program wants one length of histories."""
        length = next((part.shape[1] for part in self.program_inputs if part.name == "past"), None)
        return length if isinstance(length, int) else None

    def write(self, folder: Path) -> None:
        """Hashes what is in `folder` and writes the manifest beside it."""
        (folder / MANIFEST).unlink(missing_ok=True)
        hashed = self.model_copy(update={"files": folder_hashes(folder)})
        (folder / MANIFEST).write_text(hashed.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> ExportManifest:
        """:raises DataError: no exported ranker there, or a file is missing, added or changed (it is named)."""
        file = folder / MANIFEST
        if not file.is_file():
            raise DataError(
                folder, f"is not an exported ranker ({MANIFEST} is missing)", fix="make one with `segrec export`"
            )
        try:
            manifest = cls.model_validate_json(file.read_text(encoding="utf-8"))
        except (ValidationError, ValueError) as error:
            raise DataError(file, "does not parse", found=_first_line(error), fix=_FIX) from None
        check_folder(
            folder,
            manifest.files,
            manifest=MANIFEST,
            what="the exported ranker",
            changed="was changed after the export",
            again=_FIX,
        )
        return manifest


def _first_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return ": ".join([*(".".join(map(str, first["loc"])),) * bool(first["loc"]), first["msg"]])
    return str(error).splitlines()[0]
