"""Times of live logs as epoch milliseconds, whatever their type: whole numbers, dates and times, or their text."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from segrec.records import DataError

HOUR_MS = 3_600_000
LEAST_MS = 100_000_000_000
"March 1973: a smaller whole number is not milliseconds."


def has_no_zone(series: pl.Series) -> bool:
    """True where the values are dates and times without a time zone."""
    if isinstance(series.dtype, pl.Datetime):
        return series.dtype.time_zone is None
    if series.dtype != pl.String:
        return False
    first = series.drop_nulls().head(1)
    return bool(len(first)) and not first.str.contains(r"^\s*\d+\s*$|[zZ]$|[+-]\d\d:?\d\d$").item()


def epoch_ms(series: pl.Series, file: Path, offset_hours: float, first_row: int) -> pl.Series:
    """Int64 ms since 1970 in UTC; missing stays missing. Dates and times are converted by their own unit.

    Whole numbers are milliseconds; dates and times without a zone are in a clock `offset_hours` ahead of UTC.

    :raises DataError: no time, or whole numbers in another unit; names the row and the column.
    """
    if series.dtype == pl.String:
        return _from_text(series, file, offset_hours, first_row)
    if isinstance(series.dtype, pl.Datetime):
        stamps = series.dt.timestamp("ms")
        return stamps if series.dtype.time_zone is not None else stamps - round(offset_hours * HOUR_MS)
    if series.dtype.is_integer() or series.dtype == pl.Null:
        whole = series.cast(pl.Int64)
        _check(whole.is_not_null() & (whole < LEAST_MS), series, file, first_row, "milliseconds since 1970")
        return whole
    raise DataError(
        file, f"column {series.name!r} has the wrong type", found=series.dtype,
        expected="milliseconds or dates with times", fix="convert the column",
    )  # fmt: skip


def _from_text(series: pl.Series, file: Path, offset_hours: float, first_row: int) -> pl.Series:
    texts = series.str.strip_chars()
    texts = texts.set(texts == "", None)
    digits = texts.str.contains(r"^\d+$").fill_null(True)
    if digits.all():
        return epoch_ms(texts.cast(pl.Int64), file, offset_hours, first_row)
    zoned = texts.str.contains(r"([zZ]|[+-]\d\d:?\d\d)$").fill_null(False)
    local = texts.set(zoned, None).str.replace("T", " ", literal=True)
    stamps = _parsed(local, "%Y-%m-%d %H:%M:%S%.f", None).fill_null(_parsed(local, "%Y-%m-%d %H:%M", None))
    stamps = stamps - round(offset_hours * HOUR_MS)
    if zoned.any():
        aware = texts.set(~zoned, None).str.replace("T", " ", literal=True).str.replace("[zZ]$", "+00:00")
        stamps = stamps.fill_null(_parsed(aware, "%Y-%m-%d %H:%M:%S%.f%:z", "UTC"))
    _check(texts.is_not_null() & stamps.is_null(), series, file, first_row, "a time like 2025-05-10 12:30:00.250")
    return stamps.alias(series.name)


def _parsed(texts: pl.Series, form: str, zone: str | None) -> pl.Series:
    return texts.str.to_datetime(form, time_unit="ms", time_zone=zone, strict=False).dt.timestamp("ms")


def _check(bad: pl.Series, series: pl.Series, file: Path, first_row: int, expected: str) -> None:
    if bad.any():
        at = int(bad.arg_max() or 0)
        raise DataError(
            file, f"row {first_row + at}, column {series.name!r}: not a time", found=series[at], expected=expected,
            fix="correct or remove the row",
        )  # fmt: skip
