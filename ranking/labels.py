"""What a ranker learns: a flag of the log, or an effective view (watched longer than its duration's median)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from ranking.column_values import quantile_edges
from segrec.records import Config, ConfigError, DataError, DatasetFolder

EFFECTIVE_VIEW = "effective_view"
_BUCKETS = 10
_DIGITS = 4
"Watch ratios count to so many digits, so that their medians need no sorting of the whole log."


class FlagLabel(Config):
    """1 where the flag is set."""

    kind: Literal["flag"] = "flag"
    name: str
    rate: float
    "Share of positive rows in train."

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that `values` needs."""
        return (self.name,)

    def values(self, rows: pl.DataFrame) -> npt.NDArray[np.float32]:
        """(n,) in {0, 1}."""
        return rows[self.name].cast(pl.Float32).to_numpy()


class EffectiveViewLabel(Config):
    """1 where watch_ms / duration_ms lies above the median of the row's duration bucket (SegMM, section 4.3)."""

    kind: Literal["effective_view"] = "effective_view"
    name: Literal["effective_view"] = "effective_view"
    rate: float
    edges_ms: tuple[float, ...]
    "Inner edges of the duration buckets; a duration on an edge belongs below it."
    medians: tuple[float, ...]
    "Median watch ratio of each bucket, train rows only."

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that `values` needs."""
        return ("watch_ms", "duration_ms")

    def values(self, rows: pl.DataFrame) -> npt.NDArray[np.float32]:
        """(n,) in {0, 1}."""
        bucket = np.searchsorted(self.edges_ms, rows["duration_ms"].to_numpy(), side="left")
        ratio = rows.select(_ratio()).to_series().to_numpy()
        return (ratio > np.asarray(self.medians)[bucket]).astype(np.float32)


Label = Annotated[FlagLabel | EffectiveViewLabel, Field(discriminator="kind")]


class StoredLabel(Config):
    """label.yaml of a run."""

    label: Label

    @classmethod
    def load(cls, file: Path) -> FlagLabel | EffectiveViewLabel:
        """:raises ConfigError: the file is missing or damaged."""
        return cls.of(file).label


def fit_label(dataset: DatasetFolder, name: str) -> FlagLabel | EffectiveViewLabel:
    """The label called `name`, fitted on the train rows.

    :raises ConfigError: neither a flag of the dataset nor effective_view (both are named).
    :raises DataError: values other than 0 and 1, or only one of them in train.
    """
    if name == EFFECTIVE_VIEW:
        return _fit_effective_view(dataset)
    if name not in dataset.meta.flags:
        flags = ", ".join(dataset.meta.flags) or "none"
        raise ConfigError(f"label {name!r} is not in {dataset.path} (flags: {flags}; always there: {EFFECTIVE_VIEW})")
    column = pl.col(name).cast(pl.Float64)
    wrong = pl.col(name).is_null() | ~column.is_in([0.0, 1.0])
    rows = dataset.interactions().select(wrong=wrong.sum()).collect(engine="streaming").item()
    if rows:
        raise DataError(
            dataset.path, f"label {name!r} is neither 0 nor 1 in {rows:,} rows", fix="choose another --label"
        )
    rate = dataset.interactions(["train"]).select(column.mean()).collect(engine="streaming").item()
    return FlagLabel(name=name, rate=_usable_rate(dataset, name, rate))


def _fit_effective_view(dataset: DatasetFolder) -> EffectiveViewLabel:
    train = dataset.interactions(["train"]).select("duration_ms", ratio=_ratio())
    counted = train.group_by("duration_ms").agg(pl.len().alias("count")).collect(engine="streaming").sort("duration_ms")
    edges = quantile_edges(counted["duration_ms"].to_numpy().astype(np.float64), counted["count"].to_numpy(), _BUCKETS)
    bucket = pl.sum_horizontal([pl.lit(0), *((pl.col("duration_ms") > edge).cast(pl.Int32) for edge in edges)])
    ratios = train.group_by(bucket.alias("bucket"), "ratio").agg(pl.len().alias("count")).collect(engine="streaming")
    medians = tuple(_median(ratios.filter(pl.col("bucket") == number)) for number in range(len(edges) + 1))
    of_bucket = pl.DataFrame(
        {"bucket": range(len(medians)), "median": medians}, schema_overrides={"bucket": ratios.schema["bucket"]}
    )
    above = ratios.join(of_bucket, on="bucket").filter(pl.col("ratio") > pl.col("median"))
    rate = int(above["count"].sum()) / max(int(ratios["count"].sum()), 1)
    return EffectiveViewLabel(rate=_usable_rate(dataset, EFFECTIVE_VIEW, rate), edges_ms=edges, medians=medians)


def _ratio() -> pl.Expr:
    return (pl.col("watch_ms") / pl.col("duration_ms")).round(_DIGITS)


def _median(ratios: pl.DataFrame) -> float:
    """Median of `ratio` that occurs `count` times; the mean of the two middle ones where their number is even."""
    ordered = ratios.sort("ratio")
    reached = ordered["count"].cum_sum().to_numpy()
    total = int(reached[-1])
    low, high = (int(np.searchsorted(reached, place, side="left")) for place in ((total + 1) // 2, total // 2 + 1))
    return float(ordered["ratio"][low] + ordered["ratio"][high]) / 2


def _usable_rate(dataset: DatasetFolder, name: str, rate: float | None) -> float:
    if rate is None or not 0 < rate < 1:
        raise DataError(
            dataset.path, f"label {name!r} has one value only in the train rows", found=f"mean {rate}",
            expected="both 0 and 1", fix="choose another --label",
        )  # fmt: skip
    return float(rate)
