"""Truth against predictions along live rooms (ContentCTR, Fig. 4).

Legend: N segments of the tested rooms, in which a prediction is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.report.calibration import wilson
from ranking.report.charts import FIRST, FOURTH, QUIET, SECOND, THIRD, Picture, picture
from ranking.report.gathering import RunRecord
from ranking.training.segment_run import PREDICTIONS
from segrec.encoders.encoder import LiveEncoder
from segrec.encoders.live_priors import LAST_VALUE
from segrec.highlight_evaluation import HighlightTask, oracle_answers, simple_answers
from segrec.highlight_evaluation.answers import ORACLE, ORACLE_RATE, SEGMENT_KEY, score_file, scores_of
from segrec.records import DatasetFolder

MOST_ROOMS = 2
TRUE, OBSERVED = "true rate", "observed"

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RoomCurves:
    """What was predicted of the segments of tested rooms, and what happened."""

    task: HighlightTask
    predictions: Mapping[str, FloatArray]
    "(N,) by model, the encoder first, the simple predictor last."
    true: FloatArray | None
    "(N,) the true rate of the segment that is predicted; None: no made world."

    @classmethod
    def of(cls, run: RunRecord, encoder: LiveEncoder, dataset: DatasetFolder, ranker: RunRecord | None) -> RoomCurves:
        """:raises DataError: nothing to measure in the test rooms, or vectors that the encoder needs are missing."""
        task = HighlightTask.of(dataset, "test", encoder.target, encoder.label_shift)
        found = {run.meta.model: encoder.predict(task.tested, dataset).astype(np.float64)}
        if ranker is not None:
            file = ranker.folder.path / PREDICTIONS
            found[ranker.meta.model] = scores_of(score_file(file), task.tested.frame.select(SEGMENT_KEY), file)
        simple = {answer.model: answer.scores for answer in simple_answers(task)}
        known = {answer.model: answer.scores for answer in oracle_answers(task)}
        return cls(task, {**found, LAST_VALUE: simple[LAST_VALUE]}, known.get(ORACLE_RATE if task.shift else ORACLE))

    def rooms(self) -> list[int]:
        """Of the tested rooms those with the most trials (segments, where trials are unknown), by start: no score is
        looked at."""
        task = self.task
        counted = np.where(np.isnan(task.trials), 1.0, task.trials) * task.counted
        weight = np.bincount(task.tested.room, counted, minlength=task.room_count)
        most = np.argsort(-weight, kind="stable")[:MOST_ROOMS]
        return sorted(room for room in most.tolist() if weight[room] > 0)

    def lines(self, room: int) -> pl.DataFrame:
        """minute (since the room began, middle of the segment that is predicted), what, value; observed rates have
        low and high where trials are counted: their 95% interval (Wilson)."""
        rows, minute = self._segments(room)
        task = self.task
        whole = {**({} if self.true is None else {TRUE: self.true}), **self.predictions}
        parts = [_line(minute, name, values[rows]) for name, values in whole.items()]
        known = ~np.isnan(task.truth[rows])
        seen, trials = task.truth[rows][known], task.trials[rows][known]
        low, high = wilson(seen, np.maximum(trials, 1)) if not np.isnan(trials).any() else (None, None)
        observed = _line(minute[known], OBSERVED, seen)
        if low is not None and high is not None:
            observed = observed.with_columns(low=pl.Series(low), high=pl.Series(high))
        return pl.concat([*parts, observed])

    def _segments(self, room: int) -> tuple[IntArray, FloatArray]:
        """Rows of the room whose target exists, and the minute of the target's middle."""
        tested, shift = self.task.tested, self.task.shift
        rows = np.arange(tested.offsets[room], tested.offsets[room + 1])
        asked = rows + shift
        inside = ~np.isin(rows, tested.run_offsets[1:] - 1) if shift else np.ones(len(rows), bool)
        middle = (tested.start_ms[asked[inside]] + tested.end_ms[asked[inside]]) / 2
        return rows[inside], (middle - tested.start_ms[rows[0]]) / 60_000


def room_pictures(curves: RoomCurves) -> list[Picture]:
    """One picture a room."""
    return [_draw(curves, room) for room in curves.rooms()]


def _line(minute: FloatArray, what: str, values: FloatArray) -> pl.DataFrame:
    nothing = pl.lit(None, pl.Float64)
    return pl.DataFrame({"minute": minute, "what": what, "value": values}).with_columns(low=nothing, high=nothing)


def _draw(curves: RoomCurves, room: int) -> Picture:
    frame, task = curves.lines(room), curves.task
    models = list(curves.predictions)
    shown = [*([TRUE] if curves.true is not None else []), *models, OBSERVED]
    palette = {TRUE: THIRD, models[0]: FIRST, LAST_VALUE: QUIET, OBSERVED: SECOND}
    colours = [palette.get(name, FOURTH) for name in shown]
    base = alt.Chart(frame, width=400, height=160).encode(
        x=alt.X("minute:Q", title="minutes since the room began", axis=alt.Axis(tickCount=6, grid=False)),
        color=alt.Color("what:N", sort=shown, scale=alt.Scale(domain=shown, range=colours)),
    )
    y = alt.Y("value:Q", title=task.rate, axis=alt.Axis(format="~%", tickCount=4))
    happened = base.transform_filter(f"datum.what === '{OBSERVED}'")
    lines = base.transform_filter(f"datum.what !== '{OBSERVED}'").mark_line(strokeWidth=1.8).encode(y=y)
    dots = happened.mark_point(filled=True, size=22, opacity=0.75).encode(y=y)
    layers = lines + dots
    if curves.true is None and frame["low"].is_not_null().any():
        layers = happened.mark_rule(strokeWidth=1, opacity=0.5).encode(y=alt.Y("low:Q"), y2="high:Q") + layers
    item = task.tested.frame["item_id"][int(task.tested.offsets[room])]
    known = frame.filter(pl.col("what") == OBSERVED).height
    return picture(layers, f"Room {item}, {task.rate}: {known} segments", _told(curves, room))


def _told(curves: RoomCurves, room: int) -> str:
    """Mean distance of each line from the truth, or from what was observed."""
    rows, _ = curves._segments(room)
    truth = curves.task.truth if curves.true is None else curves.true
    known = rows[~np.isnan(truth[rows])]
    aim = OBSERVED if curves.true is None else TRUE
    off = {name: float(np.abs(values - truth)[known].mean()) for name, values in curves.predictions.items()}
    return f"mean distance from the {aim}: " + ", ".join(f"{name} {value:.3f}" for name, value in off.items())


def predictions_at_hand(folder: Path) -> bool:
    """Whether a ranker run left predictions of segments."""
    return (folder / PREDICTIONS).is_file()
