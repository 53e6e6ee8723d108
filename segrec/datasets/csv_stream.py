"""CSV files as a stream of frames; what does not parse is an error with its row and column."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv

from segrec.records import DataError

BLOCK_BYTES = 4 << 20
"""Bytes parsed at a time: memory stands still whatever the length of the file."""

MISSING = ["", "NULL", "null", "NA", "N/A", "\\N"]
"Texts that stand for a missing value. NaN is not among them: it is an error."

_BAD_VALUE = re.compile(r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to ([^:]+): (.*)", re.DOTALL)
_RAGGED = re.compile(r"CSV parse error: (?:Row #(\d+): )?Expected (\d+) columns, got (\d+)", re.DOTALL)
_EXPECTED = {"int": "a whole number", "double": "a number", "float": "a number", "bool": "true or false"}


def csv_header(file: Path, separator: str = ",") -> list[str]:
    """The column names of `file` (.csv or .csv.gz).

    :raises DataError: missing, empty, truncated, not text, or a name that occurs twice.
    """
    try:
        with _open_text(file) as stream:
            names = next(csv.reader(stream, delimiter=separator), [])
    except FileNotFoundError:
        raise DataError(file, "does not exist", fix="check the source folder") from None
    except (EOFError, gzip.BadGzipFile):
        raise _truncated(file) from None
    except UnicodeDecodeError:
        raise DataError(file, "is not UTF-8 text", fix="pass the CSV file itself, or save it as UTF-8") from None
    if not any(names):
        raise DataError(file, "is empty", expected="a header line", fix="download or write the file again")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(file, f"column {twice[0]!r} occurs twice in the header", fix="rename one of them")
    return names


def csv_frames(
    file: Path,
    types: Mapping[str, pa.DataType],
    *,
    columns: Sequence[str] | None = None,
    flags: Sequence[str] = (),
    separator: str = ",",
    multiline: bool = False,
) -> Iterator[pl.DataFrame]:
    """Frames of `file` in order. Columns outside `types` take the type that the first block shows.

    `columns` = which to read (all); `flags` = columns that hold 0, 1 or nothing; `multiline` = quoted values may
    hold line breaks (slower).

    :raises DataError: a ragged row, a value of another type, NaN or infinity (row and column are named; the
        header is row 1), a truncated file.
    """
    header = csv_header(file, separator)
    row = 2
    try:
        reader = pacsv.open_csv(
            file,
            # Only a single thread knows the number of a bad row.
            pacsv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            pacsv.ParseOptions(delimiter=separator, newlines_in_values=multiline),
            pacsv.ConvertOptions(
                column_types=dict(types),
                include_columns=list(columns if columns is not None else header),
                null_values=MISSING,
                strings_can_be_null=True,
            ),
        )
        for batch in reader:
            frame = pl.DataFrame(pa.Table.from_batches([batch]))
            check_finite(frame, file, row)
            check_flags(frame, flags, file, row)
            row += frame.height
            yield frame
    except (pa.ArrowInvalid, OSError) as error:
        raise _told(file, error, header, types) from None


def check_finite(frame: pl.DataFrame, file: Path, first_row: int) -> None:
    """:raises DataError: a float column holds NaN or infinity; names the row and the column."""
    for name, dtype in frame.schema.items():
        if dtype.is_float() and not frame[name].is_finite().all():
            at = frame.select((~pl.col(name).is_finite()).fill_null(False).arg_max()).item()
            raise DataError(
                file, f"row {first_row + at}, column {name!r}: not a finite number", found=frame[name][at],
                expected="a number, or an empty field where it is missing", fix="correct or remove the row",
            )  # fmt: skip


def check_flags(frame: pl.DataFrame, flags: Sequence[str], file: Path, first_row: int) -> None:
    """:raises DataError: a flag holds something else than 0 and 1; names the row and the column."""
    for name in flags:
        if not frame[name].is_between(0, 1).all():
            at = frame.select((~pl.col(name).is_between(0, 1)).fill_null(False).arg_max()).item()
            raise DataError(
                file, f"row {first_row + at}, column {name!r}: not a flag", found=frame[name][at],
                expected="0 or 1", fix="correct the row",
            )  # fmt: skip


def _open_text(file: Path) -> IO[str]:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return file.open("r", encoding="utf-8-sig", newline="")


def _truncated(file: Path) -> DataError:
    return DataError(file, "is truncated or not gzip", expected="a complete .gz file", fix="download it again")


def _told(file: Path, error: Exception, header: Sequence[str], types: Mapping[str, pa.DataType]) -> DataError:
    text = str(error)
    if found := _BAD_VALUE.search(text):
        name = header[int(found[1])]
        value = re.sub(r"^invalid value ", "", found[4])
        kind = next((words for start, words in _EXPECTED.items() if found[3].startswith(start)), found[3])
        where = f"row {found[2]}, column {name!r}" if found[2] else f"column {name!r}"
        expected, fix = kind, "correct or remove the row"
        if name not in types:
            expected, fix = f"{kind}, as in the rows before", "correct the row (or, in a column map, declare its type)"
        return DataError(file, f"{where}: wrong type", found=value, expected=expected, fix=fix)
    if found := _RAGGED.search(text):
        where = f"row {found[1]}" if found[1] else "a row"
        return DataError(
            file, f"{where} is ragged", found=f"{found[3]} fields", expected=f"{found[2]} fields",
            fix="the file may be cut off: download it again, or correct the row",
        )  # fmt: skip
    if isinstance(error, OSError):
        if "compressed" in text or file.suffix == ".gz":
            return _truncated(file)
        return DataError(file, "cannot be read", found=text, fix="check the file")
    return DataError(file, "does not parse as CSV", found=text[:200], fix="check the file")
