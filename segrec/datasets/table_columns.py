"""Columns of somebody's log in our names, types and units."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from segrec.datasets.column_map import ColumnMap, TimeColumn, Unit
from segrec.records import SPLITS, DataError

_PER_MS: dict[Unit, float] = {"s": 1000.0, "ms": 1.0, "us": 0.001}
_ZONE = r"(Z|[+-]\d\d:?\d\d)$"


def canonical(frame: pl.DataFrame, columns: ColumnMap, file: Path, first_row: int) -> pl.DataFrame:
    """The log's columns as user_id, item_id, time_ms, duration_ms, watch_ms, flags (Int8), context ...

    :raises DataError: a column of a type that its role cannot have, or a value that is none (row named).
    """
    made = [
        _id(frame[columns.user_id], "user_id", file),
        _id(frame[columns.item_id], "item_id", file),
        _time(frame[columns.time.column], columns.time, columns.utc_offset_hours, file, first_row),
        _span(frame[columns.duration.column], columns.duration.unit, "duration_ms", file),
        _span(frame[columns.watch.column], columns.watch.unit, "watch_ms", file),
    ]
    if columns.author_id is not None:
        made.append(_id(frame[columns.author_id], "author_id", file))
    if columns.split is not None:
        made.append(_split(frame[columns.split], file, first_row))
    if columns.is_random is not None:
        made.append(_flag(frame[columns.is_random], file, first_row).alias("is_random"))
    made += [_flag(frame[name], file, first_row) for name in columns.flags]
    made += [_plain(frame[name], file) for name in columns.context]
    return pl.DataFrame(made)


def plain_features(frame: pl.DataFrame, file: Path) -> pl.DataFrame:
    """Side features in plain types: Int64, floats, String, lists as they are."""
    return pl.DataFrame([_plain(series, file) for series in frame])


def _wrong_type(series: pl.Series, file: Path, expected: str, fix: str) -> DataError:
    return DataError(file, f"column {series.name!r} has the wrong type", found=series.dtype, expected=expected, fix=fix)


def _at(bad: pl.Series, series: pl.Series, file: Path, first_row: int, expected: str) -> None:
    """:raises DataError: a value of `series` is bad; names the row."""
    if bad.any():
        at = int(bad.arg_max() or 0)
        raise DataError(
            file, f"row {first_row + at}, column {series.name!r}: wrong value", found=series[at], expected=expected,
            fix="correct or remove the row",
        )  # fmt: skip


def _id(series: pl.Series, name: str, file: Path) -> pl.Series:
    dtype = series.dtype
    if dtype.is_integer():
        return series.cast(pl.Int64).alias(name)
    if dtype in (pl.String, pl.Categorical) or isinstance(dtype, pl.Enum):
        return series.cast(pl.String).alias(name)
    if dtype == pl.Null:
        return series.cast(pl.Int64).alias(name)
    if dtype.is_float() and (series == series.round()).all():
        return series.cast(pl.Int64).alias(name)
    raise _wrong_type(series, file, "whole numbers or text (an id)", "write ids as whole numbers or text")


def _time(series: pl.Series, time: TimeColumn, offset_hours: float, file: Path, first_row: int) -> pl.Series:
    if time.unit != "datetime":
        return _span(series, time.unit, "time_ms", file)
    if series.dtype == pl.String:
        series = _parsed(series, offset_hours, file, first_row)
    elif series.dtype == pl.Date:
        series = series.cast(pl.Datetime("ms"))
    if not isinstance(series.dtype, pl.Datetime):
        raise _wrong_type(series, file, "dates", "give the unit s, ms or us in the map")
    stamps = series.dt.timestamp("ms")
    if series.dtype.time_zone is None:
        stamps = stamps - round(offset_hours * 3_600_000)
    return stamps.alias("time_ms")


def _parsed(series: pl.Series, offset_hours: float, file: Path, first_row: int) -> pl.Series:
    zoned = series.str.contains(_ZONE).fill_null(False)
    try:
        if zoned.any():
            dates = series.str.to_datetime(time_unit="ms", time_zone="UTC", strict=False)
        else:
            dates = series.str.to_datetime(time_unit="ms", strict=False)
    except pl.exceptions.PolarsError:
        dates = pl.Series(series.name, [None] * len(series), dtype=pl.Datetime("ms"))
    mixed = ~zoned & series.is_not_null() if zoned.any() else zoned
    _at((dates.is_null() & series.is_not_null()) | mixed, series, file, first_row, "a date like 2022-04-08 12:30:00")
    return dates


def _span(series: pl.Series, unit: Unit, name: str, file: Path) -> pl.Series:
    if series.dtype.is_integer():
        whole = series.cast(pl.Int64)
        return (whole // 1000 if unit == "us" else whole * round(_PER_MS[unit])).alias(name)
    if series.dtype.is_float() or series.dtype.is_decimal():
        milliseconds = series.cast(pl.Float64) * _PER_MS[unit]
        return (milliseconds.floor() if unit == "us" else milliseconds.round()).cast(pl.Int64).alias(name)
    if isinstance(series.dtype, pl.Duration):
        return series.dt.total_milliseconds().alias(name)
    raise _wrong_type(series, file, f"numbers in {unit}", "correct the column or its unit in the map")


def _flag(series: pl.Series, file: Path, first_row: int) -> pl.Series:
    if not (series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null)):
        raise _wrong_type(series, file, "0 and 1, or true and false", "correct it, or name it under context")
    if series.dtype.is_numeric():
        _at(~series.is_in([0, 1]).fill_null(True), series, file, first_row, "0 or 1")
    return series.cast(pl.Int8)


def _split(series: pl.Series, file: Path, first_row: int) -> pl.Series:
    if series.dtype not in (pl.String, pl.Categorical) and not isinstance(series.dtype, pl.Enum):
        raise _wrong_type(series, file, "train, valid or test", "correct the column, or leave `split` out of the map")
    texts = series.cast(pl.String)
    _at(~texts.is_in(list(SPLITS)).fill_null(True), texts, file, first_row, "train, valid or test")
    return texts.alias("split")


def _plain(series: pl.Series, file: Path) -> pl.Series:
    dtype = series.dtype
    if dtype == pl.Boolean:
        return series.cast(pl.Int8)
    if dtype.is_integer():
        return series.cast(pl.Int64)
    if dtype.is_decimal():
        return series.cast(pl.Float64)
    if dtype in (pl.Categorical, pl.Null) or isinstance(dtype, pl.Enum) or dtype.is_temporal():
        return series.cast(pl.String)
    if dtype.is_float() or dtype == pl.String or isinstance(dtype, pl.List):
        return series
    raise _wrong_type(series, file, "numbers or text", "leave the column out of the map")
