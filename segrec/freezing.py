"""Freezing: a fitted encoder as plain files (safetensors, JSON, Parquet) with one hash; a changed file is refused.

FROZEN/config.json        name, config, what it was fitted on
FROZEN/tensors.safetensors
FROZEN/frames/NAME.parquet
FROZEN/MANIFEST.json      sha256 of each file above; its own sha256 is the content hash
"""

from __future__ import annotations

import hashlib
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

from segrec.records import DataError, Split

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
        found = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()} - {_MANIFEST}
        for name in sorted(found - listed.keys()):
            raise DataError(folder / name, "is not in the manifest", fix="remove it, or fit the encoder again")
        for name, expected in listed.items():
            _check(folder / name, expected)
        try:
            meta = FrozenMeta.model_validate_json((folder / _CONFIG).read_text(encoding="utf-8"))
        except ValidationError as error:
            raise DataError(folder / _CONFIG, "does not parse", found=" ".join(str(error).split())[:200]) from None
        return cls(folder, meta, _sha256(manifest))

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
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    manifest = {file.relative_to(folder).as_posix(): _sha256(file) for file in files}
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


def _check(file: Path, expected: str) -> None:
    if not file.is_file():
        raise DataError(file, "is missing from the frozen encoder", fix="fit the encoder again")
    found = _sha256(file)
    if found != expected:
        raise DataError(
            file, "was changed after freezing", found=f"sha256 {found[:12]}", expected=expected[:12],
            fix="restore the file, or fit the encoder again",
        )  # fmt: skip


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
