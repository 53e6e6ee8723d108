"""Somebody else's scores as a score table: checked against the dataset before a ranker may use them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import cast, get_args

import polars as pl

from segrec.records import (
    KEY,
    ConfigError,
    DataError,
    DatasetFolder,
    ScoreMeta,
    ScoreTable,
    file_hash,
    write_score_table,
)
from segrec.records.score_table import ScoreKind
from segrec.segments.views import with_grid
from segrec.splitting import midnight_ms

_SCORES = "scores"


@dataclass(frozen=True)
class ImportRequest:
    """What the user says of the scores."""

    file: Path
    trained_until: date
    kind: ScoreKind

    @classmethod
    def of(cls, file: Path, trained_until: str | None, kind: str, cross_fit: int | None = None) -> ImportRequest:
        """From the command line's words.

        :raises ConfigError: no date, something that is no date, an unknown kind, or --cross-fit beside --import.
        """
        if cross_fit is not None:
            raise ConfigError("--cross-fit refits our own encoders: it cannot go with --import")
        if trained_until is None:
            raise ConfigError("--import needs --trained-until DATE: the last day the scores' model was trained on")
        try:
            day = date.fromisoformat(trained_until)
        except ValueError:
            raise ConfigError(f"--trained-until {trained_until!r} is not a date (expected: YYYY-MM-DD)") from None
        if kind not in get_args(ScoreKind):
            raise ConfigError(f"--kind {kind!r} is unknown (known: {', '.join(get_args(ScoreKind))})")
        return cls(file, day, cast(ScoreKind, kind))


def import_scores(request: ImportRequest, dataset: DatasetFolder, out: Path) -> tuple[ScoreTable, str]:
    """Writes the score table and says which share of the dataset's rows it covers.

    :raises DataError: an unreadable file, missing columns, keys that the dataset does not hold, a list of another
        length than the video's grid, NaN, stay probabilities outside [0, 1], a split without any score.
    """
    given = _read(request.file, dataset)
    _check_values(request, given)
    matched = _matched(request.file, given, dataset)
    note = _coverage(request.file, matched, dataset)
    midnight = midnight_ms(request.trained_until + timedelta(days=1), dataset.meta.utc_offset_hours)
    meta = ScoreMeta(
        form="personal",
        kind=request.kind,
        encoder="imported",
        encoder_hash=file_hash(request.file),
        dataset_fingerprint=dataset.meta.fingerprint,
        segment_ms=dataset.meta.segment_ms,
        trained_until_ms=midnight - 1,
        fitted_on=None,
        folds=None,
    )
    write_score_table(out, [matched.sort("time_ms", maintain_order=True)], meta)
    return ScoreTable.open(out), note


def _read(file: Path, dataset: DatasetFolder) -> pl.DataFrame:
    """Key columns in the dataset's types, scores as list<f32>."""
    try:
        given = pl.read_csv(file) if file.suffix == ".csv" else pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(file, "cannot be read", found=reason, fix="pass a Parquet or CSV file") from None
    missing = [name for name in (*KEY, _SCORES) if name not in given.columns]
    if missing:
        raise DataError(
            file, f"column {missing[0]!r} is missing", found=", ".join(given.columns),
            expected=", ".join((*KEY, _SCORES)),
        )  # fmt: skip
    types = dataset.interactions().select(KEY).collect_schema()
    try:
        keys = given.select(pl.col(name).cast(types[name]) for name in KEY)
        return keys.with_columns(_lists(given[_SCORES]))
    except pl.exceptions.PolarsError as error:
        raise DataError(
            file, "has values of another type", found=str(error).splitlines()[0],
            expected=f"{', '.join(f'{name} {types[name]}' for name in KEY)}, scores a list of numbers",
        ) from None  # fmt: skip


def _lists(values: pl.Series) -> pl.Series:
    """Lists as they are, or written as text: "[0.9, 0.8]"."""
    if values.dtype == pl.String:
        values = values.str.strip_chars("[] ").str.replace_all(r"[,;\s]+", " ").str.split(" ")
    return values.cast(pl.List(pl.Float32)).alias(_SCORES)


def _check_values(request: ImportRequest, given: pl.DataFrame) -> None:
    elements = pl.element()
    bad = given.select(
        null=pl.col(_SCORES).is_null() | pl.col(_SCORES).list.eval(elements.is_null()).list.any(),
        finite=pl.col(_SCORES).list.eval(elements.is_finite()).list.all(),
        inside=pl.col(_SCORES).list.eval(elements.is_between(0, 1)).list.all(),
    )
    if bad["null"].any():
        raise DataError(request.file, f"row {_first(bad['null'])} has a missing score", fix="leave the row out")
    if not bad["finite"].all():
        raise DataError(request.file, f"row {_first(~bad['finite'])} has a NaN or infinite score")
    if request.kind == "stay_probability" and not bad["inside"].all():
        raise DataError(
            request.file, f"row {_first(~bad['inside'])} has a stay probability outside [0, 1]",
            fix="pass probabilities, or --kind relevance",
        )  # fmt: skip


def _matched(file: Path, given: pl.DataFrame, dataset: DatasetFolder) -> pl.DataFrame:
    rows = with_grid(dataset.interactions().filter(pl.col("duration_ms") > 0), dataset)
    listed = rows.select(*KEY, "split", "n_segments", "duration_ms").with_columns(_occurrence()).collect()
    on = [*KEY, "occurrence"]
    matched = given.with_columns(_occurrence()).join(listed, on=on, how="left", maintain_order="left")
    unknown = matched["n_segments"].is_null()
    if unknown.any():
        raise DataError(
            file, f"row {_first(unknown)} (one of {unknown.sum()}) is not in the dataset, or not that often",
            found=dict(zip(KEY, given.row(_first(unknown) - 1)[: len(KEY)], strict=True)),
            fix="score the dataset's own rows: user_id, item_id, time_ms",
        )  # fmt: skip
    whole = -(-matched["duration_ms"] // dataset.meta.segment_ms)
    lengths = matched[_SCORES].list.len().cast(pl.Int64)
    wrong = (lengths != matched["n_segments"]) & (lengths != whole)
    if wrong.any():
        row = _first(wrong)
        raise DataError(
            file, f"row {row} has another number of scores than its video has segments", found=lengths[row - 1],
            expected=f"{matched['n_segments'][row - 1]} (one for each {dataset.meta.segment_ms} ms)",
        )  # fmt: skip
    return matched


def _occurrence() -> pl.Expr:
    """How often a key came before: a log may hold one user, item and time twice."""
    return pl.int_range(pl.len()).over(KEY).alias("occurrence")


def _coverage(file: Path, matched: pl.DataFrame, dataset: DatasetFolder) -> str:
    scored = dict(matched.group_by("split").len().iter_rows())
    shares = []
    for split, rows in dataset.meta.rows.items():
        if rows and not scored.get(split):
            raise DataError(file, f"scores no row of the {split} split", fix="score the whole dataset")
        if rows:
            shares.append(f"{split} {scored[split] / rows:.1%}")
    return f"rows with scores: {', '.join(shares)}"


def _first(wrong: pl.Series) -> int:
    """1-based number of the first row that is wrong."""
    return int(wrong.fill_null(True).arg_max() or 0) + 1
