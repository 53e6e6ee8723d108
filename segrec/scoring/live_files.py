"""The state of live scoring on disk: a folder that a restarted scorer of the same encoder goes on from, bit by bit.

STATE/state.json            whose state it is, its clock and counts
STATE/buffers.safetensors   rows of all buffers, one a room
STATE/rooms.parquet         the rooms, in the order of those rows (longest without a push first)
STATE/streamers.parquet     what is known of streamers' earlier rooms
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from segrec.records import DataError, new_folder
from segrec.scoring.live import LiveScorer
from segrec.scoring.live_slots import RoomId

_STATE, _BUFFERS, _ROOMS, _STREAMERS = "state.json", "buffers.safetensors", "rooms.parquet", "streamers.parquet"


class LiveStateMeta(BaseModel):
    """state.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    encoder_hash: str
    state: Literal["float32", "float16"]
    rooms: int
    newest_ms: int
    next_sweep_ms: int
    counts: dict[str, int]


def save_state(scorer: LiveScorer, folder: Path, *, overwrite: bool = False) -> None:
    """Writes `folder`; it is there complete, or as it was.

    :raises DataError: it exists and `overwrite` is False, or cannot be written.
    """
    rooms = list(scorer.slots.slot_of)
    slots = torch.tensor([scorer.slots.slot_of[room] for room in rooms], dtype=torch.int64)
    streamers = [scorer.streamers[slot] for slot in slots.tolist()]
    meta = LiveStateMeta(
        encoder_hash=scorer.encoder_hash,
        state=scorer.config.state,
        rooms=len(rooms),
        newest_ms=scorer.newest_ms,
        next_sweep_ms=scorer.next_sweep_ms,
        counts=dict(scorer.counts),
    )
    with new_folder(folder, overwrite=overwrite) as building:
        save_file({name: buffer[slots] for name, buffer in _buffers(scorer).items()}, building / _BUFFERS)
        pl.DataFrame({**_ids("room", rooms), **_ids("streamer", streamers)}).write_parquet(building / _ROOMS)
        scorer.pasts.frame().write_parquet(building / _STREAMERS)
        (building / _STATE).write_text(meta.model_dump_json(indent=1) + "\n", encoding="utf-8")


def restore_state(scorer: LiveScorer, folder: Path) -> None:
    """Puts what `save_state` wrote into a scorer that holds no room yet; its capacity may be another.

    :raises DataError: no state there, of another encoder or another storage type, of more rooms than the scorer
        holds, or a damaged file.
    """
    try:
        meta = LiveStateMeta.model_validate_json((folder / _STATE).read_text(encoding="utf-8"))
        _check(scorer, meta, folder)
        saved = load_file(folder / _BUFFERS)
        rooms, pasts = pl.read_parquet(folder / _ROOMS), pl.read_parquet(folder / _STREAMERS)
        _check_rows(scorer, saved, rooms, meta.rooms)
        scorer.pasts.load(pasts)
        _fill(scorer, saved, rooms)
    except (OSError, ValidationError, SafetensorError, pl.exceptions.PolarsError, KeyError, RuntimeError) as error:
        raise DataError(
            folder, "holds no state of live scoring, or a damaged one", found=" ".join(str(error).split())[:200],
            fix="start without it, or restore another",
        ) from None  # fmt: skip
    scorer.newest_ms, scorer.next_sweep_ms = meta.newest_ms, meta.next_sweep_ms
    scorer.counts.update(meta.counts)


def _check(scorer: LiveScorer, meta: LiveStateMeta, folder: Path) -> None:
    for found, expected, problem in (
        (meta.encoder_hash[:12], scorer.encoder_hash[:12], "is the state of another encoder"),
        (meta.state, scorer.config.state, "stores keys and values in another type"),
        (0, len(scorer), "cannot be restored: the scorer holds rooms already"),
    ):
        if found != expected:
            raise DataError(folder, problem, found=found, expected=expected, fix="restore it into its own scorer")
    if meta.rooms > scorer.config.capacity:
        raise DataError(
            folder, "holds more rooms than the scorer has capacity for", found=meta.rooms,
            expected=f"at most {scorer.config.capacity}", fix="open the scorer with more capacity",
        )  # fmt: skip


def _check_rows(scorer: LiveScorer, saved: dict[str, Tensor], rooms: pl.DataFrame, count: int) -> None:
    if rooms.height != count or rooms["room"].null_count():
        raise KeyError(f"{rooms.height} rooms instead of {count}")
    for name, buffer in _buffers(scorer).items():
        expected = (count, *buffer.shape[1:])
        if saved[name].shape != expected or saved[name].dtype != buffer.dtype:
            raise KeyError(f"{name} of shape {tuple(saved[name].shape)} instead of {expected}")


def _fill(scorer: LiveScorer, saved: dict[str, Tensor], rooms: pl.DataFrame) -> None:
    slots, _ = scorer.slots.take([room for room in _of_ids("room", rooms) if room is not None])
    for name, buffer in _buffers(scorer).items():
        buffer[torch.from_numpy(slots)] = saved[name]
    for slot, streamer in zip(slots.tolist(), _of_ids("streamer", rooms), strict=True):
        scorer.streamers[slot] = streamer


def _buffers(scorer: LiveScorer) -> dict[str, Tensor]:
    """Everything that has a row a slot, by name; they share their memory with the scorer."""
    decoded, slots, pending = scorer.decoded, scorer.slots, scorer.pending
    arrays: dict[str, np.ndarray] = {
        name: getattr(slots, name) for name in ("newest_start", "newest_end", "pushed", "starts", "scores")
    }
    arrays |= {f"pending.{name}": getattr(pending, name) for name in ("known_ms", "pairs", "newest_end")}
    arrays["codes"] = scorer.codes
    if scorer.known is not None:
        known = {name: part for name, part in vars(scorer.known).items() if isinstance(part, np.ndarray)}
        arrays |= {f"known.{name}": part for name, part in known.items()}
    tensors = {"ring": decoded.ring, "seen": decoded.seen}
    return tensors | {name: torch.from_numpy(array) for name, array in arrays.items()}


def _ids(name: str, ids: list[RoomId] | list[RoomId | None]) -> dict[str, pl.Series]:
    """Whole numbers and texts keep apart: 7 is not "7"."""
    texts = [None if one is None else str(one) for one in ids]
    return {
        name: pl.Series(texts, dtype=pl.String),
        f"{name}_is_text": pl.Series([isinstance(one, str) for one in ids], dtype=pl.Boolean),
    }


def _of_ids(name: str, frame: pl.DataFrame) -> list[RoomId | None]:
    rows = frame.select(name, f"{name}_is_text").iter_rows()
    return [None if text is None else text if is_text else int(text) for text, is_text in rows]
