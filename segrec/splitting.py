"""Splits: by time, by time within each user, the papers' random one within each user, or as the source gives it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import SPLITS, Config, ConfigError, DataError, SplitRule

TIME_TEST, TIME_VALID = 0.1, 0.1
"Default shares of all rows, newest first: test, then valid."
USERS_TEST, USERS_VALID = 0.2, 0.1
"Shares of each user's rows, newest first (design.md)."
PUBLISHED_TEST, PUBLISHED_VALID, PUBLISHED_SEED = 0.1, 0.1, 2024
"SegMM's code: of each user's rows 10% test at random, then 10% of the rest valid (papers/segmm.md section 4)."

BUCKET_ROWS = 4_000_000
"Users are cut into buckets of about this many rows, so that memory does not grow with the log."


class SplitRequest(Config):
    """The split that was asked for. Nothing asked: the source's own where it has one, else by time."""

    rule: Literal["time", "users", "published"] | None = None
    valid_from: date | None = None
    "First day of valid, in the source's clock."
    test_from: date | None = None
    "First day of test, in the source's clock."

    @classmethod
    def asked(cls, rule: str | None, valid_from: str | None, test_from: str | None) -> SplitRequest:
        """From the command line's words.

        :raises ConfigError: an unknown rule, no date, one date without the other, or dates in the wrong order.
        """
        request = cls.checked({"rule": rule, "valid_from": valid_from, "test_from": test_from})
        first, second = request.valid_from, request.test_from
        if (first is None) != (second is None):
            raise ConfigError("--valid-from and --test-from go together: pass both dates, or neither")
        if first is not None and rule not in (None, "time"):
            raise ConfigError(f"--split {rule} takes no dates: leave out --valid-from and --test-from")
        if first is not None and second is not None and first >= second:
            raise ConfigError(f"--valid-from {first} must be before --test-from {second}")
        return request


class StoredRows(Protocol):
    """All rows in time order, on disk in runs."""

    @property
    def heights(self) -> Sequence[int]:
        """Rows of each run."""

    def read(self, run: int, columns: Sequence[str]) -> pl.DataFrame:
        """Those columns of a run."""


class Splitter(Protocol):
    """Gives each row its split."""

    @property
    def rule(self) -> SplitRule:
        """What dataset.json says of it."""

    def assign(self, frame: pl.DataFrame, first_row: int) -> pl.DataFrame:
        """`frame` with the column `split`; its first row is row `first_row` of the whole log."""


@dataclass(frozen=True)
class TimeSplit:
    """valid_from_ms <= valid < test_from_ms <= test."""

    rule: SplitRule

    @classmethod
    def by_dates(cls, valid_from: date, test_from: date, utc_offset_hours: float) -> TimeSplit:
        """Cut at midnight of both days in the source's clock."""
        first, second = (midnight_ms(day, utc_offset_hours) for day in (valid_from, test_from))
        return cls(SplitRule(rule="time", valid_from_ms=first, test_from_ms=second))

    @classmethod
    def by_shares(cls, rows: StoredRows) -> TimeSplit:
        """The newest 10% are test, the 10% before them valid; rows of one time stay together (the newer side)."""
        total = sum(rows.heights)
        test, valid = share(total, TIME_TEST), share(total, TIME_VALID)
        times = [_time_at(rows, index) for index in (total - test - valid, total - test)]
        return cls(SplitRule(rule="time", valid_from_ms=times[0], test_from_ms=times[1]))

    def assign(self, frame: pl.DataFrame, first_row: int) -> pl.DataFrame:
        """`frame` with `split`."""
        return frame.with_columns(_by_thresholds("time_ms", self.rule.valid_from_ms, self.rule.test_from_ms))


@dataclass(frozen=True)
class UserSplit:
    """Each user's rows in order of a key, cut at that user's two thresholds; no user is held out."""

    rule: SplitRule
    thresholds: pl.DataFrame
    "user_id, valid_from, test_from (keys; null = no such rows)."

    @classmethod
    def fit(cls, rows: StoredRows, rule: Literal["users", "published"], scratch: Path) -> UserSplit:
        """`users`: key = time_ms, so rows of one time never straddle; `published`: key = seeded random number."""
        chosen = SplitRule(rule=rule, seed=PUBLISHED_SEED if rule == "published" else None)
        buckets = _bucketed(rows, chosen, scratch)
        frames = [_thresholds(bucket, rule) for bucket in buckets]
        return cls(chosen, pl.concat(frames))

    def assign(self, frame: pl.DataFrame, first_row: int) -> pl.DataFrame:
        """`frame` with `split`."""
        keyed = _with_key(frame, self.rule, first_row).join(
            self.thresholds, on="user_id", how="left", maintain_order="left"
        )
        return keyed.with_columns(_by_thresholds("_key", pl.col("valid_from"), pl.col("test_from"))).drop(
            "_key", "valid_from", "test_from"
        )


