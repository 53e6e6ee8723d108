"""KLive's rooms: its files by the publisher's split, rooms' authors and starts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from segrec.datasets.log_source import ReadOptions
from segrec.records import DataError
from segrec.splitting import TIME_VALID, share

AUTHORS = "live_id2aid.txt"
_LOG = "*.log"


@dataclass(frozen=True)
class KliveFiles:
    """The .log files and the part of the published split that each belongs to (None: there are no such folders)."""

    files: tuple[Path, ...]
    parts: tuple[str | None, ...]


def klive_files(source: Path) -> KliveFiles:
    """:raises DataError: no folder, no map of rooms to authors, or no log."""
    if not source.is_dir():
        raise DataError(source, "is not a folder", expected=f"KLive's folder with {AUTHORS}", fix="unpack it")
    if not (source / AUTHORS).is_file():
        here = ", ".join(sorted(file.name for file in source.iterdir())[:8])
        raise DataError(
            source, f"holds no {AUTHORS}", found=here or "nothing", expected="rooms and their authors",
            fix="pass the folder of the unpacked download",
        )  # fmt: skip
    cut = {part: sorted((source / part).glob(_LOG)) for part in ("train", "test")}
    if all(cut.values()):
        files = [*cut["train"], *cut["test"]]
        return KliveFiles(tuple(files), tuple(file.parent.name for file in files))
    loose = sorted([*source.glob(_LOG), *cut["train"], *cut["test"]])
    if not loose:
        raise DataError(
            source, "holds no segments", expected="train/*.log and test/*.log", fix="download the rest of the archive"
        )
    return KliveFiles(tuple(loose), (None,) * len(loose))


def klive_rooms(source: Path, segments: pl.DataFrame, files: KliveFiles, options: ReadOptions) -> pl.DataFrame:
    """item_id, author_id, start_ms and, where published, split; by start. `segments`: item_id, start_ms, file, line.

    :raises DataError: a room without an author, or on both sides of the published split.
    """
    authors = _authors(source / AUTHORS)
    rooms = segments.group_by("item_id").agg(
        pl.min("start_ms"), pl.first("line"), pl.col("file").first(), _files=pl.col("file").unique()
    )
    rooms = rooms.join(authors, on="item_id", how="left").sort("start_ms", "item_id")
    unknown = rooms.filter(pl.col("author_id").is_null())
    if unknown.height:
        row = unknown.row(0, named=True)
        raise DataError(
            files.files[row["file"]], f"line {row['line']}: live_id {row['item_id']} is not in live_id2aid.txt",
            found=f"{unknown.height:,} such rooms", expected="a line live_id, author_id for every room",
            fix=f"download {AUTHORS} again",
        )  # fmt: skip
    wanted = ["item_id", "author_id", "start_ms"]
    if files.parts[0] is None or options.split.rule == "time" or options.split.valid_from is not None:
        return rooms.select(wanted)
    return _published(source, rooms, files).select(*wanted, "split")


def _published(source: Path, rooms: pl.DataFrame, files: KliveFiles) -> pl.DataFrame:
    """The publisher's train and test; the newest 10% of the train rooms are valid."""
    tests = [number for number, part in enumerate(files.parts) if part == "test"]
    inside = pl.col("_files").list.eval(pl.element().is_in(tests))
    rooms = rooms.with_columns(_any=inside.list.any(), _all=inside.list.all())
    both = rooms.filter(pl.col("_any") & ~pl.col("_all"))
    if both.height:
        raise DataError(
            source, f"live_id {both['item_id'][0]} lies in train and in test", found=f"{both.height:,} such rooms",
            expected="each room in one of them", fix="read it with --split time",
        )  # fmt: skip
    train = rooms.filter(~pl.col("_any"))["start_ms"]
    if not share(len(train), TIME_VALID):
        raise DataError(
            source, "too few rooms in train to make the newest 10% of them valid", found=len(train),
            expected="at least 5", fix="read it with --split time",
        )  # fmt: skip
    later = train.sort(descending=True)[: share(len(train), TIME_VALID)]
    valid = pl.when(pl.col("start_ms") >= later.min()).then(pl.lit("valid")).otherwise(pl.lit("train"))
    return rooms.with_columns(split=pl.when("_any").then(pl.lit("test")).otherwise(valid))


def _authors(file: Path) -> pl.DataFrame:
    """item_id, author_id from lines of two whole numbers, with or without a header."""
    pairs: dict[int, int] = {}
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(file, "is not UTF-8 text", fix="unpack the archive, pass its folder") from None
    for number, line in enumerate(text.splitlines(), 1):
        words = [word for word in re.split(r"[\t, \x01]+", line.strip()) if word]
        if not words or (number == 1 and words == ["live_id", "author_id"]):
            continue
        if len(words) != 2 or not all(re.fullmatch(r"-?\d+", word) for word in words):
            raise DataError(
                file, f"line {number}: wrong value", found=repr(line.strip()[:40]),
                expected="live_id and author_id, two whole numbers", fix="correct or remove the line",
            )  # fmt: skip
        room, author = int(words[0]), int(words[1])
        if pairs.setdefault(room, author) != author:
            raise DataError(
                file, f"line {number}: live_id {room} has another author before", found=author, expected=pairs[room],
                fix="remove one of the lines",
            )  # fmt: skip
    return pl.DataFrame(
        {"item_id": list(pairs), "author_id": list(pairs.values())}, schema={"item_id": pl.Int64, "author_id": pl.Int64}
    )
