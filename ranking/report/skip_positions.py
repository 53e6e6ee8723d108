"""Where views end: the distribution over segments, predicted against observed, by length of the video."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import altair as alt
import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.report.charts import FIRST, QUIET, Picture, picture
from ranking.report.metric_names import EXIT_SHARE
from ranking.report.metric_tables import is_own
from ranking.report.scored_views import ScoredViews
from segrec.records import MetricRow

_LAST_SHOWN = 9
_OBSERVED = "observed"
"Stands for a model's name in rows that say what happened."
_GROUPS = ((1, 3), (4, 8), (9, 10_000))
"Videos by number of segments."


def skip_positions(scored: ScoredViews, segment_ms: int) -> list[Picture]:
    """One picture for each group of video lengths that has views; needs scores of kind stay_probability."""
    lengths = scored.views["n_segments"].to_numpy()
    ends = scored.views["exit_segment"].to_numpy()
    exits = scored.exits()
    predicted = np.column_stack([np.exp(exits.log_exit.astype(np.float64)), np.exp(exits.log_end.astype(np.float64))])
    pictures = []
    for least, most in _GROUPS:
        rows = (lengths >= least) & (lengths <= most)
        if rows.any():
            shares = _shares(predicted[rows], ends[rows], lengths[rows])
            pictures.append(_draw(shares, _title(least, most, segment_ms), int(rows.sum())))
    return pictures


def measured_positions(rows: Iterable[MetricRow], own: Sequence[str]) -> list[Picture]:
    """One picture an own model, from the rows exit_share@SEGMENT that `segrec evaluate skip` writes; none without."""
    curves: dict[str, dict[str, float]] = {}
    views = 0
    for row in rows:
        if row.metric.startswith(EXIT_SHARE) and row.seed is None and row.cohort == "all":
            curves.setdefault(row.model, {})[row.metric.removeprefix(EXIT_SHARE)] = row.value
            views = row.n
    observed = curves.pop(_OBSERVED, None)
    if observed is None:
        return []
    drawn = [model for model in curves if is_own(model, own)]
    return [_draw(_measured(observed, curves[model]), f"{model}, all lengths", views) for model in drawn]


def _measured(observed: dict[str, float], predicted: dict[str, float]) -> pl.DataFrame:
    places = sorted(int(place) for place in observed if place != "end")
    shown = [str(place + 1) for place in places[:_LAST_SHOWN]]
    tail = [str(place) for place in places[_LAST_SHOWN:]]
    names = [*shown, *([f"{_LAST_SHOWN + 1}+"] if tail else []), "end"]

    def values(curve: dict[str, float]) -> list[float]:
        head = [curve.get(str(place), 0.0) for place in places[:_LAST_SHOWN]]
        rest = [sum(curve.get(place, 0.0) for place in tail)] if tail else []
        return [*head, *rest, curve.get("end", 0.0)]

    return pl.DataFrame({"position": names, "observed": values(observed), "predicted": values(predicted)})


def _shares(
    predicted: npt.NDArray[np.float64], ends: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32]
) -> pl.DataFrame:
    """position ('1', '2', ... 'end'), observed, predicted: shares of views; a long tail is put together."""
    width = min(int(lengths.max()), _LAST_SHOWN + 1)
    finished = ends >= lengths
    segment = np.minimum(ends[~finished], width - 1)
    observed = np.append(np.bincount(segment, minlength=width), finished.sum()) / len(ends)
    inside = predicted[:, :-1].mean(axis=0)
    expected = np.append(inside[:width], predicted[:, -1].mean())
    expected[width - 1] += inside[width:].sum()
    names = [str(place + 1) for place in range(width)]
    if int(lengths.max()) > width:
        names[-1] += "+"
    return pl.DataFrame({"position": [*names, "end"], "observed": observed, "predicted": expected})


def _draw(shares: pl.DataFrame, title: str, views: int) -> Picture:
    order = shares["position"].to_list()
    position = alt.X("position:N", sort=order, title="ends in segment", axis=alt.Axis(labelAngle=0, labelOverlap=False))
    share = alt.Axis(format="%", tickCount=4)
    long = shares.unpivot(["observed", "predicted"], index="position", variable_name="what", value_name="share")
    colours = alt.Scale(domain=["observed", "predicted"], range=[QUIET, FIRST])
    base = alt.Chart(long, width=alt.Step(max(23, 230 // len(order))), height=150).encode(
        x=position, y=alt.Y("share:Q", title="share of views", axis=share), color=alt.Color("what:N", scale=colours)
    )
    bars = base.transform_filter("datum.what === 'observed'").mark_bar()
    dots = base.transform_filter("datum.what === 'predicted'").mark_point(filled=True, size=46, opacity=1)
    told = ", ".join(f"{place}: {seen:.1%} observed, {said:.1%} predicted" for place, seen, said in shares.rows())
    return picture(bars + dots, f"{title}: {views:,} views", told)


def _title(least: int, most: int, segment_ms: int) -> str:
    seconds = segment_ms / 1000
    if most >= 10_000:
        return f"Videos longer than {(least - 1) * seconds:g} s"
    if least == 1:
        return f"Videos up to {most * seconds:g} s"
    return f"Videos of {(least - 1) * seconds:g} to {most * seconds:g} s"
