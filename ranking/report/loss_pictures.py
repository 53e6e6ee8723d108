"""The losses of live encoders: their parts during training, the shapes of the pairwise ones (KuaiHL, Figs. 3, 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

import altair as alt
import numpy as np
import polars as pl
import torch

from ranking.report.charts import FIRST, FOURTH, QUIET, SECOND, THIRD, Picture, picture
from segrec.losses.pairwise import PairKind, pairwise_loss

PARTS = {"point": "train/loss_point", "pair": "train/loss_pair"}
PAIR_KINDS: tuple[PairKind, ...] = get_args(PairKind)
GAP = 0.2
"y_i - y_j of the pair whose loss is drawn."
REACH = 0.5
"ds is drawn from -REACH to REACH."
_COLOURS = (SECOND, FIRST, THIRD, FOURTH)
_SHOWN_POINTS = 300


def part_curves(scalars: Mapping[str, Mapping[str, pl.DataFrame]]) -> pl.DataFrame | None:
    """run, part, step, value of the runs (name -> scalars by tag) that had a pairwise loss; None without one."""
    frames = []
    for name, curves in scalars.items():
        if PARTS["pair"] not in curves:
            continue
        for part, tag in PARTS.items():
            if tag in curves:
                shown = curves[tag].gather_every(max(1, curves[tag].height // _SHOWN_POINTS))
                frames.append(shown.select(pl.lit(name).alias("run"), pl.lit(part).alias("part"), "step", "value"))
    return pl.concat(frames) if frames else None


def part_pictures(curves: pl.DataFrame) -> list[Picture]:
    """The pointwise loss, then the pairwise one, a line a run."""
    return [_parts(curves, part) for part in PARTS]


def _parts(curves: pl.DataFrame, part: str) -> Picture:
    frame = curves.filter(pl.col("part") == part)
    runs = frame["run"].unique(maintain_order=True).to_list()
    colours = [_COLOURS[place % len(_COLOURS)] for place in range(len(runs))]
    chart = alt.Chart(frame, width=300, height=170).mark_line(strokeWidth=1.8).encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(tickCount=4, format="~s", grid=False)),
        y=alt.Y("value:Q", title=f"{part} loss", scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=4)),
        color=alt.Color("run:N", sort=runs, scale=alt.Scale(domain=runs, range=colours)),
    )  # fmt: skip
    ends = [_ends(run, frame.filter(pl.col("run") == run)["value"].to_numpy()) for run in runs]
    seen = {
        "point": "Whether the pointwise loss keeps falling, or is given up for the pairwise one (a collapse)",
        "pair": "Whether order is learned: L0 pushes all pairs apart, L1 leaves those beyond their targets' distance, "
        "so that the two are means over different pairs",
    }[part]
    caption = f"{seen}. From the TensorBoard events of the runs, unweighted, train batches."
    return picture(chart, f"{part.capitalize()}wise loss in training", "; ".join(ends), caption)


def _ends(run: str, values: np.ndarray) -> str:
    return f"{run}: first {values[0]:.4g}, lowest {values.min():.4g}, last {values[-1]:.4g}"


def loss_shape(kind: PairKind, sigma: float) -> pl.DataFrame:
    """ds, loss of one pair with dy = GAP, from `pairwise_loss` itself."""
    reach = np.linspace(-REACH, REACH, 201)
    targets = torch.tensor([[GAP, 0.0]], dtype=torch.float64)
    values = [
        pairwise_loss(torch.tensor([[ds, 0.0]], dtype=torch.float64), targets, kind=kind, sigma=sigma, reduction="sum")
        for ds in reach.tolist()
    ]
    return pl.DataFrame({"ds": reach, "loss": [value.item() for value in values]})


def shape_pictures(sigma: float, used: Sequence[str]) -> list[Picture]:
    """One picture a kind; `used` are those of the runs on the page, drawn in the model's colour."""
    return [_shape(kind, sigma, kind in used) for kind in PAIR_KINDS]


def _shape(kind: PairKind, sigma: float, used: bool) -> Picture:
    shape = loss_shape(kind, sigma)
    colour = FIRST if used else QUIET
    curve = alt.Chart(shape, width=128, height=110).mark_line(color=colour, interpolate="step").encode(
        x=alt.X("ds:Q", title="s_i − s_j", axis=alt.Axis(values=[-0.4, 0, GAP, 0.4], grid=False, format="~g")),
        y=alt.Y("loss:Q", title="loss of the pair", axis=alt.Axis(tickCount=3)),
    )  # fmt: skip
    boundary = alt.Chart(pl.DataFrame({"at": [GAP]})).mark_rule(color=SECOND, strokeDash=[4, 4]).encode(x="at:Q")
    kept = shape.filter(pl.col("loss") > 0)["ds"].to_numpy()
    told = f"not 0 from {kept.min():.2f} to {kept.max():.2f}, largest {shape['loss'].to_numpy().max():.2f}"
    caption = {
        "L0": "All pairs: pushed apart for ever.",
        "L1": "Left alone beyond the boundary.",
        "L2": "Only pairs in the wrong order.",
        "L3": "Only pairs in the right order, too close.",
    }[kind]
    return picture(boundary + curve, f"{kind}{' (in use here)' if used else ''}", told, caption)
