"""Per-segment scores of an impression -> fixed dense features, for our rankers and for anybody's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import KEY, ConfigError, DataError, DatasetFolder, ScoreTable
from segrec.records.score_table import ScoreKind

if TYPE_CHECKING:
    import pandas as pd
    import torch

CURVE_POINTS = 8

VALUES = (
    *(f"curve_{point}" for point in range(CURVE_POINTS)),
    "mean", "max", "min", "first", "last", "peak_position", "spread", "watched_share",
)  # fmt: skip
"What is computed; each comes with an indicator NAME_missing."

NAMES = (*VALUES, *(f"{name}_missing" for name in VALUES))
"Columns of `score_features` + `with_indicators`, in order."

Jagged = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
"Scores of all rows one after another, and offsets (n + 1,)."

_Rows = TypeVar("_Rows", "pl.DataFrame", "pd.DataFrame", "Mapping[str, torch.Tensor]")


def score_features(scores: Jagged, kind: ScoreKind) -> npt.NDArray[np.float32]:
    """Features (n, 16) in the order of `VALUES`; NaN where a row has no scores.

    curve: 8 points at the centres of 8 equal parts of the video, linear between segments' centres, flat beyond.
    peak_position: centre of the best segment (the first of equal ones) as a share of the video. spread: standard
    deviation. watched_share, for stay probabilities p only: expected share of the video that is watched when an
    exit falls on average in a segment's middle, 1/N sum_i (prod_{j<i} p_j) (1 + p_i) / 2; NaN for other kinds.

    :raises DataError: a score is NaN or infinite, or a stay probability is outside [0, 1] (the row is named).
    """
    values, offsets = scores
    _check_values(values, offsets, kind)
    lengths = np.diff(offsets)
    features = np.full((len(lengths), len(VALUES)), np.nan, dtype=np.float32)
    full = np.flatnonzero(lengths)
    if not len(full):
        return features
    starts, counts = offsets[:-1][full], lengths[full]
    wide = values.astype(np.float64)
    mean = np.add.reduceat(wide, starts) / counts
    centred = wide - np.repeat(mean, counts)
    columns = {
        "mean": mean,
        "max": np.maximum.reduceat(wide, starts),
        "min": np.minimum.reduceat(wide, starts),
        "first": wide[starts],
        "last": wide[starts + counts - 1],
        "spread": np.sqrt(np.add.reduceat(centred**2, starts) / counts),
    }
    columns["peak_position"] = (_first_at(wide, starts, counts, columns["max"]) + 0.5) / counts
    if kind == "stay_probability":
        columns["watched_share"] = _watched_share(wide, starts, counts)
    features[full, :CURVE_POINTS] = _curve(wide, starts, counts)
    for name, column in columns.items():
        features[full, VALUES.index(name)] = column
    return features


def with_indicators(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(n, 16) with NaN -> (n, 32): zeros where missing, then one indicator a value (columns `NAMES`)."""
    missing = np.isnan(features)
    return np.concatenate([np.where(missing, np.float32(0), features), missing.astype(np.float32)], axis=1)


@dataclass(frozen=True)
class ScoreLookup:
    """Finds the scores of impressions in a score table."""

    table: ScoreTable
    content: pl.DataFrame | None
    "item_id, scores: content tables, grouped once; personal ones are read piece by piece."

    @classmethod
    def of(cls, table: ScoreTable) -> ScoreLookup:
        """Opens `table` for look-ups."""
        if table.meta.form == "personal":
            return cls(table, None)
        grouped = table.frame().sort("item_id", "segment").group_by("item_id", maintain_order=True)
        return cls(table, grouped.agg(pl.col("score").cast(pl.Float32).alias("scores")).collect())

    @property
    def key(self) -> list[str]:
        """Columns that an impression is found by."""
        return ["item_id"] if self.content is not None else list(KEY)

    def scores_of(self, rows: pl.DataFrame) -> Jagged:
        """Scores of `rows` (with the columns `key`), in their order; a row that the table lacks has none.

        :raises DataError: ids of another type than the table's.
        """
        if self.content is not None:
            found = self.content
        else:
            first, last = rows["time_ms"].min(), rows["time_ms"].max()
            near = self.table.frame().filter(pl.col("time_ms").is_between(first, last))
            found = near.select(*KEY, "scores").collect().unique(list(KEY), keep="first", maintain_order=True)
        joined = _same_types(rows.select(self.key), found, self.table.path).join(
            found, on=self.key, how="left", maintain_order="left"
        )
        return jagged_of(joined["scores"])


