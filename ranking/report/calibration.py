"""Whether predicted probabilities come true: bins of predictions against the share that happened."""

from __future__ import annotations

import altair as alt
import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.report.charts import FIRST, QUIET, Picture, picture
from ranking.report.scored_views import ScoredViews
from segrec.metrics.calibration import calibration_curve

_BINS = 15


def exit_calibration(scored: ScoredViews) -> Picture:
    """Over all (view, segment reached): the predicted chance of leaving there against the share that left."""
    lengths = scored.views["n_segments"].to_numpy()
    ends = scored.views["exit_segment"].to_numpy()
    hazard = 1.0 - scored.stay()
    place = np.arange(hazard.shape[1])
    reached = (place <= ends[:, None]) & (place < lengths[:, None])
    left = reached & (place == ends[:, None])
    return calibration_picture(left[reached], hazard[reached], "Leaving a segment that was reached", "segments")


def calibration_picture(
    labels: npt.NDArray[np.generic], probabilities: npt.NDArray[np.floating], title: str, rows_are: str
) -> Picture:
    """Bins of equal row counts; a vertical line is the 95% interval of the share in that bin (Wilson)."""
    curve = calibration_curve(labels.astype(np.float64), np.clip(probabilities, 0, 1), bins=_BINS)
    low, high = wilson(curve.observed, curve.count)
    points = pl.DataFrame({"predicted": curve.predicted, "observed": curve.observed, "low": low, "high": high})
    most = float(max(points["predicted"].to_numpy().max(), high.max(), 1e-3))
    scale = alt.Scale(domain=[0, most], nice=True)
    axis = alt.Axis(format="~%" if most > 0.05 else ".1%", tickCount=5)
    ideal = alt.Chart(pl.DataFrame({"at": [0.0, most]})).mark_line(color=QUIET, strokeDash=[4, 4], strokeWidth=1.5)
    ideal = ideal.encode(x=alt.X("at:Q", scale=scale), y=alt.Y("at:Q", scale=scale))
    base = alt.Chart(points, width=250, height=220).encode(
        x=alt.X("predicted:Q", title="predicted", scale=scale, axis=axis)
    )
    spread = base.mark_rule(color=FIRST, strokeWidth=1.5).encode(y=alt.Y("low:Q", scale=scale, title=None), y2="high:Q")
    dots = base.mark_point(color=FIRST, filled=True, size=46, opacity=1).encode(
        y=alt.Y("observed:Q", title="happened", scale=scale, axis=axis)
    )
    told = ", ".join(f"{said:.1%} predicted: {seen:.1%} happened" for said, seen, *_ in points.rows())
    return picture(ideal + spread + dots, f"{title}: {len(labels):,} {rows_are}", told)


def wilson(
    share: npt.NDArray[np.float64], count: npt.NDArray[np.int64], z: float = 1.96
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """95% score interval of a share."""
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
