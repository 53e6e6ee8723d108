"""The frames that a video shows at given moments, exact to the frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from segrec.records import DataError

Pixels = npt.NDArray[np.uint8]

_SEEK_MS = 3_000
"A moment further ahead than this is sought from its keyframe; a nearer one is decoded up to."


def frames_at(file: Path, times_ms: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    """(number of the moment, (height, width, 3) uint8) of each of `times_ms` (ascending, from the video's start).

    The frame at t is the last one that begins at or before t. Moments after the video's end get none.

    :raises DataError: the file does not open, has no picture or does not decode.
    """
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise DataError(file, "has no video stream", fix=_FIX)
            playhead = _Playhead(container, container.streams.video[0])
            for number, time_ms in enumerate(times_ms):
                frame = playhead.at(time_ms)
                if frame is None:
                    return
                pixels: Pixels = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
                yield number, pixels
    except av.error.FFmpegError as error:
        raise DataError(file, "does not decode as a video", found=error.strerror, fix=_FIX) from None


_FIX = "repair or remove it, or pass --skip-unreadable"


class _Playhead:
    """Decodes forward; seeks where the next moment is far ahead."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        stream.thread_type = "AUTO"
        self._container, self._stream = container, stream
        self._ms = Fraction(1, 1000) / (stream.time_base or Fraction(1, 1000))
        "Ticks a millisecond."
        self._origin = stream.start_time or 0
        self._frames: Iterator[VideoFrame] = container.decode(stream)
        self._shown: VideoFrame | None = None
        self._ahead = self._next()
        self._gap = 0
        "Ticks between the newest two frames: what the last frame lasts where it does not say so itself."

    def at(self, time_ms: int) -> VideoFrame | None:
        """The frame shown at `time_ms`; before the first frame the first; None after the end."""
        moment = self._origin + time_ms * self._ms
        if self._ahead is not None and moment - _ticks(self._ahead) > _SEEK_MS * self._ms:
            self._seek(moment)
        while self._ahead is not None and _ticks(self._ahead) <= moment:
            if self._shown is not None:
                self._gap = _ticks(self._ahead) - _ticks(self._shown)
            self._shown, self._ahead = self._ahead, self._next()
        if self._shown is None:
            return self._ahead
        ended = self._ahead is None and moment >= _ticks(self._shown) + (self._shown.duration or self._gap or self._ms)
        return None if ended else self._shown

    def _seek(self, moment: Fraction) -> None:
        """To the keyframe before `moment`; where a container's index leads behind it, back to the beginning."""
        for target in (int(moment), self._origin):
            self._container.seek(target, stream=self._stream, backward=True)
            self._frames = self._container.decode(self._stream)
            self._shown, self._ahead = None, self._next()
            if self._ahead is not None and _ticks(self._ahead) <= moment:
                return

    def _next(self) -> VideoFrame | None:
        return next((frame for frame in self._frames if frame.pts is not None), None)


def _ticks(frame: VideoFrame) -> int:
    return int(frame.pts or 0)
