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

_DRAWN = {
    ("exit", "NLL"), ("exit", "AUC"), ("masked_skip", "NDCG@5"),
    ("live", "tau_room"), ("live", "tau_global"), ("kuailive_m3", "spearman"), ("kuailive_m3", "mAP"),
    ("ctr", "AUC"), ("ctr", "gauc_impression"), ("ctr", "LogLoss"), ("ctr", "RMSE"), ("ctr", "concordance"),
}  # fmt: skip
"(protocol, or task where the protocol is a label; metric): the others stand in the table only."
_COLOURS = {"better": FIRST, "worse": SECOND, "undecided": QUIET}


@dataclass(frozen=True)
class Difference:
    """One paired difference in words."""

    model: str
    versus: str
    metric: str
    protocol: str
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
    """One block a split; the forests show cohort `all` and headline metrics, the lines show everything."""
    splits: dict[str, list[MetricRow]] = {}
    for row in rows:
        if row.task == task and row.versus is not None:
            splits.setdefault(row.split, []).append(row)
    return [_block(task, split, listed) for split, listed in splits.items()]


def _block(task: str, split: str, rows: list[MetricRow]) -> Differences:
    whole = [row for row in rows if row.cohort == "all" and row.low is not None and row.high is not None]
    forests: dict[tuple[str, str], list[MetricRow]] = {}
    for row in whole:
        if ("ctr" if row.task == "ctr" else row.protocol, row.metric) in _DRAWN:
            forests.setdefault((row.metric, row.protocol), []).append(row)
    order = in_order({metric for metric, _ in forests})
    keys = sorted(forests, key=lambda key: (order.index(key[0]), key[1]))
    pictures = tuple(_forest(f"{metric} ({protocol})", forests[metric, protocol]) for metric, protocol in keys)
    return Differences(task, split, pictures, tuple(_line(row) for row in rows))


def _line(row: MetricRow) -> Difference:
    value, told = f"{row.value:+.4f}".replace("-", "−"), interval(row)
    return Difference(
        model_label(row), row.versus or "", row.metric, row.protocol, row.cohort, value, told, verdict(row)
    )


def _forest(title: str, rows: list[MetricRow]) -> Picture:
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
    way = "left" if better(rows[0].metric) == "lower" else "right"
    told = "; ".join(f"{name}: {row.value:+.4f} ({verdict(row)})" for name, row in zip(names, rows, strict=True))
    return picture(zero + spread + dots, f"{title}: {way} of zero is better", told)
