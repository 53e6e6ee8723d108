"""Frames of segments from a folder: a folder of images an item, or a video file an item."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image, ImageOps

from segrec.content.embedding import Piece, content_key
from segrec.content.segment_grid import SegmentGrid
from segrec.content.video_frames import frames_at
from segrec.records import DataError

IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
VIDEOS = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".ts"}
_NAME = re.compile(r"(\d{1,15})(?:_(\d{1,9}))?")
_IMAGES_A_BLOCK = 50_000

UNKNOWN = "unknown item_id"
OUTSIDE = "no such segment in the room"
NAMELESS = "file name not understood"
UNREADABLE = "unreadable"


class FrameFolders:
    """FOLDER/ITEM/SEGMENT_FRAME.jpg, FOLDER/ITEM/TIMEMS.jpg or FOLDER/ITEM.mp4; forms may be mixed.

    `frames` evenly spaced ones are taken of each segment: of the images that are there, or of the video at the middles
    of as many equal parts of the segment. TIMEMS counts from the item's start, or is on the dataset's clock.

    :raises DataError: no such folder, nothing in it, a file that does not decode (counted with `skip_unreadable`).
    """

    def __init__(self, folder: Path, grid: SegmentGrid, *, frames: int = 3, skip_unreadable: bool = False) -> None:
        if not folder.is_dir():
            raise DataError(folder, "is not a folder", fix="pass the folder that holds a folder or a video an item")
        self._folder, self._grid, self._frames, self._skip = folder, grid, frames, skip_unreadable
        self._left_out: Counter[str] = Counter()
        self._unreadable: list[Path] = []

    def pieces(self) -> Iterator[Piece[Image.Image]]:
        """All frames, item after item; images are decoded when asked for, videos at once."""
        rooms: list[tuple[Any, list[Path]]] = []
        for entry in sorted(self._folder.iterdir()):
            is_room, is_video = entry.is_dir(), entry.suffix.lower() in VIDEOS
            if not is_room and not is_video:
                self._left_out[NAMELESS] += 1
                continue
            item = self._grid.item_of(entry.name if is_room else entry.stem)
            if item is None:
                self._left_out[UNKNOWN] += 1
            elif is_video:
                yield from self._of_video(item, entry)
            else:
                rooms.append((item, sorted(entry.iterdir())))
                if sum(len(files) for _, files in rooms) >= _IMAGES_A_BLOCK:
                    yield from self._of_images(rooms)
                    rooms = []
        yield from self._of_images(rooms)

    def left_out(self) -> Mapping[str, int]:
        """Files by reason: unknown items, names without meaning, moments outside all segments, unreadable ones."""
        unreadable = {UNREADABLE: len(self._unreadable)} if self._unreadable else {}
        return {**self._left_out, **unreadable}

    def _of_images(self, rooms: list[tuple[Any, list[Path]]]) -> Iterator[Piece[Image.Image]]:
        found = [(item, *moment, file) for item, files in rooms for file in files if (moment := self._moment(file))]
        if not found:
            return
        items, segments, times, order, files = zip(*found, strict=True)
        placed = self._grid.placed(
            pl.DataFrame({"item_id": items, "segment": pl.Series(segments, dtype=pl.Int32),
                          "time_ms": pl.Series(times, dtype=pl.Int64), "order": order, "file": range(len(files))})
        )  # fmt: skip
        self._left_out[OUTSIDE] += placed["place"].null_count()
        self._left_out += Counter()
        inside = placed.drop_nulls("place").sort("place", "order")
        places, begins, counts = np.unique(inside["place"].to_numpy(), return_index=True, return_counts=True)
        for place, begin, count in zip(places.tolist(), begins, counts.tolist(), strict=True):
            for number in begin + evenly_spaced(count, self._frames):
                piece = self._image(place, files[inside["file"][int(number)]])
                if piece is not None:
                    yield piece

    def _moment(self, file: Path) -> tuple[int | None, int | None, int] | None:
        """(segment, time_ms, order inside the segment) that a file's name tells."""
        match = _NAME.fullmatch(file.stem) if file.suffix.lower() in IMAGES else None
        if match is None:
            self._left_out[NAMELESS] += 1
            return None
        number = int(match[1])
        return (None, number, number) if match[2] is None else (min(number, 2**31 - 1), None, int(match[2]))

    def _image(self, place: int, file: Path) -> Piece[Image.Image] | None:
        try:
            data = file.read_bytes()
        except OSError as error:
            self._refuse(file, "cannot be read", error)
            return None

        def load() -> Image.Image | None:
            try:
                return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                self._refuse(file, "is not a readable image", error)
                return None

        return Piece(place, content_key(data), load)

    def _of_video(self, item: Any, file: Path) -> Iterator[Piece[Image.Image]]:
        span = self._grid.segments_of(item)
        segments = self._grid.frame[span]
        parts = 2 * np.arange(self._frames) + 1
        start, end = (segments[name].to_numpy()[:, None] for name in ("start_ms", "end_ms"))
        times = (start + parts * (end - start) // (2 * self._frames)).ravel()
        try:
            for number, pixels in frames_at(file, times.tolist()):
                image = Image.fromarray(pixels)
                key = content_key(pixels.tobytes(), pixels.shape)
                yield Piece.of(span.start + number // self._frames, key, image)
        except DataError:
            if not self._skip:
                raise
            self._unreadable.append(file)

    def _refuse(self, file: Path, problem: str, error: Exception) -> None:
        if not self._skip:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise DataError(file, problem, found=reason, fix="remove it, or pass --skip-unreadable") from None
        self._unreadable.append(file)


def evenly_spaced(available: int, wanted: int) -> np.ndarray:
    """Indexes of at most `wanted` of `available` things: the middles of as many equal parts. 3 of 30: 5, 15, 25."""
    count = min(available, wanted)
    return (2 * np.arange(count) + 1) * available // (2 * count) if count else np.arange(0)
