"""Outputs appear whole or not at all, and a disk that refuses is told in one line."""

from __future__ import annotations

import errno
from pathlib import Path

import polars as pl
import pytest

from segrec.records import DataError, new_file, new_folder, partial_folder


def test_a_folder_appears_when_it_is_done(tmp_path):
    out = tmp_path / "deep" / "out"
    with new_folder(out) as building:
        (building / "a").write_text("1")
        assert not out.exists()
    assert (out / "a").read_text() == "1"
    assert [file.name for file in out.parent.iterdir()] == ["out"]


def test_an_error_leaves_nothing_and_keeps_the_old(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("")

    def fails():
        with new_folder(out, overwrite=True) as building:
            (building / "new").write_text("")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert [file.name for file in out.iterdir()] == ["old"]


def test_overwrite(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("")
    with pytest.raises(DataError, match="exists already; choose another --out, or pass --overwrite"), new_folder(out):
        pass
    with new_folder(out, overwrite=True) as building:
        (building / "new").write_text("")
    assert [file.name for file in out.iterdir()] == ["new"]


def test_a_resumable_folder_is_found_again(tmp_path):
    out = tmp_path / "out"

    def stops():
        with new_folder(out, resumable=True) as building:
            (building / "half").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stops()
    assert (partial_folder(out) / "half").is_file()
    with new_folder(out, resumable=True) as building:
        assert (building / "half").is_file()
    assert (out / "half").is_file()
    assert not partial_folder(out).exists()


def test_a_file_replaces_the_old_one_when_done(tmp_path):
    out = tmp_path / "deep" / "a.txt"
    with new_file(out) as building:
        building.write_text("1")
    assert out.read_text() == "1"

    def fails():
        with new_file(out) as again:
            again.write_text("2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert out.read_text() == "1"
    assert [file.name for file in out.parent.iterdir()] == ["a.txt"]


FULL = OSError(errno.ENOSPC, "No space left on device")
FULL_IN_POLARS = pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)")


@pytest.mark.parametrize("error", [FULL, OSError("No space left on device (os error 28)"), FULL_IN_POLARS])
@pytest.mark.parametrize("kind", [new_file, new_folder])
def test_a_full_disk_is_one_line(tmp_path, error, kind):
    def fails():
        with kind(tmp_path / "out"):
            raise error

    with pytest.raises(DataError, match="out: cannot be written: No space left on device; free space or choose"):
        fails()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [OSError("strange"), pl.exceptions.ColumnNotFoundError("x"), OSError(errno.EIO, "i/o")]
)
def test_our_own_faults_stay_what_they_are(tmp_path, error):
    def fails():
        with new_file(tmp_path / "out"):
            raise error

    with pytest.raises(type(error)):
        fails()


@pytest.mark.parametrize("kind", [new_file, new_folder])
def test_a_file_where_a_folder_should_be(tmp_path, kind):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"), kind(tmp_path / "file" / "out"):
        pass


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc, where nobody can make a folder")
def test_a_place_where_no_folder_can_be_made_is_one_line() -> None:
    for make in (new_folder, new_file):
        with pytest.raises(DataError, match="cannot be written"), make(Path("/proc/nothing/here/out")):
            pass
