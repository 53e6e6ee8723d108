"""Freezing: a fitted encoder as plain files (safetensors, JSON, Parquet) with one hash; a changed file is refused.

FROZEN/config.json        name, config, what it was fitted on
FROZEN/tensors.safetensors
FROZEN/frames/NAME.parquet
FROZEN/MANIFEST.json      sha256 of each file above; its own sha256 is the content hash
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from segrec.records import DataError, Split, check_folder, file_hash, folder_hashes

_CONFIG, _TENSORS, _FRAMES, _MANIFEST = "config.json", "tensors.safetensors", "frames", "MANIFEST.json"


class FrozenMeta(BaseModel):
    """config.json: what was frozen, and on which rows it was fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    encoder: str
    "Registry name."
    variant: str | None
    config: dict[str, Any]
    "The complete config of the encoder."
    extra: dict[str, Any] = {}
    "Small things learned by counting."
    segment_ms: int
    dataset_fingerprint: str
    fitted_on: list[Split]
    trained_until_ms: int
    "Newest time_ms among the rows that it was fitted on."

    @property
    def model(self) -> str:
        """NAME or NAME:VARIANT, as in metric rows."""
        return self.encoder if self.variant is None else f"{self.encoder}:{self.variant}"


@dataclass(frozen=True)
class FrozenEncoder:
    """An opened frozen folder: every file has the hash that the manifest says."""

    folder: Path
    meta: FrozenMeta
    hash: str
    "Content hash, 64 hex digits: equal hashes mean equal scores."

    @classmethod
    def open(cls, folder: Path | str) -> FrozenEncoder:
        """:raises DataError: no frozen encoder there, or a file is missing, added or changed (it is named)."""
        folder = Path(folder)
        manifest = folder / _MANIFEST
        if not manifest.is_file():
            raise DataError(folder, f"is not a frozen encoder ({_MANIFEST} is missing)", fix="fit it with `segrec fit`")
        listed = _read_manifest(manifest)
        check_folder(
            folder,
            listed,
            manifest=_MANIFEST,
            what="the frozen encoder",
            changed="was changed after freezing",
            again="fit the encoder again",
        )
        try:
            meta = FrozenMeta.model_validate_json((folder / _CONFIG).read_text(encoding="utf-8"))
        except ValidationError as error:
            raise DataError(folder / _CONFIG, "does not parse", found=" ".join(str(error).split())[:200]) from None
        return cls(folder, meta, file_hash(manifest))

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, on the CPU."""
        tensors: dict[str, Tensor] = load_file(self.folder / _TENSORS)
        return tensors

    @cached_property
    def frames(self) -> dict[str, pl.DataFrame]:
        """All frames by name."""
        return {file.stem: pl.read_parquet(file) for file in sorted((self.folder / _FRAMES).glob("*.parquet"))}


def freeze(
    folder: Path, meta: FrozenMeta, tensors: Mapping[str, Tensor], frames: Mapping[str, pl.DataFrame]
) -> FrozenEncoder:
    """Writes a frozen encoder into `folder` (new, or to be replaced) and opens it."""
    (folder / _FRAMES).mkdir(parents=True, exist_ok=True)
    for old in folder.rglob("*"):
        if old.is_file():
            old.unlink()
    (folder / _CONFIG).write_text(meta.model_dump_json(indent=1) + "\n", encoding="utf-8")
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, folder / _TENSORS)
    for name, frame in frames.items():
        frame.write_parquet(folder / _FRAMES / f"{name}.parquet", compression="zstd")
    manifest = folder_hashes(folder)
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return FrozenEncoder.open(folder)


def _read_manifest(file: Path) -> dict[str, str]:
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        listed = None
    if not isinstance(listed, dict) or not {_CONFIG, _TENSORS} <= listed.keys():
        raise DataError(file, "is not a manifest of a frozen encoder", fix="fit the encoder again")
    return {str(name): str(value) for name, value in listed.items()}
