"""Where a run stands in its data, in a person's words: cursor.json of a checkpoint, checked when the run goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from segrec.fitting.progress import Progress
from segrec.records import ConfigError
from segrec.tables.processes import everywhere, rank

CURSOR = "cursor.json"


@runtime_checkable
class PlacedStream(Protocol):
    """A stream that can say where a batch lies."""

    def cursor(self, epoch: int, batch: int) -> dict[str, Any]:
        """JSON: where the rows of that batch begin, and all that their order depends on; alike on all processes."""
        ...


def cursor_files(stream: object, progress: Progress) -> dict[str, Any]:
    """cursor.json of a checkpoint, made by process 0; nothing where the stream has no cursor."""
    if rank() != 0 or not isinstance(stream, PlacedStream):
        return {}
    return {CURSOR: stream.cursor(progress.epoch, progress.batch)}


def check_cursor(stream: object, progress: Progress, checkpoint: Path) -> None:
    """Refuses to go on with data in another order than the checkpoint's; all processes must call.

    :raises ConfigError: the first difference is named.
    """
    told = None
    if rank() == 0 and isinstance(stream, PlacedStream) and (checkpoint / CURSOR).is_file():
        stored = json.loads((checkpoint / CURSOR).read_text(encoding="utf-8"))
        told = _difference(stored, json.loads(json.dumps(stream.cursor(progress.epoch, progress.batch))))
    told = everywhere(told)
    if told is not None:
        raise ConfigError(
            f"{checkpoint}: rows would come in another order than before: {told}; "
            "use the same data and settings to go on, or another --out"
        )


def cursor_lines(checkpoint: Path) -> Iterator[str]:
    """What cursor.json of a checkpoint tells, for a person; nothing where there is none."""
    if not (checkpoint / CURSOR).is_file():
        return
    told = json.loads((checkpoint / CURSOR).read_text(encoding="utf-8"))
    yield f"data: {told['rows']:,} rows of epoch {told['epoch']} are done; order by " + _fields(told["order"])
    for lane, place in enumerate(told["lanes"]):
        yield f"lane {lane}: " + ("all rows are done" if place is None else _fields(place))


def _difference(stored: object, now: object, name: str = "") -> str | None:
    """The first field that differs, with both values."""
    if isinstance(stored, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*stored, *now]):
            found = _difference(stored.get(key), now.get(key), f"{name}.{key}" if name else key)
            if found is not None:
                return found
        return None
    if isinstance(stored, list) and isinstance(now, list) and len(stored) == len(now):
        pairs = enumerate(zip(stored, now, strict=True))
        parts = (_difference(old, new, f"{name}[{place}]") for place, (old, new) in pairs)
        return next((part for part in parts if part is not None), None)
    return None if stored == now else f"{name} was {stored} (now: {now})"


def _fields(values: Mapping[str, object]) -> str:
    shown = {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in values.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
