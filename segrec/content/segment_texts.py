"""One text a segment: speech, then comments, of JSON lines or of the dataset's own texts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from segrec.content.cleaning import joined
from segrec.content.embedding import Piece, content_key, in_chunks
from segrec.content.segment_grid import SegmentGrid
from segrec.records import DataError, DatasetFolder

SOURCES = ("speech", "comment")
UNKNOWN = "unknown item_id"
OUTSIDE = "no such segment in the room"
EMPTY = "segments whose text is empty after cleaning"
_LINES_A_BLOCK = 100_000
_FORM = '{"item_id": 7, "time_ms": 1200 (or "segment": 0), "source": "speech" | "comment", "text": "..."}'


class SegmentTexts:
    """Texts by segment. `lines`: item_id, segment, time_ms (either may be null), source (speech | comment), text."""

    def __init__(self, lines: pl.DataFrame, grid: SegmentGrid, left_out: Mapping[str, int] | None = None) -> None:
        self._left_out: Counter[str] = Counter(left_out or {})
        self._lines = grid.placed(lines)
        known = self._lines["item_id"].is_in(grid.item_starts["item_id"].implode())
        self._left_out[UNKNOWN] += int((~known).sum())
        self._left_out[OUTSIDE] += int((known & self._lines["place"].is_null()).sum())

    @classmethod
    def of_dataset(cls, dataset: DatasetFolder, grid: SegmentGrid) -> SegmentTexts:
        """texts.parquet of the dataset folder.

        :raises DataError: there is none.
        """
        lines = dataset.texts()
        if lines is None:
            raise DataError(dataset.path, "has no texts.parquet", fix=f"pass --texts FILE.jsonl, lines like {_FORM}")
        names = ("item_id", "segment", "time_ms", "source", "text")
        return cls(lines.select(names).with_columns(pl.col("segment").cast(pl.Int32)), grid)

    @classmethod
    def of_json_lines(cls, file: Path, grid: SegmentGrid) -> SegmentTexts:
        """A file of JSON objects, one a line; empty lines are passed over.

        :raises DataError: no such file, or a line (named) that is not such an object.
        """
        schema = {"item_id": grid.frame.schema["item_id"], "segment": pl.Int32(), "time_ms": pl.Int64()}
        schema = {**schema, "source": pl.String(), "text": pl.String()}
        parts, unknown = [pl.DataFrame(schema=schema)], 0
        for block in in_chunks(_numbered_lines(file), _LINES_A_BLOCK):
            rows = [_row(_parsed(f"{file}:{number}", line), grid) for number, line in block]
            known = [row for row in rows if row[0] is not None]
            unknown += len(rows) - len(known)
            parts.append(pl.DataFrame(known, schema=schema, orient="row"))
        return cls(pl.concat(parts), grid, {UNKNOWN: unknown})

    def pieces(self) -> Iterator[Piece[str]]:
        """One text a segment, by segment: speech in time order, then comments, cleaned."""
        lines = self._lines.drop_nulls(["place", "text"]).sort("place", "time_ms", maintain_order=True)
        said = pl.col("source") == "speech"
        texts = lines.group_by("place", maintain_order=True).agg(
            speech=pl.col("text").filter(said), comments=pl.col("text").filter(~said)
        )
        for place, speech, comments in texts.iter_rows():
            text = joined(speech, comments)
            if text:
                yield Piece.of(place, content_key(text.encode()), text)
            else:
                self._left_out[EMPTY] += 1

    def left_out(self) -> Mapping[str, int]:
        """Lines by reason, and segments without a word."""
        return {reason: count for reason, count in self._left_out.items() if count}


def _row(told: Mapping[str, Any], grid: SegmentGrid) -> tuple[Any, ...]:
    return grid.item_of(str(told["item_id"])), *(told.get(name) for name in ("segment", "time_ms", "source", "text"))


def _numbered_lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        with file.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise DataError(file, f"cannot be read: {error.strerror}", fix="pass --texts FILE.jsonl or `dataset`") from None
    except UnicodeDecodeError as error:
        raise DataError(file, "is not UTF-8", found=str(error)[:100], fix="write it as UTF-8") from None


def _parsed(where: str, line: str) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(where, "is not JSON", found=f"{error.msg} at column {error.colno}", expected=_FORM) from None
    if not isinstance(told, dict):
        raise DataError(where, "is not an object", found=type(told).__name__, expected=_FORM)
    problem = _problem(told)
    if problem is not None:
        raise DataError(where, problem, found=line.strip()[:120], expected=_FORM)
    return told


def _problem(told: Mapping[str, Any]) -> str | None:
    if isinstance(told.get("item_id"), bool) or not isinstance(told.get("item_id"), int | str):
        return "item_id is neither a number nor a string"
    for name, limit in (("segment", 2**31), ("time_ms", 2**63)):
        value = told.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < limit):
            return f"{name} is not a whole number >= 0"
    if told.get("segment") is None and told.get("time_ms") is None:
        return "has neither segment nor time_ms"
    if told.get("source") not in SOURCES:
        return "source is neither speech nor comment"
    return None if isinstance(told.get("text"), str) else "text is not a string"