@dataclass(frozen=True)
class GivenSplit:
    """The source's own column `split`."""

    rule: SplitRule = field(default_factory=lambda: SplitRule(rule="given"))

    def assign(self, frame: pl.DataFrame, first_row: int) -> pl.DataFrame:
        """`frame` as it is."""
        return frame


def midnight_ms(day: date, utc_offset_hours: float) -> int:
    """Epoch ms of the start of `day` in a clock that is `utc_offset_hours` ahead of UTC."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=utc_offset_hours)
    return round(start.timestamp() * 1000)


def share(rows: int, part: float) -> int:
    """`part` of `rows`, rounded half up."""
    return int(np.floor(rows * part + 0.5))


def check_parts(where: Path, rule: SplitRule, rows: dict[str, int]) -> None:
    """:raises DataError: train, valid or test has no rows; names the part, and the rows of each."""
    empty = [part for part in SPLITS if not rows.get(part)]
    if empty:
        counts = ", ".join(f"{part} {rows.get(part, 0):,}" for part in SPLITS)
        fix = {
            "time": "choose other --valid-from and --test-from dates, or --split users",
            "users": "users have too few rows: split by time",
            "published": "users have too few rows: split by time",
            "given": "give each part rows in the split column, or leave it out of the map",
        }[rule.rule]
        raise DataError(
            where, f"the split by {rule.rule!r} leaves {' and '.join(empty)} without rows", found=counts, fix=fix
        )


def _by_thresholds(key: str, valid_from: object, test_from: object) -> pl.Expr:
    first, second = (value if isinstance(value, pl.Expr) else pl.lit(value) for value in (valid_from, test_from))
    return (
        pl.when(pl.col(key) >= second)
        .then(pl.lit("test"))
        .when(pl.col(key) >= first)
        .then(pl.lit("valid"))
        .otherwise(pl.lit("train"))
        .alias("split")
    )


def _time_at(rows: StoredRows, index: int) -> int:
    for run, height in enumerate(rows.heights):
        if index < height:
            return int(rows.read(run, ["time_ms"])["time_ms"][index])
        index -= height
    last = len(rows.heights) - 1
    return int(rows.read(last, ["time_ms"])["time_ms"][-1]) + 1


def _with_key(frame: pl.DataFrame, rule: SplitRule, first_row: int) -> pl.DataFrame:
    if rule.rule == "users":
        return frame.with_columns(_key=pl.col("time_ms"))
    return frame.with_columns(_key=pl.Series(random_keys(first_row, frame.height, rule.seed or 0)))


def random_keys(first_row: int, rows: int, seed: int) -> npt.NDArray[np.int64]:
    """A random number for each row number, the same on every machine and version (splitmix64)."""
    with np.errstate(over="ignore"):
        state = np.arange(first_row, first_row + rows, dtype=np.uint64) + np.uint64(1)
        state = (state + (np.uint64(seed) << np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((state ^ (state >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


def _bucketed(rows: StoredRows, rule: SplitRule, scratch: Path) -> Iterator[pl.DataFrame]:
    """user_id and key of all rows, a user whole in one bucket."""
    buckets = -(-sum(rows.heights) // BUCKET_ROWS)
    scratch.mkdir()
    first = 0
    for run, height in enumerate(rows.heights):
        frame = _with_key(rows.read(run, ["user_id", "time_ms"]), rule, first).select("user_id", "_key")
        first += height
        cut = frame.with_columns(_bucket=pl.col("user_id").hash() % buckets)
        for (bucket,), part in cut.partition_by("_bucket", as_dict=True, include_key=False).items():
            (scratch / f"{bucket}").mkdir(exist_ok=True)
            part.write_ipc(scratch / f"{bucket}" / f"{run:05}.arrow")
    for folder in sorted(scratch.iterdir()):
        yield pl.concat([pl.read_ipc(file) for file in sorted(folder.iterdir())])


def _thresholds(bucket: pl.DataFrame, rule: Literal["users", "published"]) -> pl.DataFrame:
    """user_id, valid_from, test_from from rows user_id, _key."""
    n = pl.len()
    if rule == "users":
        test = (n * USERS_TEST + 0.5).floor()
        valid = (n * USERS_VALID + 0.5).floor()
    else:
        test = (n * PUBLISHED_TEST + 0.5).floor()
        valid = ((n - test) * PUBLISHED_VALID + 0.5).floor()
    keys = pl.col("_key").sort()
    test_at, valid_at = (n - test).cast(pl.Int64), (n - test - valid).cast(pl.Int64)
    return bucket.group_by("user_id").agg(
        valid_from=keys.get(valid_at, null_on_oob=True),
        test_from=keys.get(test_at, null_on_oob=True),
    )
