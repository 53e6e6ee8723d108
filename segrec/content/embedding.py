"""Contents of segments -> vectors of segments: each distinct content is encoded once, a killed run goes on."""

from __future__ import annotations

import itertools
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from segrec.content.encoder import ContentEncoder, Vectors
from segrec.content.segment_grid import SegmentGrid
from segrec.content.vector_cache import KEY_BYTES, VectorCache
from segrec.records import ConfigError, DataError, VectorsMeta, new_folder, write_segment_vectors
from segrec.records.segment_vectors import VectorType

C = TypeVar("C")
T = TypeVar("T")
IntArray = npt.NDArray[np.int64]

_SEGMENTS_A_CHUNK = 4096
_PREPARED_AT_ONCE = 8
"Contents that a reading thread takes at a time."


@dataclass(frozen=True)
class Piece(Generic[C]):
    """One content of one segment."""

    place: int
    "Row of the segment in the grid."
    key: bytes
    "Hash of the content."
    load: Callable[[], C | None]
    "The content itself, asked for only when it is not encoded yet; None where it turned out unreadable."

    @classmethod
    def of(cls, place: int, key: bytes, content: C) -> Piece[C]:
        """A content that is in memory anyway."""
        return cls(place, key, lambda: content)


class ContentSource(Protocol[C]):
    """Where contents come from."""

    def pieces(self) -> Iterator[Piece[C]]:
        """All contents that belong to a segment; several of one segment are averaged."""
        ...

    def left_out(self) -> Mapping[str, int]:
        """What was not used, by reason; complete once `pieces` is through."""
        ...


@dataclass(frozen=True)
class EmbedOptions:
    """How `embed` goes about it."""

    batch_size: int = 32
    window: int = 1
    "Batches that are prepared together and sorted by size, so that a batch holds contents of about one size."
    threads: int = 1
    "Threads that load and prepare."
    dtype: VectorType = "float32"
    overwrite: bool = False
    told: Callable[[int, int], None] = field(default=lambda contents, encoded: None)
    "Called after each batch with the contents read and the vectors encoded so far."

    def __post_init__(self) -> None:
        for name in ("batch_size", "window", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1 (found: {getattr(self, name)})")


@dataclass(frozen=True)
class Embedded:
    """What `embed` did."""

    meta: VectorsMeta
    segments: int
    "Segments of the grid; `meta.rows` of them have a vector."
    contents: int
    "Frames or texts that belong to a segment."
    distinct: int
    encoded: int
    "Encoded now; the rest of the distinct ones lay there from an interrupted run, or could not be read."
    batches: int
    resumed: int
    "Vectors found from an interrupted run."
    discarded: bool
    "Whether an interrupted run of another model lay there."
    left_out: Mapping[str, int]
    notes: Sequence[str] = ()
    "What the encoder warns of."


def content_key(data: bytes, shape: Sequence[int] = ()) -> bytes:
    """16 bytes that tell contents apart."""
    return blake2b(data, digest_size=KEY_BYTES, salt=",".join(map(str, shape)).encode()[:16]).digest()


def embed(
    out: Path,
    grid: SegmentGrid,
    source: ContentSource[C],
    encoder: ContentEncoder[C, Any],
    *,
    options: EmbedOptions,
    model: str,
) -> Embedded:
    """Writes `out` (DATASET/segments/NAME): for each segment with content the mean of its contents' vectors.

    Work in progress lies in `out` + ".partial" and is found again by the next call with the same encoder.

    :raises DataError: the name is taken (without `overwrite`), no segment has content, a content that is not readable.
    """
    if out.exists() and not options.overwrite:
        raise DataError(out, "exists already", fix="choose another --name, or pass --overwrite")
    with new_folder(out, overwrite=options.overwrite, resumable=True) as building:
        with VectorCache(building / "encoded", encoder.digest, encoder.dim) as cache:
            reading = _Reading(source, encoder, options, cache.rows.keys())
            batches = _encode_all(reading, encoder, cache, options)
            places, rows = reading.encoded_at(cache.rows)
            if not len(places):
                raise _nothing(out, building, cache, source)
            index = grid.frame.select("item_id", "segment")[np.unique(places)].with_row_index("row")
            stored = (chunk.astype(options.dtype) for chunk in segment_means(places, rows, cache.matrix()))
            meta = write_segment_vectors(building, index, stored, dim=encoder.dim, dtype=options.dtype, model=model)
        shutil.rmtree(building / "encoded")
    return Embedded(
        meta=meta, segments=grid.frame.height, contents=len(reading.places), distinct=len(reading.keys),
        encoded=len(cache.rows) - cache.found, batches=batches, resumed=cache.found, discarded=cache.discarded,
        left_out=source.left_out(),
    )  # fmt: skip


def _encode_all(
    reading: _Reading[C], encoder: ContentEncoder[C, Any], cache: VectorCache, options: EmbedOptions
) -> int:
    """The loop: read, encode, keep. Returns the number of batches."""
    batches = 0
    for batch in reading.batches():
        cache.append([key for key, _ in batch], encoder.encode([prepared for _, prepared in batch]))
        batches += 1
        options.told(len(reading.places), len(cache.rows) - cache.found)
    return batches


def _nothing(out: Path, building: Path, cache: VectorCache, source: ContentSource[Any]) -> DataError:
    if not cache.rows:
        shutil.rmtree(building)
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in source.left_out().items())
    fix = "look at how files and lines are named in docs/embedding.md"
    return DataError(out, "no segment has content", found=reasons or "nothing", fix=fix)


