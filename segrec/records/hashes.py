"""Content hashes: of a file, and of all files of a folder that must stay as they were written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from segrec.records.errors import DataError


def file_hash(file: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below `folder`, by its path in there, sorted."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file_hash(file) for file in files}


def check_folder(
    folder: Path, listed: Mapping[str, str], *, manifest: str, what: str, changed: str, again: str
) -> None:
    """Compares `folder` with the hashes that its file `manifest` lists.

    The messages' words, of a frozen encoder: what = "the frozen encoder", changed = "was changed after freezing",
    again = "fit the encoder again".

    :raises DataError: a file is missing, added or changed (it is named).
    """
    found = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()} - {manifest}
    for name in sorted(found - listed.keys()):
        raise DataError(folder / name, "is not in the manifest", fix=f"remove it, or {again}")
    for name, expected in listed.items():
        if name not in found:
            raise DataError(folder / name, f"is missing from {what}", fix=again)
        actual = file_hash(folder / name)
        if actual != expected:
            raise DataError(
                folder / name, changed, found=f"sha256 {actual[:12]}",
                expected=expected[:12], fix=f"restore the file, or {again}",
            )  # fmt: skip
