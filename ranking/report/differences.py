"""Paired differences as a forest: against the priors, and with scores against without."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import altair as alt
import polars as pl

from ranking.report.charts import FIRST, QUIET, SECOND, Picture, picture
from ranking.report.metric_names import Verdict, better, in_order, verdict
from ranking.report.metric_tables import interval, model_label
from segrec.records import MetricRow

_COLOURS = {"better": FIRST, "worse": SECOND, "undecided": QUIET}


@dataclass(frozen=True)
class Difference:
    """One paired difference in words."""

    model: str
    versus: str
    metric: str
    cohort: str
    value: str
    interval: str | None
    verdict: Verdict


@dataclass(frozen=True)
class Differences:
    """All paired differences of one task and split."""

    task: str
    split: str
    pictures: tuple[Picture, ...]
    lines: tuple[Difference, ...]


def differences(rows: Iterable[MetricRow], task: str) -> list[Differences]:
    """One block a split; the forest shows cohort `all`, the lines show every cohort."""
    splits: dict[str, list[MetricRow]] = {}
    for row in rows:
        if row.task == task and row.versus is not None:
            splits.setdefault(row.split, []).append(row)
    return [_block(task, split, listed) for split, listed in splits.items()]


def _block(task: str, split: str, rows: list[MetricRow]) -> Differences:
    whole = [row for row in rows if row.cohort == "all" and row.low is not None and row.high is not None]
    metrics = in_order({row.metric for row in whole})
    pictures = tuple(_forest(metric, [row for row in whole if row.metric == metric]) for metric in metrics)
    return Differences(task, split, pictures, tuple(_line(row) for row in rows))


def _line(row: MetricRow) -> Difference:
    value = f"{row.value:+.4f}".replace("-", "−")
    told = interval(row)
    told = None if told is None else told.replace("-", "−")
    return Difference(model_label(row), row.versus or "", row.metric, row.cohort, value, told, verdict(row))


def _forest(metric: str, rows: list[MetricRow]) -> Picture:
    several = len({model_label(row) for row in rows}) > 1
    names = [f"{model_label(row)} − {row.versus}" if several else f"− {row.versus}" for row in rows]
    frame = pl.DataFrame(
        {
            "pair": names,
            "value": [row.value for row in rows],
            "low": [row.low for row in rows],
            "high": [row.high for row in rows],
            "colour": [_COLOURS.get(verdict(row), QUIET) for row in rows],
        }
    )
    base = alt.Chart(frame, width=250, height=alt.Step(24)).encode(
        y=alt.Y(
            "pair:N",
            title=None,
            sort=names,
            axis=alt.Axis(labelLimit=240, labelPadding=6, grid=False, labelOverlap=False, ticks=False),
        ),
        color=alt.Color("colour:N", scale=None),
    )
    axis = alt.Axis(tickCount=3)
    spread = base.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q", title="difference", axis=axis), x2="high:Q")
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(x="value:Q")
    zero = alt.Chart(pl.DataFrame({"at": [0.0]})).mark_rule(color=QUIET, strokeDash=[4, 4]).encode(x="at:Q")
    way = {"lower": "left of zero is better", "higher": "right of zero is better", "one": "nearer zero"}[better(metric)]
    told = "; ".join(f"{name}: {row.value:+.4f} ({verdict(row)})" for name, row in zip(names, rows, strict=True))
    return picture(zero + spread + dots, f"{metric}: {way}", told)