class _Reading(Generic[C]):
    """Reads ahead of the model, and notes which content stands where."""

    def __init__(
        self, source: ContentSource[C], encoder: ContentEncoder[C, Any], options: EmbedOptions, known: Iterable[bytes]
    ) -> None:
        self._source, self._encoder, self._options = source, encoder, options
        self._known = frozenset(known)
        self.places, self._contents = array("q"), array("q")
        self.keys: dict[bytes, int] = {}
        "Number of each distinct content, by its hash."

    def batches(self) -> Iterator[list[tuple[bytes, Any]]]:
        """(key, prepared content) of what has to be encoded, neighbours in size together."""
        size = self._options.batch_size
        with ThreadPoolExecutor(self._options.threads, "segrec-read") as pool:
            for chunk in _one_ahead(self._prepared(pool)):
                for begin in range(0, len(chunk), size):
                    yield chunk[begin : begin + size]

    def encoded_at(self, rows: Mapping[bytes, int]) -> tuple[IntArray, IntArray]:
        """(n,) places and (n,) rows of the contents that have a vector, by place."""
        row_of = np.array([rows.get(key, -1) for key in self.keys], np.int64)
        places, contents = np.array(self.places, np.int64), np.array(self._contents, np.int64)
        found = row_of[contents] if len(contents) else contents
        order = np.argsort(places, kind="stable")
        order = order[found[order] >= 0]
        return places[order], found[order]

    def _prepared(self, pool: ThreadPoolExecutor) -> Iterator[list[tuple[bytes, Any]]]:
        def prepare(pieces: Sequence[Piece[C]]) -> list[tuple[bytes, Any]]:
            loaded = [(piece.key, content) for piece in pieces if (content := piece.load()) is not None]
            done = self._encoder.prepare([content for _, content in loaded])
            return [(key, part) for (key, _), part in zip(loaded, done, strict=True) if part is not None]

        for pieces in in_chunks(self._new_pieces(), self._options.batch_size * self._options.window):
            at_once = len(pieces) if self._options.threads == 1 else _PREPARED_AT_ONCE
            parts = pool.map(prepare, in_chunks(iter(pieces), at_once))
            chunk = list(itertools.chain.from_iterable(parts))
            yield sorted(chunk, key=lambda one: self._encoder.size(one[1]))

    def _new_pieces(self) -> Iterator[Piece[C]]:
        for piece in self._source.pieces():
            number = self.keys.get(piece.key)
            if number is None:
                number = self.keys[piece.key] = len(self.keys)
                if piece.key not in self._known:
                    yield piece
            self.places.append(piece.place)
            self._contents.append(number)


def segment_means(places: IntArray, rows: IntArray, matrix: Vectors) -> Iterator[Vectors]:
    """Means of `matrix[rows]` over equal `places` (ascending), in chunks (n, dim), by place; summed in float64."""
    _, starts = np.unique(places, return_index=True)
    bounds = np.append(starts, len(places))
    for first in range(0, len(starts), _SEGMENTS_A_CHUNK):
        last = min(first + _SEGMENTS_A_CHUNK, len(starts))
        begin, end = bounds[first], bounds[last]
        sums = np.add.reduceat(matrix[rows[begin:end]].astype(np.float64), starts[first:last] - begin, axis=0)
        yield (sums / np.diff(bounds[first : last + 1])[:, None]).astype(np.float32)


def in_chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last may be shorter."""
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def _one_ahead(chunks: Iterator[list[T]]) -> Iterator[list[T]]:
    """The same chunks; the next one is made in a thread while this one is used."""
    with ThreadPoolExecutor(1, "segrec-ahead") as ahead:
        following = ahead.submit(next, chunks, None)
        while (chunk := following.result()) is not None:
            following = ahead.submit(next, chunks, None)
            yield chunk
