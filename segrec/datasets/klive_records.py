"""KLive's records, whatever their form: separator, list syntax, header and widths show in the first ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segrec.datasets.columns import resolve_aliases
from segrec.records import DataError

COLUMNS = {
    "live_id": ("live_id",),
    "timestamp": ("timestamp",),
    "lvtr": ("lvtr",),
    "visual": ("image_feaure", "image_feature"),
    "text": ("text_feaure", "text_feature"),
}
"Our name: the publisher's names (feaure is its own misprint), in the documented order."
VECTORS = ("visual", "text")

SEPARATORS = {"\x01": "caret-A", "\t": "tab", ",": "comma", " ": "blank"}
"Looked for outside the lists, in this order."
_MOST_LINES = 5_000
"A printed list of 10,000 numbers breaks into fewer lines."
_WIDE = re.compile(r"\.\.\.|…")


@dataclass(frozen=True)
class Record:
    """One segment's text, cut into fields."""

    line: int
    "Where it begins; the first line of a file is 1."
    fields: dict[str, str]
    "By our name; those of the lists without their brackets."


@dataclass(frozen=True)
class RecordForm:
    """How a file is written."""

    separator: str
    columns: tuple[str, ...]
    "Our names in the file's order."


def records(file: Path) -> Iterator[Record]:
    """The records of `file`, in order.

    :raises DataError: not text, an unknown separator or column, a record that does not have its five fields, a list
        that does not close; names the line.
    """
    form = None
    for line, text in _texts(file):
        if form is None:
            form = _sniffed(file, line, text)
            if "[" not in text:
                continue
        yield Record(line, _fields(file, line, text, form))


def parse_id(file: Path, record: Record, name: str) -> int:
    """The whole number in column `name`.

    :raises DataError: it is none; names the line.
    """
    text = record.fields[name]
    try:
        return int(text)
    except ValueError:
        raise _wrong(file, record.line, name, text, "a whole number") from None


def parse_rate(file: Path, record: Record) -> float:
    """The lvtr.

    :raises DataError: no number, or outside 0 .. 1; names the line.
    """
    text = record.fields["lvtr"]
    try:
        rate = float(text)
    except ValueError:
        raise _wrong(file, record.line, "lvtr", text, "a number from 0 to 1") from None
    if not 0 <= rate <= 1:
        raise _wrong(file, record.line, "lvtr", text, "a number from 0 to 1")
    return rate


def parse_vector(file: Path, record: Record, name: str) -> npt.NDArray[np.float64]:
    """The list in column `name`: numbers between commas (JSON) or blanks (numpy's print).

    :raises DataError: something that is no finite number, or a list that the printer shortened; names the line.
    """
    inner = record.fields[name]
    if _WIDE.search(inner):
        raise DataError(
            file, f"line {record.line}, column {name!r}: the list was shortened when it was printed", found="...",
            expected="all numbers", fix="write it whole (numpy: set_printoptions(threshold=sys.maxsize))",
        )  # fmt: skip
    try:
        values = np.fromstring(inner, sep="," if "," in inner else " ")
    except (ValueError, DeprecationWarning):
        values = np.full(1, np.nan)
    if not np.isfinite(values).all():
        bad = next((word for word in re.split(r"[,\s]+", inner.strip()) if not _is_number(word)), inner[:30])
        raise _wrong(file, record.line, name, bad, "a list of finite numbers")
    return values


def _is_number(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False


def _wrong(file: Path, line: int, name: str, found: str, expected: str) -> DataError:
    return DataError(
        file, f"line {line}, column {name!r}: wrong value", found=repr(found[:40]), expected=expected,
        fix="correct or remove the line",
    )  # fmt: skip


def _texts(file: Path) -> Iterator[tuple[int, str]]:
    """(first line, text): a list may go on in the next lines."""
    held: list[str] = []
    first, open_lists = 1, 0
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if not held:
                    if not line.strip():
                        continue
                    first = number
                held.append(line)
                open_lists += line.count("[") - line.count("]")
                if open_lists > 0 and len(held) < _MOST_LINES:
                    continue
                yield first, "".join(held)
                held, open_lists = [], 0
    except FileNotFoundError:
        raise DataError(file, "does not exist", fix="check the source folder") from None
    except UnicodeDecodeError:
        raise DataError(file, "is not UTF-8 text", fix="unpack the archive, pass its folder") from None
    if held:
        raise DataError(
            file, f"line {first}: a list does not close (the file is cut off?)", found=repr(held[-1].rstrip()[-30:]),
            expected="]", fix="download it again",
        )  # fmt: skip


def _sniffed(file: Path, line: int, text: str) -> RecordForm:
    outside, _ = _cut(file, line, text) if "[" in text else (text, [])
    separator = next((mark for mark in SEPARATORS if mark in outside.strip(" \r\n")), None)
    names = [] if separator is None else _split(outside, separator)
    if separator is None or len(names) != len(COLUMNS):
        known = ", ".join(SEPARATORS.values())
        raise DataError(
            file, f"line {line}: unknown separator", found=repr(outside.strip()[:40]),
            expected=f"live_id, timestamp, lvtr and two lists, between them one of {known}",
            fix="write the fields with one of these separators",
        )  # fmt: skip
    if "[" in text:
        return RecordForm(separator, tuple(COLUMNS))
    renames = resolve_aliases(file, "KLive segments", names, COLUMNS)
    return RecordForm(separator, tuple(renames[name] for name in names))


def _fields(file: Path, line: int, text: str, form: RecordForm) -> dict[str, str]:
    outside, lists = _cut(file, line, text)
    parts = _split(outside, form.separator)
    if len(parts) != len(COLUMNS) or [bool(part) for part in parts] != [name not in VECTORS for name in form.columns]:
        named = SEPARATORS[form.separator]
        raise DataError(
            file, f"line {line} is ragged", found=f"{outside.strip()[:60]!r} outside its lists",
            expected=f"{', '.join(form.columns)} with {named} between them, as in the first line",
            fix="the file may be cut off: download it again, or correct the line",
        )  # fmt: skip
    inner = iter(lists)
    return {name: next(inner) if name in VECTORS else part for name, part in zip(form.columns, parts, strict=True)}


def _cut(file: Path, line: int, text: str) -> tuple[str, list[str]]:
    """(what is outside the lists, the two lists without brackets)."""
    if text.count("[") != len(VECTORS) or text.count("]") != len(VECTORS):
        found = f"{text.count('[')} that open, {text.count(']')} that close"
        raise DataError(
            file, f"line {line} does not have two lists", found=found, expected="two lists in brackets",
            fix="the file may be cut off: download it again, or correct the line",
        )  # fmt: skip
    one, end_one = text.index("["), text.index("]")
    two, end_two = text.rindex("["), text.rindex("]")
    outside = text[:one] + text[end_one + 1 : two] + text[end_two + 1 :]
    return outside, [text[one + 1 : end_one], text[two + 1 : end_two]]


def _split(outside: str, separator: str) -> list[str]:
    return [part.strip(" \"'\r\n") for part in outside.strip("\r\n").split(separator)]
