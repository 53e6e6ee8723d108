"""One checkpoint on disk: its files, whether it is intact, and how it goes away."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from segrec.fitting.progress import Progress
from segrec.records import file_hash

MANIFEST, PROGRESS, OPTIMIZER = "manifest.json", "progress.json", "optimizer.json"
PARTIAL = ".partial"


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies."""
    return folder / f"step_{step:08d}"


def checkpoint_steps(folder: Path) -> list[int]:
    """Steps that have a checkpoint in `folder`, oldest first."""
    return sorted(int(path.name.removeprefix("step_")) for path in folder.glob("step_" + "[0-9]" * 8))


def read_progress(path: Path) -> Progress:
    """Where the run stood at the checkpoint at `path`."""
    return Progress.model_validate_json((path / PROGRESS).read_text(encoding="utf-8"))


def best_step_of(path: Path) -> int | None:
    """Step of the best validation when the checkpoint at `path` was written; None also where it is damaged since."""
    try:
        return read_progress(path).best_step
    except (OSError, ValueError):
        return None


def complete(building: Path, final: Path, files: dict[str, Any]) -> None:
    """Adds `files` (name: JSON) and the manifest to what is in `building`, then lets it appear as `final`.

    :raises OSError: the disk is full or the folder cannot be written.
    """
    for name, value in files.items():
        write_json(building / name, value)
    manifest = {path.name: [path.stat().st_size, file_hash(path)] for path in sorted(building.iterdir())}
    write_json(building / MANIFEST, manifest)
    building.rename(final)


def damage(path: Path) -> str | None:
    """What is wrong with the checkpoint at `path`; None when each file is as it was written."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name, (size, digest) in manifest.items():
            found = (path / name).stat().st_size
            if found != size:
                return f"{name} has {found} of {size} bytes"
            if file_hash(path / name) != digest:
                return f"{name} has other content than was written"
        read_progress(path)
    except OSError as error:
        return f"{Path(error.filename or path).name}: {error.strerror}"
    except (ValueError, ValidationError, AttributeError, TypeError):
        return f"{MANIFEST} or {PROGRESS} does not parse"
    return None


def remove(path: Path) -> None:
    """By rename first: a half removed checkpoint is not taken for one."""
    gone = path.with_name(path.name + PARTIAL)
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as JSON."""
    path.write_text(json.dumps(value), encoding="utf-8")
