"""SegMM: interactions of the full release or of the public sample, and CLIP features of segments.

He et al., "Short Video Segment-level User Dynamic Interests Modeling", SIGIR 2025; github.com/hezy18/SegMMInterest.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa

from segrec.datasets.columns import resolve_aliases
from segrec.datasets.csv_stream import csv_frames, csv_header
from segrec.datasets.log_source import LIVE_ONLY, LogSource, ReadOptions
from segrec.datasets.made_world import VECTORS, origin, truth_file
from segrec.datasets.segmm_features import segmm_vectors
from segrec.records import ConfigError, DataError, exit_segment, segment_count

LICENCE = "none stated by the publisher: research use, do not redistribute"
SOURCE = "SegMM (https://github.com/hezy18/SegMMInterest)"
SEGMENT_MS = 5000
"Features and labels stand on this grid."

ALIASES = {
    "user_id": ("user_id",),
    "item_id": ("photo_id", "video_id"),
    "time_ms": ("time_ms",),
    "duration_ms": ("duration_ms", "uration_ms"),
    "watch_ms": ("playing_time",),
}
"Our name: the publisher's names (uration_ms is the release's own misprint)."
LABEL = "label_1D"
EFFECTIVE = "wtd_effective_view"
DISAGREES = f"{LABEL} disagrees with playing_time"


def read_segmm(source: Path, options: ReadOptions) -> LogSource:
    """The folder of SegMM_inter*.csv (and, where downloaded, the features), or one such file.

    Times are shifted by the publisher: split by users, or by time without dates.

    :raises DataError: no or several interaction files, a missing column, features that do not fit their map.
    """
    options.refuse("segmm", "columns", "with_month_averages", *LIVE_ONLY)
    file = _interactions_file(source)
    separator = "\t" if "\t" in csv_header(file, "\n")[0] else ","
    found = csv_header(file, separator)
    renames = resolve_aliases(file, "SegMM interactions", found, ALIASES)
    truth = truth_file((file.parent,))
    vectors = segmm_vectors(file.parent) if truth is None else segmm_vectors(file.parent, VECTORS)
    segment_ms = options.segment_ms or SEGMENT_MS
    if segment_ms != SEGMENT_MS and vectors:
        raise ConfigError(f"--segment-ms {segment_ms}: SegMM's features stand on segments of {SEGMENT_MS} ms")
    labelled = LABEL in found
    licence, name = origin(truth, LICENCE, SOURCE)
    return LogSource(
        format="segmm",
        licence=licence,
        source=name,
        batches=partial(_frames, file, renames, separator),
        segment_ms=segment_ms,
        flags=(EFFECTIVE,) if EFFECTIVE in found else (),
        impossible={DISAGREES: ~label_agrees()} if labelled else {},
        checked_only=(LABEL,) if labelled else (),
        vectors=vectors,
        truth=truth,
    )


def label_agrees() -> pl.Expr:
    """True where the list `label_1D` is what playing_time says: 1 before the skip, 0 at it, -1 after, -2 beyond."""
    label = pl.col(LABEL)
    ones = label.list.count_matches(1).cast(pl.Int32)
    zeros = label.list.count_matches(0).cast(pl.Int32)
    segments = label.list.len().cast(pl.Int32) - label.list.count_matches(-2).cast(pl.Int32)
    exit_at, count = exit_segment(SEGMENT_MS), segment_count(SEGMENT_MS)
    in_order = label == label.list.sort(descending=True)
    return in_order & (ones == exit_at) & (zeros == (exit_at < count).cast(pl.Int32)) & (segments == count)


def _interactions_file(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise DataError(source, "does not exist", expected="the folder of SegMM_inter.csv", fix="check the path")
    found = sorted([*source.glob("SegMM_inter*.csv"), *source.glob("SegMM_inter*.csv.gz")])
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise DataError(
            source, "holds no single interactions file", found=names, expected="one SegMM_inter.csv",
            fix="pass the file itself",
        )  # fmt: skip
    return found[0]


def _frames(file: Path, renames: dict[str, str], separator: str) -> Iterator[pl.DataFrame]:
    types = {**dict.fromkeys(renames, pa.int64()), LABEL: pa.string(), EFFECTIVE: pa.float64()}
    first_row = 2
    for frame in csv_frames(file, types, separator=separator, multiline=True):
        named = frame.rename(renames)
        if LABEL in frame.columns:
            named = named.with_columns(_parsed_labels(named[LABEL], file, first_row))
        first_row += frame.height
        yield named


def _parsed_labels(printed: pl.Series, file: Path, first_row: int) -> pl.Series:
    """List<Int8> from numpy's print of an array: "[ 0 -1\\n -1]"."""
    numbers = printed.str.strip_chars("[] \n\r\t").str.extract_all(r"\S+")
    parsed = numbers.list.eval(pl.element().cast(pl.Int8, strict=False))
    bad = printed.is_null() | parsed.list.eval(pl.element().is_null()).list.any() | (parsed.list.len() == 0)
    if bad.any():
        at = int(bad.arg_max() or 0)
        raise DataError(
            file, f"record {first_row + at}, column {LABEL!r}: not a printed list of numbers", found=printed[at],
            expected="[1 0 -1 ...]", fix="correct the row",
        )  # fmt: skip
    return parsed.alias(LABEL)
