"""Outputs appear by rename: a folder or file is complete, or it is not there."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from polars.exceptions import PolarsError

from segrec.records.errors import DataError


@contextmanager
def new_folder(out: Path, *, overwrite: bool = False, resumable: bool = False) -> Iterator[Path]:
    """Yields a folder to fill; on success it becomes `out`, on an error `out` is untouched.

    `resumable`: the folder is `out` + ".partial", kept when the work stops, found again by the next call.

    :raises DataError: `out` exists and `overwrite` is False, or it cannot be written.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise DataError(out, "exists already", fix="choose another --out, or pass --overwrite")
    with _one_line_on_os_error(out, _NO_SUCH_PLACE):
        out.parent.mkdir(parents=True, exist_ok=True)
        if resumable:
            building = partial_folder(out)
            building.mkdir(exist_ok=True)
        else:
            building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
            building.chmod(0o755)
    done = False
    try:
        with _one_line_on_os_error(out):
            yield building
            _replace_folder(building, out)
        done = True
    finally:
        if not done and not resumable:
            shutil.rmtree(building, ignore_errors=True)


def partial_folder(out: Path) -> Path:
    """Where a resumable output lies while it is being made."""
    return out.with_name(out.name + ".partial")


@contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """Yields a path to write; on success it replaces `out`, on an error `out` is untouched.

    :raises DataError: the folder of `out` cannot be written, or the disk is full.
    """
    out = Path(out)
    with _one_line_on_os_error(out, _NO_SUCH_PLACE):
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{out.name}.", suffix=out.suffix, dir=out.parent)
        os.close(handle)
    building = Path(name)
    try:
        with _one_line_on_os_error(out):
            yield building
            building.chmod(0o644)
            building.replace(out)
    finally:
        building.unlink(missing_ok=True)


def check_suffix(out: Path, suffix: str) -> None:
    """:raises DataError: the name of `out` does not tell what will be in it."""
    if out.suffix != suffix:
        raise DataError(out, f"does not end in {suffix}", fix=f"pass --out {out.with_suffix(suffix)}")


def _replace_folder(building: Path, out: Path) -> None:
    if out.exists():
        old = out.with_name(f".{out.name}.old-{os.getpid()}")
        out.rename(old)
        building.rename(out)
        shutil.rmtree(old)
    else:
        building.rename(out)


_WRITE_PROBLEMS = {
    errno.ENOSPC,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EISDIR,
}
_NO_SUCH_PLACE = frozenset({errno.ENOENT})
"Where a folder cannot even be made; later on a missing file would be a mistake of ours."

_NUMBERED = re.compile(r"\(os error (\d+)\)")
"polars says the number in its message only."


@contextmanager
def _one_line_on_os_error(out: Path, more: Set[int] = frozenset()) -> Iterator[None]:
    try:
        yield
    except (OSError, PolarsError) as error:
        number = getattr(error, "errno", None)
        if number is None and (told := _NUMBERED.search(str(error))):
            number = int(told[1])
        if number is None or number not in _WRITE_PROBLEMS | more:
            raise
        raise DataError(
            out, f"cannot be written: {os.strerror(number)}", fix="free space or choose another --out"
        ) from None
