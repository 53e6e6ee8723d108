"""Which files become frames of which segments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segrec.content.frame_folders import FrameFolders, evenly_spaced
from segrec.content.segment_grid import SegmentGrid
from segrec.records import DataError, DatasetFolder

ROOM_START = 1_747_000_000_000
Paint = Callable[..., Path]


def _levels(source: FrameFolders) -> list[tuple[int, int]]:
    """(place, grey level of the frame's first pixel) in order."""
    return [(piece.place, np.asarray(piece.load())[0, 0, 0]) for piece in source.pieces()]  # type: ignore[misc]


def test_images_named_by_segment_and_frame(grid: SegmentGrid, paint: Paint, tmp_path: Path) -> None:
    for name, level in (("7/0_2.png", 3), ("7/0_0.png", 1), ("7/0_1.png", 2), ("7/04_00.PNG", 9), ("8/1_0.bmp", 7)):
        paint(name, level)
    assert _levels(FrameFolders(tmp_path / "frames", grid)) == [(0, 1), (0, 2), (0, 3), (3, 9), (5, 7)]


def test_images_named_by_time(grid: SegmentGrid, paint: Paint, tmp_path: Path) -> None:
    for ms, level in ((0, 1), (29_999, 2), (30_000, 3), (ROOM_START + 120_000, 4), (149_999, 5)):
        paint(f"7/{ms}.png", level)
    assert _levels(FrameFolders(tmp_path / "frames", grid)) == [(0, 1), (0, 2), (1, 3), (3, 5), (3, 4)]


def test_three_evenly_spaced_of_thirty(grid: SegmentGrid, paint: Paint, tmp_path: Path) -> None:
    for second in range(30):
        paint(f"7/{second * 1000}.png", second)
    assert _levels(FrameFolders(tmp_path / "frames", grid)) == [(0, 5), (0, 15), (0, 25)]
    assert _levels(FrameFolders(tmp_path / "frames", grid, frames=1)) == [(0, 15)]


@pytest.mark.parametrize(
    ("available", "wanted", "expected"),
    [(0, 3, []), (1, 3, [0]), (2, 3, [0, 1]), (3, 3, [0, 1, 2]), (4, 3, [0, 2, 3]), (5, 1, [2]), (30, 3, [5, 15, 25])],
)
def test_evenly_spaced(available: int, wanted: int, expected: list[int]) -> None:
    assert evenly_spaced(available, wanted).tolist() == expected


def test_what_is_not_used_is_counted(grid: SegmentGrid, paint: Paint, tmp_path: Path) -> None:
    for name in ("7/0_0.png", "7/3_0.png", "7/100000.png", "7/cover.png", "7/-1.png", "99/0_0.png", "x/0_0.png"):
        paint(name, 1)
    (tmp_path / "frames" / "readme.txt").write_text("hello")
    (tmp_path / "frames" / "7" / "0_1.txt").write_text("hello")
    (tmp_path / "frames" / "98.mp4").write_bytes(b"")
    source = FrameFolders(tmp_path / "frames", grid)
    assert _levels(source) == [(0, 1)]
    assert source.left_out() == {
        "unknown item_id": 3, "no such segment in the room": 2, "file name not understood": 4,
    }  # fmt: skip


def test_ids_that_are_text(write_rooms: Callable[..., DatasetFolder], paint: Paint, tmp_path: Path) -> None:
    paint("room8/1_0.png", 4)
    grid = SegmentGrid.of(write_rooms(id_form="room{}"))
    assert _levels(FrameFolders(tmp_path / "frames", grid)) == [(5, 4)]


def test_identical_files_have_one_key(grid: SegmentGrid, paint: Paint, tmp_path: Path) -> None:
    paint("7/0_0.png", 5), paint("8/0_0.png", 5), paint("8/1_0.png", 6)
    keys = [piece.key for piece in FrameFolders(tmp_path / "frames", grid).pieces()]
    assert keys[0] == keys[1] != keys[2]


def test_images_come_as_rgb_and_upright(grid: SegmentGrid, tmp_path: Path) -> None:
    folder = tmp_path / "frames" / "7"
    folder.mkdir(parents=True)
    turned = Image.fromarray(np.repeat(np.arange(4, dtype=np.uint8)[:, None] * 60, 2, 1), "L")
    mark = Image.Exif()
    mark[0x0112] = 3  # turned by 180 degrees
    turned.save(folder / "0_0.png", exif=mark)
    Image.new("RGBA", (2, 2), (9, 8, 7, 100)).save(folder / "1_0.png")
    Image.new("P", (2, 2)).save(folder / "2_0.png")
    first, second, third = (piece.load() for piece in FrameFolders(tmp_path / "frames", grid).pieces())
    assert np.asarray(first)[:, 0, 0].tolist() == [180, 120, 60, 0]
    assert np.asarray(second)[0, 0].tolist() == [9, 8, 7]
    assert third is not None
    assert third.mode == "RGB"


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\x00" * 40])
def test_an_unreadable_image_is_named_or_counted(grid: SegmentGrid, paint: Paint, tmp_path: Path, data: bytes) -> None:
    file = paint("7/0_0.png", 1)
    file.write_bytes(data)
    with pytest.raises(DataError) as error:
        _ = [piece.load() for piece in FrameFolders(file.parents[1], grid).pieces()]
    assert str(error.value).startswith(f"{file}: is not a readable image (found: ")
    assert str(error.value).endswith("; remove it, or pass --skip-unreadable")
    source = FrameFolders(file.parents[1], grid, skip_unreadable=True)
    assert [piece.load() for piece in source.pieces()] == [None]
    assert source.left_out() == {"unreadable": 1}


def test_an_image_that_cannot_be_opened_is_named_or_counted(grid: SegmentGrid, tmp_path: Path) -> None:
    (tmp_path / "frames" / "7" / "0_0.png").mkdir(parents=True)
    with pytest.raises(DataError, match=r"0_0.png: cannot be read \(found: .*Is a directory"):
        list(FrameFolders(tmp_path / "frames", grid).pieces())
    source = FrameFolders(tmp_path / "frames", grid, skip_unreadable=True)
    assert (list(source.pieces()), source.left_out()) == ([], {"unreadable": 1})


def test_a_truncated_image_is_named(grid: SegmentGrid, paint: Paint, tmp_path: Path) -> None:
    file = paint("7/0_0.png", size=(60, 60))
    file.write_bytes(file.read_bytes()[:2_000])
    with pytest.raises(DataError, match="is not a readable image"):
        _ = [piece.load() for piece in FrameFolders(file.parents[1], grid).pieces()]


def _shown(piece_image: object) -> int:
    bits = np.asarray(piece_image)[16, 4::8, 0] > 127
    return int(np.packbits(bits, bitorder="little")[0])


def test_frames_of_a_rooms_video(grid: SegmentGrid, make_video: Callable[..., Path], tmp_path: Path) -> None:
    """A frame a second for 128 s: of segment 0 seconds 5, 15, 25; of segment 4 (120 to 150 s) only 125."""
    file = make_video("frames/7.mp4", frames=128, ticks=[1000 * number for number in range(128)])
    found = [(piece.place, _shown(piece.load())) for piece in FrameFolders(file.parent, grid).pieces()]
    assert found == [(0, 5), (0, 15), (0, 25), (1, 35), (1, 45), (1, 55), (2, 65), (2, 75), (2, 85), (3, 125)]


def test_frames_of_a_short_video(
    write_videos_dataset: Callable[..., DatasetFolder], make_video: Callable[..., Path]
) -> None:
    """10 frames a second; segments 0 to 5 s, 5 to 10 s, 10 to 12 s: middles of thirds."""
    file = make_video("frames/5.mkv", "ffv1")
    grid = SegmentGrid.of(write_videos_dataset({5: 12_000}))
    found = [(piece.place, _shown(piece.load())) for piece in FrameFolders(file.parent, grid).pieces()]
    assert found == [(0, 8), (0, 25), (0, 41), (1, 58), (1, 75), (1, 91), (2, 103), (2, 110), (2, 116)]


def test_an_unreadable_video_is_named_or_counted(grid: SegmentGrid, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "7.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"7.mp4: does not decode as a video"):
        list(FrameFolders(tmp_path / "frames", grid).pieces())
    source = FrameFolders(tmp_path / "frames", grid, skip_unreadable=True)
    assert (list(source.pieces()), source.left_out()) == ([], {"unreadable": 1})