def jagged_of(scores: pl.Series) -> Jagged:
    """A list column as values and offsets; null and empty lists have length 0."""
    lists = scores.cast(pl.List(pl.Float32))
    lengths = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
    values = lists.filter(lists.list.len() > 0).explode().fill_null(float("nan")).to_numpy()
    return values.astype(np.float32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def attach(
    rows: _Rows, scores: ScoreTable | Path | str, *, dataset: DatasetFolder | None = None, prefix: str = "score_"
) -> _Rows:
    """`rows` with 32 float32 columns `prefix` + NAME of `NAMES`: ready for any ranker's dense input.

    Takes a pandas or polars frame or a dict of torch tensors and gives the same kind back, rows in order. The
    columns user_id, item_id and time_ms (for content scores: item_id) must be there. Zeros where scores are missing.

    :param dataset: the dataset that `rows` come from; given, scores of another one are refused.
    :raises DataError: a table that cannot be used for this dataset, or no row has scores.
    :raises ConfigError: a key column is missing, or `rows` is of another kind.
    """
    table = scores if isinstance(scores, ScoreTable) else ScoreTable.open(scores)
    if dataset is not None:
        table.check_usable(dataset)
    leak = table.leak_warning()
    if leak is not None:
        warnings.warn(leak, stacklevel=2)
    lookup = ScoreLookup.of(table)
    keys = _keys_of(rows, lookup.key)
    found = lookup.scores_of(keys)
    if keys.height and not found[1][-1]:
        raise DataError(table.path, "has scores for none of these rows", fix="score the dataset that they come from")
    columns = with_indicators(score_features(found, table.meta.kind))
    joined: _Rows = _joined(rows, {prefix + name: columns[:, place] for place, name in enumerate(NAMES)})
    return joined


def _keys_of(rows: object, key: list[str]) -> pl.DataFrame:
    if isinstance(rows, pl.DataFrame):
        columns: Mapping[str, Any] = rows.to_dict()
    elif isinstance(rows, Mapping) or hasattr(rows, "iloc"):
        columns = cast("Mapping[str, Any]", rows)
    else:
        raise ConfigError(f"rows is a {type(rows).__name__} (expected: polars or pandas frame, or a dict of tensors)")
    for name in key:
        if name not in columns:
            raise ConfigError(
                f"column {name!r} is missing (found: {', '.join(map(str, columns))}); scores are found by it"
            )
    return pl.DataFrame({name: pl.Series(name, np.asarray(columns[name])) for name in key})


def _joined(rows: Any, columns: dict[str, npt.NDArray[np.float32]]) -> Any:
    if isinstance(rows, pl.DataFrame):
        return rows.with_columns(pl.Series(name, column) for name, column in columns.items())
    if isinstance(rows, Mapping):
        import torch

        return {**rows, **{name: torch.from_numpy(column.copy()) for name, column in columns.items()}}
    import pandas as pd

    return pd.concat([rows, pd.DataFrame(columns, index=rows.index)], axis=1)


def _same_types(rows: pl.DataFrame, found: pl.DataFrame, path: Path) -> pl.DataFrame:
    for name in rows.columns:
        expected = found.schema[name]
        if rows.schema[name] != expected:
            if not (rows.schema[name].is_integer() and expected.is_integer()):
                raise DataError(path, f"column {name!r} has another type", found=expected, expected=rows.schema[name])
            rows = rows.with_columns(pl.col(name).cast(expected))
    return rows


def _check_values(values: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64], kind: ScoreKind) -> None:
    wrong = ~np.isfinite(values)
    problem = "is NaN or infinite"
    if not wrong.any() and kind == "stay_probability":
        wrong, problem = (values < 0) | (values > 1), "is no probability"
    if wrong.any():
        place = int(np.argmax(wrong))
        row = int(np.searchsorted(offsets, place, side="right")) - 1
        raise DataError(
            "scores", f"segment {place - int(offsets[row])} of row {row} {problem}", found=float(values[place])
        )


def _curve(
    values: npt.NDArray[np.float64], starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    centres = (np.arange(CURVE_POINTS) + 0.5) / CURVE_POINTS
    places = np.clip(centres[None] * counts[:, None] - 0.5, 0, counts[:, None] - 1)  # (n, 8)
    below = np.floor(places).astype(np.int64)
    above = np.minimum(below + 1, counts[:, None] - 1)
    low, high = values[starts[:, None] + below], values[starts[:, None] + above]
    curve: npt.NDArray[np.float64] = low + (high - low) * (places - below)
    return curve


def _first_at(
    values: npt.NDArray[np.float64],
    starts: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]:
    """The first segment of each row that holds its `wanted` value."""
    hits = np.flatnonzero(values == np.repeat(wanted, counts))
    rows = np.repeat(np.arange(len(starts)), counts)[hits]
    first = hits[np.searchsorted(rows, np.arange(len(starts)))]
    return first - starts


def _watched_share(
    stay: npt.NDArray[np.float64], starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    reached, share = np.ones(len(starts)), np.zeros(len(starts))
    for segment in range(int(counts.max())):
        inside = counts > segment
        here = stay[starts[inside] + segment]
        share[inside] += reached[inside] * (1 + here) / 2
        reached[inside] *= here
    return share / counts
