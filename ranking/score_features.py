"""Per-segment scores of an impression -> fixed dense features, for our rankers and for anybody's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.score_lookup import LIVE_WINDOW, Jagged, ScoreLookup
from segrec.records import ConfigError, DataError, DatasetFolder, ScoreTable
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


def attach(
    rows: _Rows,
    scores: ScoreTable | Path | str,
    *,
    dataset: DatasetFolder | None = None,
    prefix: str = "score_",
    live_window: int = LIVE_WINDOW,
) -> _Rows:
    """`rows` with 32 float32 columns `prefix` + NAME of `NAMES`: ready for any ranker's dense input.

    Takes a pandas or polars frame or a dict of torch tensors and gives the same kind back, rows in order. The
    columns user_id, item_id and time_ms (for content scores: item_id; for live ones: item_id, time_ms) must be there.
    Zeros where scores are missing. A live row gets the scores of its room's segments that had ended by time_ms, the
    newest `live_window` of them, oldest first: `last` is the newest.

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
    lookup = ScoreLookup.of(table, live_window)
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
