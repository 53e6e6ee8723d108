"""KLive: LVTR and content vectors of every 30 s segment of 17,897 live rooms.

Deng et al., "A Multimodal Transformer for Live Streaming Highlight Prediction" (KuaiHL), ICME 2024;
https://github.com/djx2726889/KLive. The publisher documents the fields, not their form: it is found out here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.datasets.klive_records import VECTORS, parse_id, parse_rate, parse_vector, records
from segrec.datasets.klive_rooms import KliveFiles, klive_files, klive_rooms
from segrec.datasets.live_source import LONG_VIEW_MS, LivePart, LiveSource, LiveTables, RowVectors
from segrec.datasets.log_source import LogSource, ReadOptions
from segrec.datasets.made_world import SEGMENT_TRUTH, origin, truth_file
from segrec.datasets.made_world import VECTORS as MADE_VECTORS
from segrec.records import DataError, Rate

LICENCE = "the publisher's agreement: non-commercial research only, no biometric analysis"
SOURCE = "KLive (https://github.com/djx2726889/KLive)"
MODEL = "KLive's own features (Swin for frames, BERT for speech and comments)"
SEGMENT_MS = 30_000
GAP_TOLERANCE_MS = 1_000
"A line that begins at most this much later than the end of the one before still follows it."

_CHUNK_ROWS = 2_048


@dataclass
class _Heads:
    """What stands in each record beside its lists, in file order."""

    live_id: list[int] = field(default_factory=list)
    timestamp: list[int] = field(default_factory=list)
    lvtr: list[float] = field(default_factory=list)
    file: list[int] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    visual: list[bool] = field(default_factory=list)
    text: list[bool] = field(default_factory=list)


def read_klive(source: Path, options: ReadOptions) -> LogSource:
    """The folder of live_id2aid.txt with its folders train and test (or with .log files beside it).

    A record describes the 30 s that begin at its timestamp. lvtr is stored at the segment it describes.

    :raises DataError: no log, no map of rooms to authors, a line of another form.
    """
    options.refuse("klive", "columns", "with_month_averages", "segment_ms", "utc_offset", "long_view_s")
    files = klive_files(source)
    truth = truth_file((source,), SEGMENT_TRUTH)
    licence, name = origin(truth, LICENCE, SOURCE)
    told = "as given with --label-shift" if options.label_shift else "assumed: pass --label-shift to say which it is"
    shift = "already shifted to the segment before" if options.label_shift == "applied" else "that of its own segment"
    published = files.parts[0] is not None
    return LogSource(
        format="klive",
        licence=licence,
        source=name,
        batches=None,
        segment_ms=SEGMENT_MS,
        given_split=published,
        live=LiveSource(
            partial(_prepare, source, files, options, MODEL if truth is None else MADE_VECTORS),
            rates={"lvtr": Rate(known_after_ms=LONG_VIEW_MS)},
            truth=truth,
        ),
        notes=(f"lvtr in the file is {shift} ({told})",),
    )


def _prepare(
    source: Path, files: KliveFiles, options: ReadOptions, model: str, _: Path, rejected: Counter[str]
) -> LiveTables:
    heads = _heads(files)
    segments = _segments(heads, files, options.label_shift == "applied", rejected)
    rooms = klive_rooms(source, segments, files, options)
    order = rooms.select("item_id", _place=pl.int_range(pl.len()))
    kept = segments.join(order, on="item_id").sort("_place", "segment")
    part = LivePart(
        kept.select("item_id", "segment", "start_ms", "end_ms", pl.col("lvtr").cast(pl.Float32)),
        {name: kept.filter(name).select("item_id", "segment", "source_row") for name in VECTORS},
    )
    has = [name for name in VECTORS if kept[name].any()]
    vectors = tuple(
        RowVectors(name, _width(files, name), model, partial(_vectors, files.files, name, _width(files, name)))
        for name in has
    )
    return LiveTables(rooms, iter([part]), vectors)


def _heads(files: KliveFiles) -> pl.DataFrame:
    heads = _Heads()
    for number, file in enumerate(files.files):
        for record in records(file):
            heads.live_id.append(parse_id(file, record, "live_id"))
            heads.timestamp.append(parse_id(file, record, "timestamp"))
            heads.lvtr.append(parse_rate(file, record))
            heads.file.append(number)
            heads.line.append(record.line)
            heads.visual.append(bool(record.fields["visual"].strip()))
            heads.text.append(bool(record.fields["text"].strip()))
    rows = pl.DataFrame(vars(heads)).with_row_index("source_row").rename({"live_id": "item_id"})
    return rows.with_columns(pl.col("source_row").cast(pl.Int64))


def _segments(heads: pl.DataFrame, files: KliveFiles, shifted: bool, rejected: Counter[str]) -> pl.DataFrame:
    """One row a segment: numbered, each lvtr at the segment that it describes."""
    ordered = heads.sort("item_id", "timestamp", "source_row")
    _check_repeated(ordered, files)
    once = ordered.unique(["item_id", "timestamp"], keep="first", maintain_order=True)
    rejected["repeated segment"] += ordered.height - once.height
    possible = once.filter(pl.col("timestamp") >= 0)
    rejected["timestamp < 0"] += once.height - possible.height
    rows = possible.with_columns(start_ms=pl.col("timestamp") * 1000)
    room, start = pl.col("item_id"), pl.col("start_ms")
    return (_moved_back(rows) if shifted else rows).with_columns(
        segment=pl.int_range(pl.len()).over(room).cast(pl.Int32),
        end_ms=pl.min_horizontal(start + SEGMENT_MS, start.shift(-1).over(room)),
    )


def _moved_back(rows: pl.DataFrame) -> pl.DataFrame:
    """Each lvtr one segment later: at the line that follows, or, where none follows at once, at a segment of its own,
    which has no vectors."""
    room, start = pl.col("item_id"), pl.col("start_ms")
    follows = (start.shift(-1).over(room) - start <= SEGMENT_MS + GAP_TOLERANCE_MS).fill_null(False)
    marked = rows.with_columns(_follows=follows)
    added = marked.filter(~pl.col("_follows")).with_columns(
        start + SEGMENT_MS, source_row=None, visual=pl.lit(False), text=pl.lit(False)
    )
    before = pl.col("_follows").shift(1).over(room).fill_null(False)
    moved = marked.with_columns(lvtr=pl.when(before).then(pl.col("lvtr").shift(1).over(room)))
    return pl.concat([moved, added.select(moved.columns)], how="vertical_relaxed").drop("_follows").sort(room, start)


def _check_repeated(ordered: pl.DataFrame, files: KliveFiles) -> None:
    """:raises DataError: two records of one segment say different things."""
    same = (pl.col("item_id") == pl.col("item_id").shift(1)) & (pl.col("timestamp") == pl.col("timestamp").shift(1))
    differ = ordered.filter((same & (pl.col("lvtr") != pl.col("lvtr").shift(1))).fill_null(False))
    if differ.height:
        row = differ.row(0, named=True)
        raise DataError(
            files.files[row["file"]], f"line {row['line']}: live_id {row['item_id']} has another lvtr at the same "
            "timestamp before", found=f"timestamp {row['timestamp']}, lvtr {row['lvtr']}",
            expected="one lvtr a segment", fix="remove one of the lines",
        )  # fmt: skip


def _width(files: KliveFiles, name: str) -> int:
    """Of the first vector."""
    for file in files.files:
        for record in records(file):
            if record.fields[name].strip():
                return len(parse_vector(file, record, name))
    return 0


def _vectors(files: Sequence[Path], name: str, width: int) -> Iterator[npt.NDArray[np.float64]]:
    """(n, width) in file order; zeros where a record has no such vector (no segment claims them)."""
    held = np.zeros((_CHUNK_ROWS, width))
    filled = 0
    for file in files:
        for record in records(file):
            if record.fields[name].strip():
                vector = parse_vector(file, record, name)
                if len(vector) != width:
                    raise DataError(
                        file, f"line {record.line}, column {name!r}: the vector has another width", found=len(vector),
                        expected=f"{width}, as in the first line", fix="correct or remove the line",
                    )  # fmt: skip
                held[filled] = vector
            filled += 1
            if filled == _CHUNK_ROWS:
                yield held.copy()
                filled = 0
    yield held[:filled].copy()
