"""Predictions from elsewhere: a Parquet file of user_id, item_id, time_ms, prediction, matched to a dataset's rows."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import KEY, DataError, scan_parquet

_TURN = "turn"


def read_predictions(
    file: Path, rows: pl.DataFrame, *, probabilities: bool = True, label: str | None = None
) -> npt.NDArray[np.float64]:
    """Predictions (n,) for `rows` (user_id, item_id, time_ms), in their order.

    Logs may hold one key twice (two reports of an impression): the file then holds that key once, or as often as the
    dataset, in the dataset's order. Rows of other splits are ignored.

    :param probabilities: they lie in [0, 1]; False: seconds, at least 0.
    :param label: a file that `segrec predict` wrote for several labels holds prediction_LABEL.
    :raises DataError: not Parquet, a column missing or of another type, a prediction that is null, NaN or outside
        its range, a key that occurs too often, or a row without prediction (the first one is named).
    """
    frame = _checked(file, rows, probabilities, f"prediction_{label}")
    wanted = rows.select(KEY).with_columns(pl.int_range(pl.len()).over(KEY).alias(_TURN))
    found = frame.with_columns(pl.int_range(pl.len()).over(KEY).alias(_TURN), pl.len().over(KEY).alias("copies")).join(
        wanted.group_by(KEY).agg(pl.len().alias("needed")), on=KEY, how="inner"
    )
    _refuse_row(file, found, pl.col("copies").is_between(2, pl.col("needed") - 1), "a key occurs too seldom")
    _refuse_row(file, found, pl.col("copies") > pl.max_horizontal("needed", 1), "a key occurs more than once")
    once = found.filter(pl.col("copies") == 1).select(*KEY, pl.col("prediction").alias("only"))
    matched = wanted.join(found.select(*KEY, _TURN, "prediction"), on=[*KEY, _TURN], how="left", maintain_order="left")
    matched = matched.join(once, on=list(KEY), how="left", maintain_order="left")
    values = matched.with_columns(prediction=pl.coalesce("prediction", "only"))
    missing = values["prediction"].null_count()
    if missing:
        first = values.filter(pl.col("prediction").is_null()).select(KEY).row(0)
        raise DataError(
            file, f"lacks {missing:,} of {rows.height:,} rows", found=f"none for (user_id, item_id, time_ms) = {first}",
            fix="predict every row of the split",
        )  # fmt: skip
    return values["prediction"].to_numpy().astype(np.float64)


def _checked(file: Path, rows: pl.DataFrame, probabilities: bool, own: str) -> pl.DataFrame:
    """The file's columns, of the dataset's types, every prediction in its range."""
    if not file.is_file():
        raise DataError(file, "is not there", fix="pass a Parquet file of user_id, item_id, time_ms, prediction")
    scanned = scan_parquet([file])
    schema = scanned.collect_schema()
    if own in schema and "prediction" not in schema:
        scanned = scanned.rename({own: "prediction"})
        schema = scanned.collect_schema()
    for name in (*KEY, "prediction"):
        if name not in schema:
            raise DataError(
                file,
                f"column {name!r} is missing",
                found=", ".join(schema),
                expected="user_id, item_id, time_ms, prediction",
            )
    for name in KEY:
        ours, theirs = rows.schema[name], schema[name]
        if ours != theirs and not (ours.is_integer() and theirs.is_integer()):
            raise DataError(file, f"column {name!r} has another type than the dataset", found=theirs, expected=ours)
    if not schema["prediction"].is_numeric():
        raise DataError(
            file, "column 'prediction' is not numeric", found=schema["prediction"], expected="a probability"
        )
    frame = scanned.select(*(pl.col(key).cast(rows.schema[key]) for key in KEY), pl.col("prediction").cast(pl.Float64))
    collected = frame.collect()
    kind, most = ("probability", 1.0) if probabilities else ("number of seconds", sys.float_info.max)
    outside = ~pl.col("prediction").is_between(0, most).fill_null(False)
    _refuse_row(file, collected, outside, f"a prediction is no {kind}")
    return collected


def _refuse_row(file: Path, frame: pl.DataFrame, wrong: pl.Expr, problem: str) -> None:
    bad = frame.with_row_index("row").filter(wrong)
    if bad.height:
        key = tuple(bad[name][0] for name in KEY)
        raise DataError(
            file, f"{problem} ({bad.height:,} rows)",
            found=f"prediction {bad['prediction'][0]} for (user_id, item_id, time_ms) = {key}",
            fix="give one prediction a row, a probability in [0, 1] or seconds of at least 0",
        )  # fmt: skip
