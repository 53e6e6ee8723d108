"""Training curves: one small chart for each scalar in a run's TensorBoard events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import altair as alt
import polars as pl
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ranking.report.charts import FIRST, Picture, picture
from ranking.report.metric_names import better

_SHOWN_POINTS = 400
_QUIET_TAGS = ("samples_per_second", "learning_rate")
"Told in words, not drawn."


@dataclass(frozen=True)
class TrainingCurves:
    """The curves of one run."""

    pictures: tuple[Picture, ...]
    steps: int
    samples_per_second: float | None
    "Median over the run."


def training_curves(events: Path) -> TrainingCurves | None:
    """The scalars under `events`; None where there are none."""
    curves = read_scalars(events)
    drawn = {tag: curve for tag, curve in curves.items() if not tag.endswith(_QUIET_TAGS)}
    if not drawn:
        return None
    speed = next((curve for tag, curve in curves.items() if tag.endswith("samples_per_second")), None)
    median = None if speed is None else speed["value"].median()
    return TrainingCurves(
        tuple(_draw(tag, curve) for tag, curve in drawn.items()),
        steps=max(int(curve["step"].to_numpy().max()) for curve in drawn.values()),
        samples_per_second=float(median) if isinstance(median, (int, float)) else None,
    )


def read_scalars(events: Path) -> dict[str, pl.DataFrame]:
    """step, value by tag; steps written twice (a resumed run) keep the last value; losses first."""
    if not events.is_dir():
        return {}
    reader = EventAccumulator(str(events), size_guidance={"scalars": 0})
    reader.Reload()
    tags = sorted(reader.Tags()["scalars"], key=lambda tag: (not tag.startswith("train/"), tag))
    return {tag: _curve(reader, tag) for tag in tags}


def _curve(reader: EventAccumulator, tag: str) -> pl.DataFrame:
    points = [(event.step, event.value) for event in reader.Scalars(tag)]
    frame = pl.DataFrame(points, schema={"step": pl.Int64, "value": pl.Float64}, orient="row")
    return frame.filter(pl.col("value").is_finite()).unique("step", keep="last").sort("step")


def _draw(tag: str, curve: pl.DataFrame) -> Picture:
    shown = curve.gather_every(max(1, curve.height // _SHOWN_POINTS))
    base = alt.Chart(shown, width=250, height=130).encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(tickCount=4, format="~s")),
        y=alt.Y(
            "value:Q", title=None, scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=4, format=".4~g")
        ),
    )
    chart = base.mark_line(color=FIRST)
    if curve.height <= 30:
        chart = chart + base.mark_point(color=FIRST, filled=True, size=28)
    first, last = curve["value"][0], curve["value"][-1]
    values = curve["value"].to_numpy()
    lower = tag.startswith("train/") or better(tag.rpartition("/")[2]) == "lower"
    best = values.min() if lower else values.max()
    return picture(chart, tag, f"{tag}: first {first:.4g}, best {best:.4g}, last {last:.4g}, {curve.height} points")
