"""CSV streams: what does not parse is told with its row, also far behind the first block."""

from __future__ import annotations

import gzip

import polars as pl
import pyarrow as pa
import pytest

from segrec.datasets import csv_stream
from segrec.datasets.csv_stream import csv_frames, csv_header
from segrec.records import DataError

TYPES = {"a": pa.int64(), "b": pa.float64()}


def _read(file, **how):
    return pl.concat(csv_frames(file, TYPES, **how))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(csv_stream, "BLOCK_BYTES", 256)


def test_frames_follow_the_file(tmp_path, small_blocks):
    file = tmp_path / "log.csv"
    file.write_text("a,b,c\n" + "".join(f"{i},{i}.5,x{i}\n" for i in range(500)))
    frames = list(csv_frames(file, TYPES))
    assert len(frames) > 5
    assert pl.concat(frames).rows() == [(i, i + 0.5, f"x{i}") for i in range(500)]


@pytest.mark.parametrize("before", [0, 1000])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x,1", r"row {}, column 'a': wrong type .found: 'x'; expected: a whole number."),
        ("1.5,1", r"row {}, column 'a': wrong type .found: '1.5'"),
        ("1,y", r"row {}, column 'b': wrong type .found: 'y'; expected: a number."),
        ("nan,1", r"row {}, column 'a': wrong type .found: 'nan'"),
        ("1,nan", r"row {}, column 'b': not a finite number .found: nan"),
        ("1,-inf", r"row {}, column 'b': not a finite number .found: -inf"),
        ("1", r"row {} is ragged .found: 1 fields; expected: 2 fields"),
        ("1,2,3", r"row {} is ragged .found: 3 fields; expected: 2 fields"),
        ("99999999999999999999,1", r"row {}, column 'a': wrong type"),
    ],
)
def test_bad_rows_are_named(tmp_path, small_blocks, before, row, message):
    file = tmp_path / "log.csv"
    file.write_text("a,b\n" + "1,2\n" * before + row + "\n")
    with pytest.raises(DataError, match=message.format(before + 2)) as told:
        _read(file)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("columns", [["a", "b"], ["b", "a"], ["b"]])
def test_bad_rows_are_named_whatever_is_read(tmp_path, columns):
    file = tmp_path / "log.csv"
    file.write_text("c,a,b\n0,1,2\n0,1,y\n")
    with pytest.raises(DataError, match="row 3, column 'b': wrong type"):
        _read(file, columns=columns)


@pytest.mark.parametrize("text", ["", "NULL", "NA", "\\N"])
def test_missing_values_are_null(tmp_path, text):
    file = tmp_path / "log.csv"
    file.write_text(f"a,b\n{text},1\n2,{text}\n")
    assert _read(file).rows() == [(None, 1.0), (2, None)]


def test_an_undeclared_column_that_changes_its_type(tmp_path, small_blocks):
    file = tmp_path / "log.csv"
    file.write_text("a,b,c\n" + "1,2,3\n" * 200 + "1,2,x\n")
    with pytest.raises(DataError, match=r"row 202, column 'c': wrong type .*as in the rows before.*declare its type"):
        _read(file)


@pytest.mark.parametrize("kept", [15, 400])
def test_truncated_gzip(tmp_path, kept):
    file = tmp_path / "log.csv.gz"
    file.write_bytes(gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * 7919) for i in range(3000)))[:kept])
    with pytest.raises(DataError, match=r"is truncated or not gzip .expected: a complete .gz file.; download it again"):
        _read(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty .expected: a header line"),
        (b"\n", "is empty"),
        (b"a,b,a\n1,2,3\n", "column 'a' occurs twice in the header"),
        (b"\xff\xfe\x00\x01", "is not UTF-8 text"),
        (b"PK\x03\x04\xff\xff,\n", "is not UTF-8 text"),
    ],
)
def test_bad_headers(tmp_path, content, message):
    file = tmp_path / "log.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        csv_header(file)


def test_not_gzip_inside_gz_and_no_file(tmp_path):
    (tmp_path / "log.csv.gz").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="is truncated or not gzip"):
        csv_header(tmp_path / "log.csv.gz")
    with pytest.raises(DataError, match="does not exist"):
        csv_header(tmp_path / "none.csv")


def test_byte_order_mark_quotes_and_tabs(tmp_path):
    file = tmp_path / "log.csv"
    file.write_bytes('\ufeffa\tb\tc\n1\t2\t"x\n\ty"\n'.encode())
    assert csv_header(file, "\t") == ["a", "b", "c"]
    assert _read(file, separator="\t", multiline=True).rows() == [(1, 2.0, "x\n\ty")]


def test_flags_hold_0_and_1_only(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text("a,b\n0,1\n,1\n2,1\n")
    with pytest.raises(DataError, match=r"row 4, column 'a': not a flag .found: 2; expected: 0 or 1"):
        _read(file, flags=["a"])
