"""How two checkpoints differ: settings, where they stood, and tensor by tensor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from segrec.fitting.stored_checkpoint import StoredCheckpoint

_SHOWN_SETTINGS = 5


def differences(first: Path, second: Path) -> Iterator[str]:
    """Lines, none when both are equal; at most one tensor of each is in memory.

    :raises DataError: a checkpoint is not there or damaged.
    """
    one, two = StoredCheckpoint.open(first), StoredCheckpoint.open(second)
    yield from _settings(one, two)
    yield from _values("step", one.progress.step, two.progress.step)
    yield from _values("best", one.progress.best, two.progress.best)
    for name in sorted(one.tensors.keys() | two.tensors.keys()):
        if name not in two.tensors:
            yield f"{name}: only in {one.path}"
        elif name not in one.tensors:
            yield f"{name}: only in {two.path}"
        else:
            yield from _tensors(name, one, two)


def _settings(one: StoredCheckpoint, two: StoredCheckpoint) -> Iterator[str]:
    before, after = _flat(_config(one)), _flat(_config(two))
    changed = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    for name in changed[:_SHOWN_SETTINGS]:
        yield f"setting {name}: {before.get(name)} | {after.get(name)}"
    if len(changed) > _SHOWN_SETTINGS:
        yield f"and {len(changed) - _SHOWN_SETTINGS} more settings"


def _config(stored: StoredCheckpoint) -> dict[str, Any]:
    file = stored.path.parent / "config.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat


def _values(name: str, one: object, two: object) -> Iterator[str]:
    if one != two:
        yield f"{name}: {one} | {two}"


def _tensors(name: str, one: StoredCheckpoint, two: StoredCheckpoint) -> Iterator[str]:
    sizes = tuple(one.tensors[name].size), tuple(two.tensors[name].size)
    kinds = one.tensors[name].properties.dtype, two.tensors[name].properties.dtype
    if sizes[0] != sizes[1]:
        yield f"{name}: shape {sizes[0]} | {sizes[1]}"
    elif kinds[0] != kinds[1]:
        yield f"{name}: {kinds[0]} | {kinds[1]}"
    else:
        yield from _numbers(name, one.read(name), two.read(name))


def _numbers(name: str, one: Tensor, two: Tensor) -> Iterator[str]:
    different = (one != two) & ~(one.isnan() & two.isnan())
    if not bool(different.any()):
        return
    largest = float((one[different].double() - two[different].double()).abs().max())
    shape = "x".join(map(str, one.shape)) or "scalar"
    rows = f", {int(different.flatten(1).any(1).sum())} of {len(one)} rows" if one.dim() > 1 else ""
    yield f"{name} {shape}: {int(different.sum())} values differ{rows}, by {largest:.3g} at most"
