"""Writes a dataset folder from a log in streams, from live rooms or from both: reject, cut, sort, split, hash.

It appears by rename.
"""

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
from segrec.datasets.live_writer import LiveFolder, live_fingerprint, write_live
from segrec.datasets.log_source import Frames, LogSource, ReadOptions
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

_NO_FEATURES = ("author_id", "start_ms", "split")
"Columns of items.parquet that are no features: author_id is an id of its own, start_ms and split tell rooms apart."
_FIRST = ("user_id", "item_id", "author_id", "time_ms", "duration_ms", "watch_ms", "split")


@dataclass
class _Counts:
    """Rows by what became of them."""

    rejected: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)


def write_dataset(log: LogSource, out: Path, options: ReadOptions, *, overwrite: bool = False) -> DatasetFolder:
    """The dataset folder `out`, made of `log`: its impressions, its live rooms, or both.

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
        live = None
        if log.live is not None:
            live = write_live(log, log.live, building, options, counts.rejected)
            check_parts(out, live.splitter.rule, live.segments)
        splitter, interactions = _impressions(log, options, building, counts, None if live is None else live.splitter)
        if log.batches is not None:
            check_parts(out, splitter.rule, counts.rows)
        for vectors in log.vectors:
            write_segment_vectors(
                building / "segments" / vectors.name, vectors.index, vectors.chunks(), dim=vectors.dim,
                dtype=options.vectors_type, model=vectors.model,
            )  # fmt: skip
        if log.truth is not None:
            shutil.copyfile(log.truth, building / "truth.parquet")
        shutil.rmtree(scratch)
        meta = _meta(log, splitter, counts, (users, items, interactions), live)
        (building / "dataset.json").write_text(meta.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return DatasetFolder.open(out)


def _impressions(
    log: LogSource, options: ReadOptions, building: Path, counts: _Counts, given: Splitter | None
) -> tuple[Splitter, ContentHash]:
    """Writes interactions/; `given` = the split of the live rooms, whose thresholds hold for impressions too."""
    if log.batches is None:
        assert given is not None, "a source has impressions, live rooms or both"
        return given, ContentHash()
    scratch = building / ".scratch"
    spill = _spill(log, log.batches, options, building, counts)
    runs = StoredRuns(scratch / "runs", spill.runs(counts.rejected))
    splitter = given or _splitter(log, options.split, runs, scratch)
    return splitter, _write_interactions(building, runs, splitter, counts)


def _write_sides(log: LogSource, building: Path, counts: _Counts) -> tuple[SideTable, SideTable]:
    users, items = SideTable(), SideTable()
    if log.users is not None:
        users = write_side_table(building / "users.parquet", "user_id", log.users(), counts.rejected)
    if log.items is not None:
        items = write_side_table(building / "items.parquet", "item_id", log.items(), counts.rejected)
    return users, items


def _spill(log: LogSource, batches: Frames, options: ReadOptions, building: Path, counts: _Counts) -> DaySpill:
    authors = Authors(building / "items.parquet")
    spill = DaySpill(building / ".scratch" / "days", log.utc_offset_hours, authors.join)
    reasons: dict[str, pl.Expr] = {}
    schema, kept = None, 0
    for frame in batches():
        if schema is None:
            schema = frame.schema
            reasons = impossible(schema, log.flags, log.impossible, may_miss=log.may_miss)
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
    log: LogSource, splitter: Splitter, counts: _Counts, written: tuple[SideTable, SideTable, ContentHash],
    live: LiveFolder | None,
) -> DatasetMeta:  # fmt: skip
    users, items, interactions = written
    if live is None:
        fingerprint = _fingerprint(interactions, items, log.segment_ms)
    else:
        items = live.items
        fingerprint = live_fingerprint(interactions.hexdigest(), live, log.segment_ms)
    rows: dict[Split, int] = {part: counts.rows[part] for part in SPLITS}
    return DatasetMeta(
        format=log.format,
        segment_ms=log.segment_ms,
        utc_offset_hours=log.utc_offset_hours,
        split=splitter.rule,
        rows=rows,
        segments={} if live is None else {part: live.segments[part] for part in SPLITS},
        rates={} if log.live is None else dict(log.live.rates),
        counters=[] if log.live is None else list(log.live.counters),
        rejected=_by_size(counts.rejected.items()),
        left_out=_by_size(counts.left_out.items()),
        flags=list(log.flags),
        context=list(log.context),
        user_features=list(users.features),
        item_features=[name for name in items.features if name not in _NO_FEATURES],
        licence=log.licence,
        source=log.source,
        fingerprint=fingerprint,
    )


def _by_size(counted: Iterable[tuple[str, int]]) -> dict[str, int]:
    return dict(sorted(((reason, rows) for reason, rows in counted if rows), key=lambda pair: -pair[1]))
