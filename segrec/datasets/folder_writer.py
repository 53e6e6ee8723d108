"""Writes a dataset folder from a log in streams: reject, cut by day, sort, split, hash; it appears by rename."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from segrec.datasets.authors import Authors
from segrec.datasets.day_spill import DaySpill, StoredRuns
from segrec.datasets.fingerprint import ContentHash
from segrec.datasets.impossible_rows import impossible, take_out
from segrec.datasets.log_source import LogSource, ReadOptions
from segrec.datasets.side_tables import SideTable, write_side_table
from segrec.records import (
    SPLITS,
    ConfigError,
    DataError,
    DatasetFolder,
    DatasetMeta,
    Split,
    new_folder,
    write_segment_vectors,
)
from segrec.splitting import GivenSplit, SplitRequest, Splitter, TimeSplit, UserSplit, check_parts

_FIRST = ("user_id", "item_id", "author_id", "time_ms", "duration_ms", "watch_ms", "split")


@dataclass
class _Counts:
    """Rows by what became of them."""

    rejected: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)


def write_dataset(log: LogSource, out: Path, options: ReadOptions, *, overwrite: bool = False) -> DatasetFolder:
    """The dataset folder `out`, made of `log`.

    Memory holds about a million rows at a time, and the ids of users and items; not the log.

    :raises DataError: the source does not parse, no row is left, a part of the split is empty, `out` cannot be written.
    :raises ConfigError: `only` is no flag of this log.
    """
    if options.only is not None and options.only not in log.flags:
        raise ConfigError(f"--only {options.only}: no such flag (known: {', '.join(log.flags) or 'none'})")
    with new_folder(out, overwrite=overwrite) as building:
        scratch = building / ".scratch"
        scratch.mkdir()
        counts = _Counts()
        users, items = _write_sides(log, building, counts)
        spill = _spill(log, options, building, counts)
        runs = StoredRuns(scratch / "runs", spill.runs(counts.rejected))
        splitter = _splitter(log, options.split, runs, scratch)
        interactions = _write_interactions(building, runs, splitter, counts)
        check_parts(out, splitter.rule, counts.rows)
        for vectors in log.vectors:
            write_segment_vectors(
                building / "segments" / vectors.name, vectors.index, vectors.chunks(), dim=vectors.dim,
                dtype=options.vectors_type, model=vectors.model,
            )  # fmt: skip
        if log.truth is not None:
            shutil.copyfile(log.truth, building / "truth.parquet")
        shutil.rmtree(scratch)
        fingerprint = _fingerprint(interactions, items, log.segment_ms)
        meta = _meta(log, splitter, counts, (users, items), fingerprint)
        (building / "dataset.json").write_text(meta.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return DatasetFolder.open(out)


def _write_sides(log: LogSource, building: Path, counts: _Counts) -> tuple[SideTable, SideTable]:
    users, items = SideTable(), SideTable()
    if log.users is not None:
        users = write_side_table(building / "users.parquet", "user_id", log.users(), counts.rejected)
    if log.items is not None:
        items = write_side_table(building / "items.parquet", "item_id", log.items(), counts.rejected)
    return users, items


def _spill(log: LogSource, options: ReadOptions, building: Path, counts: _Counts) -> DaySpill:
    authors = Authors(building / "items.parquet")
    spill = DaySpill(building / ".scratch" / "days", log.utc_offset_hours, authors.join)
    reasons: dict[str, pl.Expr] = {}
    schema, kept = None, 0
    for frame in log.batches():
        if schema is None:
            schema, reasons = frame.schema, impossible(frame.schema, log.flags, log.impossible)
        _check_same_columns(log, frame.schema, schema)
        possible = take_out(frame, reasons, counts.rejected).drop(log.checked_only)
        if options.only is not None:
            chosen = possible.filter(pl.col(options.only) == 1)
            counts.left_out[f"{options.only} = 0"] += possible.height - chosen.height
            possible = chosen
        kept += possible.height
        spill.add(possible)
    if not kept:
        _refuse_empty(log, counts)
    spill.flush()
    return spill


def _check_same_columns(log: LogSource, found: pl.Schema, first: pl.Schema) -> None:
    if found != first:
        differ = sorted({name for name, _ in set(found.items()) ^ set(first.items())})
        raise DataError(
            log.source, f"column {differ[0]!r} is not the same in all files", found=found.get(differ[0], "missing"),
            expected=first.get(differ[0], "none, as in the files before"), fix="give all log files the same columns",
        )  # fmt: skip


def _refuse_empty(log: LogSource, counts: _Counts) -> None:
    lost = {**counts.rejected, **counts.left_out}
    if not lost:
        raise DataError(log.source, "the log is empty", found="0 rows", fix="check the source files")
    reasons = ", ".join(f"{reason}: {rows:,}" for reason, rows in lost.items())
    raise DataError(log.source, "no row is left", found=reasons, fix="check the columns and their units")


def _splitter(log: LogSource, request: SplitRequest, runs: StoredRuns, scratch: Path) -> Splitter:
    if request.valid_from is not None and request.test_from is not None:
        return TimeSplit.by_dates(request.valid_from, request.test_from, log.utc_offset_hours)
    if request.rule is None and log.given_split:
        return GivenSplit()
    if request.rule is None or request.rule == "time":
        return TimeSplit.by_shares(runs)
    return UserSplit.fit(runs, request.rule, scratch / "users")


def _write_interactions(building: Path, runs: StoredRuns, splitter: Splitter, counts: _Counts) -> ContentHash:
    content, first_row, parts = ContentHash(), 0, Counter[int]()
    for day, frame in runs:
        split = splitter.assign(frame, first_row)
        split = split.select(*_FIRST, pl.exclude(*_FIRST))
        first_row += split.height
        counts.rows.update(dict(split["split"].value_counts().iter_rows()))
        content.add(split)
        folder = building / "interactions" / f"day={_day_name(day)}"
        folder.mkdir(parents=True, exist_ok=True)
        split.write_parquet(folder / f"part-{parts[day]:05}.parquet", compression="zstd")
        parts[day] += 1
    return content


def _day_name(day: int) -> str:
    name: str = pl.Series([day], dtype=pl.Int32).cast(pl.Date).dt.strftime("%Y-%m-%d")[0]
    return name


def _fingerprint(interactions: ContentHash, items: SideTable, segment_ms: int) -> str:
    parts = [interactions.hexdigest(), items.content_hash, f"segment_ms={segment_ms}"]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _meta(
    log: LogSource, splitter: Splitter, counts: _Counts, sides: tuple[SideTable, SideTable], fingerprint: str
) -> DatasetMeta:
    rows: dict[Split, int] = {part: counts.rows[part] for part in SPLITS}
    return DatasetMeta(
        format=log.format,
        segment_ms=log.segment_ms,
        utc_offset_hours=log.utc_offset_hours,
        split=splitter.rule,
        rows=rows,
        rejected=_by_size(counts.rejected.items()),
        left_out=_by_size(counts.left_out.items()),
        flags=list(log.flags),
        context=list(log.context),
        user_features=list(sides[0].features),
        item_features=[name for name in sides[1].features if name != "author_id"],
        licence=log.licence,
        source=log.source,
        fingerprint=fingerprint,
    )


def _by_size(counted: Iterable[tuple[str, int]]) -> dict[str, int]:
    return dict(sorted(((reason, rows) for reason, rows in counted if rows), key=lambda pair: -pair[1]))
