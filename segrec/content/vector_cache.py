"""Vectors that are done, kept on disk by the hash of their content, so that an interrupted run goes on."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import numpy as np

from segrec.content.encoder import Vectors
from segrec.records import DataError

KEY_BYTES = 16


class VectorCache:
    """Appends whole batches: first the vectors, then their keys, so that what has a key is there.

    folder: `vectors.f32` (n, dim) and `keys` (n, 16 bytes), under `encoder.json` that says whose they are. Vectors of
    another encoder are thrown away. Memory: about 180 bytes a key.
    """

    def __init__(self, folder: Path, digest: str, dim: int) -> None:
        """:raises DataError: another process writes here."""
        self._folder, self._dim = folder, dim
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = self._locked(folder / "lock")
        owner = json.dumps({"digest": digest, "dim": dim})
        told = folder / "encoder.json"
        self.discarded = told.is_file() and told.read_text(encoding="utf-8") != owner
        "Whether vectors of another encoder lay here."
        mode = "ab" if told.is_file() and not self.discarded else "wb"
        self._vectors, self._keys = (folder / "vectors.f32").open(mode), (folder / "keys").open(mode)
        told.write_text(owner, encoding="utf-8")
        self.rows = self._complete_rows()
        "Row of each key's vector."
        self.found = len(self.rows)
        "Vectors that were there already."

    def append(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Keeps `vectors` (n, dim) under `keys`; they survive a crash after this returns."""
        self._vectors.write(np.ascontiguousarray(vectors, np.float32).tobytes())
        self._vectors.flush()
        os.fsync(self._vectors.fileno())
        self._keys.write(b"".join(keys))
        self._keys.flush()
        for key in keys:
            self.rows[key] = len(self.rows)

    def matrix(self) -> Vectors:
        """(n, dim) of all rows, memory-mapped."""
        if not self.rows:
            return np.zeros((0, self._dim), np.float32)
        return np.memmap(self._folder / "vectors.f32", np.float32, "r", shape=(len(self.rows), self._dim))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for stream in (self._vectors, self._keys, self._lock):
            stream.close()

    def _complete_rows(self) -> dict[bytes, int]:
        """Cuts both files to the batches that were written whole."""
        width = 4 * self._dim
        keys = (self._folder / "keys").read_bytes()
        count = min(len(keys) // KEY_BYTES, (self._folder / "vectors.f32").stat().st_size // width)
        self._keys.truncate(count * KEY_BYTES)
        self._vectors.truncate(count * width)
        return {keys[row * KEY_BYTES : (row + 1) * KEY_BYTES]: row for row in range(count)}

    @staticmethod
    def _locked(file: Path) -> TextIO:
        stream = file.open("w")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            raise DataError(file.parent, "is being written by another process", fix="wait for it") from None
        return stream
