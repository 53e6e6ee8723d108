"""Frames of made videos that carry their own number as black and white bars."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segrec.content.video_frames import frames_at
from segrec.records import DataError

MakeVideo = Callable[..., Path]


def _numbers(file: Path, times_ms: list[int]) -> list[tuple[int, int]]:
    """(number of the moment, number that the frame shows)."""
    found = []
    for moment, pixels in frames_at(file, times_ms):
        assert (pixels.shape, pixels.dtype) == ((32, 64, 3), np.uint8)
        bits = pixels[16, 4::8, 0] > 127
        found.append((moment, int(np.packbits(bits, bitorder="little")[0])))
    return found


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "ffv1"), ("a.mp4", "mpeg4"),
                                             ("a.ts", "libx264"), ("a.avi", "mpeg4")])  # fmt: skip
@pytest.mark.parametrize("group", [1, 7, 120])
def test_every_moment_gets_the_frame_that_is_shown_then(
    make_video: MakeVideo, name: str, codec: str, group: int
) -> None:
    """10 frames a second, 120 frames: at 730 ms the 7th (from 0) is shown; from 12,000 ms on none."""
    file = make_video(name, codec, group=group)
    times = [0, 99, 100, 730, 2_999, 3_000, 3_000, 9_950, 11_999, 12_000, 13_000]
    expected = [0, 0, 1, 7, 29, 30, 30, 99, 119]
    assert _numbers(file, times) == list(enumerate(expected))


def test_dense_moments_are_decoded_in_one_go(make_video: MakeVideo) -> None:
    times = [50 + 100 * number for number in range(120)]
    assert _numbers(make_video("a.mp4", "libx264", group=30), times) == [(number, number) for number in range(120)]


def test_uneven_frames_and_a_late_start(make_video: MakeVideo) -> None:
    """Frames at 5.0, 5.1, 5.4, 7.0, 7.05 s of the container's clock: the video starts with the first."""
    ticks = [5_000, 5_100, 5_400, 7_000, 7_050]
    file = make_video("late.mkv", "ffv1", group=1, ticks=ticks)
    assert _numbers(file, [0, 99, 100, 399, 400, 1_999, 2_000, 2_049, 2_050]) == list(
        enumerate([0, 0, 1, 1, 2, 2, 3, 3, 4])
    )


@pytest.mark.parametrize(
    ("data", "problem"),
    [(b"", "does not decode as a video"), (b"no video at all" * 99, "does not decode as a video")],
)
def test_what_is_no_video_is_named(tmp_path: Path, data: bytes, problem: str) -> None:
    file = tmp_path / "7.mp4"
    file.write_bytes(data)
    with pytest.raises(DataError, match=problem):
        list(frames_at(file, [0]))


def test_a_file_with_sound_only(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "7.avi"), "wb") as sound:
        sound.setparams((1, 2, 8_000, 0, "NONE", ""))
        sound.writeframes(bytes(8_000))
    with pytest.raises(DataError, match="has no video stream"):
        list(frames_at(tmp_path / "7.avi", [0]))


def test_a_file_that_ends_too_soon_gives_what_is_there(make_video: MakeVideo, tmp_path: Path) -> None:
    whole = make_video("a.ts", "libx264", group=10)
    data = whole.read_bytes()
    cut = tmp_path / "cut.ts"
    cut.write_bytes(data[: len(data) // 2])
    found = _numbers(cut, [100 * number for number in range(120)])
    assert 30 < len(found) < 90
    assert all(moment == number for moment, number in found[:-2])
