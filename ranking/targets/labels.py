"""What a ranker learns: a flag of the log, an effective view, watch time, a segment's rate; or several at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from ranking.encoding.column_values import quantile_edges
from ranking.features import durations_known
from ranking.targets.chance_label import ChanceLabel
from ranking.targets.watch_labels import (
    WATCH_SHARE,
    WATCH_TIME,
    WatchShareLabel,
    WatchTimeLabel,
    fit_watch_share,
    fit_watch_time,
    unknown_rows,
)
from segrec.records import Config, ConfigError, DataError, DatasetFolder, Split

EFFECTIVE_VIEW = "effective_view"
JOIN = "+"
"Between the names of labels that are learned side by side."
TARGET, TRIALS = "target", "trials"
"Columns of rows that are segments: the rate to be predicted and the trials behind it; null = unknown."
_BUCKETS = 10
_DIGITS = 4
"Watch ratios count to so many digits, so that their medians need no sorting of the whole log."


class FlagLabel(ChanceLabel):
    """1 where the flag is set."""

    kind: Literal["flag"] = "flag"
    name: str
    unknown: dict[Split, int] = {}
    "Rows without a value (a view that was still going on), by split: left out."

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that `values` needs."""
        return (self.name,)

    def known(self) -> pl.Expr:
        """True for the rows that have this label."""
        return pl.col(self.name).is_not_null()

    def values(self, rows: pl.DataFrame) -> npt.NDArray[np.float32]:
        """(n,) in {0, 1}."""
        return rows[self.name].cast(pl.Float32).to_numpy()


class EffectiveViewLabel(ChanceLabel):
    """1 where watch_ms / duration_ms lies above the median of the row's duration bucket (SegMM, section 4.3)."""

    kind: Literal["effective_view"] = "effective_view"
    name: Literal["effective_view"] = "effective_view"
    edges_ms: tuple[float, ...]
    "Inner edges of the duration buckets; a duration on an edge belongs below it."
    medians: tuple[float, ...]
    "Median watch ratio of each bucket, train rows only."

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that `values` needs."""
        return ("watch_ms", "duration_ms")

    def known(self) -> pl.Expr:
        """True for the rows that have this label."""
        return pl.col("duration_ms").is_not_null()

    def values(self, rows: pl.DataFrame) -> npt.NDArray[np.float32]:
        """(n,) in {0, 1}."""
        bucket = np.searchsorted(self.edges_ms, rows["duration_ms"].to_numpy(), side="left")
        ratio = rows.select(_ratio()).to_series().to_numpy()
        return (ratio > np.asarray(self.medians)[bucket]).astype(np.float32)


class RateLabel(ChanceLabel):
    """The rate of a live room's segment, in [0, 1]: clicks a view, long views an entry."""

    kind: Literal["rate"] = "rate"
    name: str
    trials: float | None = None
    "Mean trials a train row, where a row weighs as much as it has trials (binomial likelihood); None = all alike."

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that `values` and `weights` need."""
        return (TARGET,) if self.trials is None else (TARGET, TRIALS)

    def known(self) -> pl.Expr:
        """True for the rows that have this label."""
        return pl.col(TARGET).is_not_null()

    def values(self, rows: pl.DataFrame) -> npt.NDArray[np.float32]:
        """(n,) in [0, 1]."""
        return rows[TARGET].cast(pl.Float32).to_numpy()

    def weights(self, rows: pl.DataFrame) -> npt.NDArray[np.float32] | None:
        """(n,) trials over their mean in train; None where all rows count alike."""
        if self.trials is None:
            return None
        trials = rows[TRIALS].cast(pl.Float64).fill_null(self.trials)
        return (trials / self.trials).cast(pl.Float32).to_numpy()


OneLabel = FlagLabel | EffectiveViewLabel | WatchTimeLabel | WatchShareLabel


class JointLabel(Config):
    """K labels that one ranker learns side by side, each a task; a row counts where it has one of them."""

    kind: Literal["joint"] = "joint"
    tasks: Annotated[tuple[Annotated[OneLabel, Field(discriminator="kind")], ...], Field(min_length=2)]

    @property
    def name(self) -> str:
        """The tasks' names with + between them."""
        return JOIN.join(task.name for task in self.tasks)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that `values` needs."""
        return tuple(dict.fromkeys(column for task in self.tasks for column in task.columns))

    def known(self) -> pl.Expr:
        """True for the rows that have at least one of the labels."""
        return pl.any_horizontal(task.known() for task in self.tasks)

    def values(self, rows: pl.DataFrame) -> npt.NDArray[np.float32]:
        """(n, K), NaN where a row does not have the label."""
        found = np.full((rows.height, len(self.tasks)), np.nan, dtype=np.float32)
        for place, task in enumerate(self.tasks):
            known = rows.select(task.known()).to_series()
            found[known.to_numpy(), place] = task.values(rows.filter(known))
        return found

    def answers(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Logits (n, K) as predictions of each label."""
        parts = [task.answers(np.ascontiguousarray(logits[:, place])) for place, task in enumerate(self.tasks)]
        return np.stack(parts, axis=1)

    def weights(self, rows: pl.DataFrame) -> None:
        """All rows count alike."""


