"""Lines that become texts, and lines that do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segrec.content.segment_grid import SegmentGrid
from segrec.content.segment_texts import SegmentTexts
from segrec.records import DataError, DatasetFolder

GOOD = {"item_id": 7, "segment": 0, "source": "speech", "text": "hello"}


def _texts(tmp_path: Path, grid: SegmentGrid, *lines: object) -> SegmentTexts:
    file = tmp_path / "said.jsonl"
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return SegmentTexts.of_json_lines(file, grid)


def _read(texts: SegmentTexts) -> dict[int, str | None]:
    return {piece.place: piece.load() for piece in texts.pieces()}


def test_speech_in_time_order_then_comments(tmp_path: Path, grid: SegmentGrid) -> None:
    texts = _texts(
        tmp_path, grid,
        {**GOOD, "segment": None, "time_ms": 9_000, "source": "comment", "text": "late"},
        {**GOOD, "segment": None, "time_ms": 8_000, "text": "then"},
        "",
        {**GOOD, "segment": None, "time_ms": 1_000, "source": "comment", "text": "early"},
        {**GOOD, "segment": None, "time_ms": 2_000, "text": "first"},
        {**GOOD, "item_id": "8", "segment": 1, "text": "other room"},
    )  # fmt: skip
    assert _read(texts) == {0: "first then early late", 5: "other room"}
    assert texts.left_out() == {}


def test_what_does_not_belong_is_counted(tmp_path: Path, grid: SegmentGrid) -> None:
    texts = _texts(
        tmp_path, grid, GOOD, {**GOOD, "item_id": 99}, {**GOOD, "item_id": "x"}, {**GOOD, "segment": 3},
        {**GOOD, "segment": None, "time_ms": 10**12}, {**GOOD, "segment": 1, "text": "[smile]"},
    )  # fmt: skip
    assert _read(texts) == {0: "hello"}
    assert texts.left_out() == {
        "unknown item_id": 2,
        "no such segment in the room": 2,
        "segments whose text is empty after cleaning": 1,
    }


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"item_id": 7,', "is not JSON (found: Expecting property name enclosed in double quotes at column"),
        ("[7, 0]", "is not an object (found: list;"),
        ({"segment": 0, "source": "speech", "text": "a"}, "item_id is neither a number nor a string"),
        ({**GOOD, "item_id": True}, "item_id is neither a number nor a string"),
        ({**GOOD, "item_id": 7.5}, "item_id is neither a number nor a string"),
        ({**GOOD, "segment": -1}, "segment is not a whole number >= 0"),
        ({**GOOD, "segment": 2**31}, "segment is not a whole number >= 0"),
        ({**GOOD, "time_ms": 1.5}, "time_ms is not a whole number >= 0"),
        ({**GOOD, "segment": None}, "has neither segment nor time_ms"),
        ({**GOOD, "source": "asr"}, "source is neither speech nor comment"),
        ({**GOOD, "text": None}, "text is not a string"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, grid: SegmentGrid, line: object, problem: str) -> None:
    with pytest.raises(DataError) as error:
        _texts(tmp_path, grid, GOOD, "", line)
    assert f"said.jsonl:3: {problem}" in str(error.value)
    assert 'expected: {"item_id": 7, "time_ms": 1200 (or "segment": 0)' in str(error.value)


def test_a_file_that_is_not_utf8(tmp_path: Path, grid: SegmentGrid) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "\xff\xfe"}')
    with pytest.raises(DataError, match="is not UTF-8"):
        SegmentTexts.of_json_lines(tmp_path / "a.jsonl", grid)


def test_an_empty_file_has_no_text(tmp_path: Path, grid: SegmentGrid) -> None:
    assert _read(_texts(tmp_path, grid)) == {}


def test_a_dataset_without_texts(rooms: DatasetFolder, grid: SegmentGrid) -> None:
    with pytest.raises(DataError, match=r"has no texts.parquet; pass --texts FILE.jsonl"):
        SegmentTexts.of_dataset(rooms, grid)
