"""Kendall's tau of every model when only segments above a true rate count (KuaiHL's Delta), from metric rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import altair as alt
import polars as pl

from ranking.report.charts import FIRST, FOURTH, QUIET, THIRD, Picture, picture
from ranking.report.metric_tables import is_own
from segrec.highlight_evaluation.answers import ORACLE, ORACLE_RATE
from segrec.records import MetricRow

GROUPINGS = {"tau_room": "inside each room", "tau_window": "inside each window", "tau_global": "over all full windows"}
_LEFT_OUT = {"minus_position", "global_mean", ORACLE_RATE}
"They stand in the tables."
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


def tau_points(rows: Iterable[MetricRow], grouping: str) -> pl.DataFrame:
    """model, threshold (text), value, low, high, n: test rooms, cohort all, over seeds where there are several."""
    found: dict[tuple[str, str], MetricRow] = {}
    for row in rows:
        name, _, threshold = row.metric.partition("@")
        whole = row.split == "test" and row.cohort == "all" and row.versus is None and row.task == "highlight"
        if whole and name == grouping and row.model not in _LEFT_OUT and row.value == row.value:
            key = (row.model, threshold or "0")
            if row.seed is None or key not in found:
                found[key] = row
    columns = {"model": pl.String, "threshold": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64,
               "n": pl.Int64}  # fmt: skip
    points = [(model, at, row.value, row.low, row.high, row.n) for (model, at), row in found.items()]
    return pl.DataFrame(points, schema=columns, orient="row")


def threshold_pictures(rows: Sequence[MetricRow], own: Sequence[str]) -> list[Picture]:
    """One picture a grouping that was measured at more than one threshold."""
    points = {grouping: tau_points(rows, grouping) for grouping in GROUPINGS}
    return [
        _draw(grouping, frame, own) for grouping, frame in points.items() if frame["threshold"].n_unique() > 1
    ]  # fmt: skip


def _draw(grouping: str, frame: pl.DataFrame, own: Sequence[str]) -> Picture:
    named = frame["model"].unique(maintain_order=True).to_list()
    models = sorted(named, key=lambda model: (not is_own(model, own), model == ORACLE))
    first = [model for model in models if is_own(model, own)]
    colours = [THIRD if m == ORACLE else (FIRST, FOURTH)[first.index(m) % 2] if m in first else QUIET for m in models]
    shapes = [_SHAPES[place % len(_SHAPES)] for place in range(len(models))]
    spaced = alt.Scale(paddingInner=0.35)
    axis, legend = alt.Axis(labelAngle=0, grid=False, ticks=False), alt.Legend(columns=3)
    base = alt.Chart(frame, width=alt.Step(11), height=190).encode(
        x=alt.X("threshold:N", title="only segments whose rate lies above", axis=axis, scale=spaced),
        xOffset=alt.XOffset("model:N", sort=models),
        color=alt.Color("model:N", sort=models, scale=alt.Scale(domain=models, range=colours), legend=legend),
    )  # fmt: skip
    spread = base.mark_rule(strokeWidth=1.6).encode(
        y=alt.Y("low:Q", title="tau", scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(tickCount=5)), y2="high:Q"
    )
    dots = base.mark_point(filled=True, size=46, opacity=1).encode(
        y="value:Q", shape=alt.Shape("model:N", sort=models, scale=alt.Scale(domain=models, range=shapes))
    )
    counts = frame.filter(pl.col("model") == models[0]).sort("threshold")
    left = ", ".join(f"{at}: {n:,}" for at, n in zip(counts["threshold"], counts["n"], strict=True))
    told = "; ".join(
        f"{model} at {at}: {value:.3f}" for model, at, value, *_ in frame.sort("model", "threshold").iter_rows()
    )
    caption = (
        f"How well segments are ordered {GROUPINGS[grouping]} when only those above a true rate count. Metric rows of "
        f"`segrec evaluate highlight`, 95% intervals by room. What remains: {left}."
    )
    return picture(spread + dots, f"{grouping} by threshold", told, caption)