SingleLabel = OneLabel | RateLabel
AnyLabel = SingleLabel | JointLabel
Label = Annotated[AnyLabel, Field(discriminator="kind")]


class StoredLabel(Config):
    """label.yaml of a run."""

    label: Label

    @classmethod
    def load(cls, file: Path) -> AnyLabel:
        """:raises ConfigError: the file is missing or damaged."""
        return cls.of(file).label


def tasks_of(label: AnyLabel) -> tuple[SingleLabel, ...]:
    """The labels that a ranker answers, one a logit."""
    return label.tasks if isinstance(label, JointLabel) else (label,)


def note_of(label: AnyLabel) -> str | None:
    """One line about rows that do not have a label, if any."""
    told = []
    for task in tasks_of(label):
        unknown: dict[Split, int] = getattr(task, "unknown", {})
        if unknown:
            counted = ", ".join(f"{rows:,} {split}" for split, rows in unknown.items())
            told.append(f"rows whose {task.name} is not known were left out: {counted}")
    if told and isinstance(label, JointLabel):
        told.append("each stays for the labels that it has")
    return "; ".join(told) or None


def label_names(names: Sequence[str]) -> tuple[str, ...]:
    """The labels asked for; a name may hold several with + between them.

    :raises ConfigError: a label twice, or none.
    """
    asked = tuple(part for name in names for part in name.split(JOIN))
    twice = next((name for name in asked if asked.count(name) > 1), None)
    if twice is not None or not asked:
        raise ConfigError("no label was given" if twice is None else f"label {twice!r} was given twice")
    return asked


def fit_labels(dataset: DatasetFolder, names: Sequence[str]) -> AnyLabel:
    """One label, or the joint one of several.

    :raises ConfigError: as `fit_label`.
    :raises DataError: as `fit_label`.
    """
    fitted = tuple(fit_label(dataset, name) for name in names)
    return fitted[0] if len(fitted) == 1 else JointLabel(tasks=fitted)


def fit_label(dataset: DatasetFolder, name: str) -> OneLabel:
    """The label called `name`, fitted on the train rows.

    :raises ConfigError: neither a flag of the dataset nor one of those that are always there (all are named).
    :raises DataError: values other than 0 and 1, only one value in train, or durations that it needs and live rooms
        do not have.
    """
    if name in (EFFECTIVE_VIEW, WATCH_SHARE) and not durations_known(dataset):
        raise DataError(
            dataset.path, f"label {name} needs durations, and live rooms have none",
            fix=f"choose another --label ({', '.join([*dataset.meta.flags, WATCH_TIME])})",
        )  # fmt: skip
    if name in _ALWAYS:
        return _ALWAYS[name](dataset)
    if name not in dataset.meta.flags:
        flags = ", ".join(dataset.meta.flags) or "none"
        raise ConfigError(
            f"label {name!r} is not in {dataset.path} (flags: {flags}; always there: {', '.join(_ALWAYS)})"
        )
    column = pl.col(name).cast(pl.Float64)
    rows = dataset.interactions().select((~column.is_in([0.0, 1.0])).sum()).collect(engine="streaming").item()
    if rows:
        raise DataError(
            dataset.path, f"label {name!r} is neither 0 nor 1 in {rows:,} rows", fix="choose another --label"
        )
    rate = dataset.interactions(["train"]).select(column.mean()).collect(engine="streaming").item()
    unknown = unknown_rows(dataset, pl.col(name).is_not_null())
    return FlagLabel(name=name, rate=_usable_rate(dataset, name, rate), unknown=unknown)


def fit_rate_label(rows: DatasetFolder, name: str, *, weighted: bool) -> RateLabel:
    """The rate called `name`, in column TARGET of rows that are segments.

    :param weighted: rows weigh as much as they have trials, where trials are known.
    :raises DataError: no train row has a rate, or all have the same.
    """
    train = rows.interactions(["train"]).select(TARGET, TRIALS).drop_nulls(TARGET).collect(engine="streaming")
    values, trials = train[TARGET], train[TRIALS]
    weighted = weighted and len(trials) > 0 and trials.null_count() == 0 and float(trials.sum()) > 0
    mean = float((values * trials).sum()) / float(trials.sum()) if weighted else values.mean()
    return RateLabel(
        name=name,
        rate=_usable_rate(rows, name, mean),  # type: ignore[arg-type]
        trials=float(trials.mean()) if weighted else None,  # type: ignore[arg-type]
    )


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


_ALWAYS: dict[str, Callable[[DatasetFolder], OneLabel]] = {
    EFFECTIVE_VIEW: _fit_effective_view,
    WATCH_TIME: fit_watch_time,
    WATCH_SHARE: fit_watch_share,
}
