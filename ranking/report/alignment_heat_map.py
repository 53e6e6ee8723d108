"""Cosines of a room's text with its frames, and the cheapest path in time through them (KuaiHL, Figs. 5a and 5b)."""

from __future__ import annotations

from dataclasses import dataclass

import altair as alt
import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from ranking.report.charts import FIRST, SECOND, THIRD, Picture, picture
from segrec.encoders.live_rate import LiveRateEncoder
from segrec.losses.alignment import cosines
from segrec.losses.dtw import dtw_path
from segrec.segments.rooms import Rooms

MOST_SEGMENTS = 60
PATH, TRUTH = "cheapest path", "true offset"

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class AlignmentMap:
    """n segments of one run that have both text and frames."""

    item: object
    segments: IntArray
    "(n,) their numbers in the room."
    cosines: FloatArray
    "(n, n) of text i with frames j: of the tokens that the fitted network projects them to."
    path: IntArray
    "(P, 2) cells of the cheapest path over D = 1 - cosine."
    spoken_of: IntArray | None
    "(n,) number of the segment that text i speaks of; None: no made world."

    @classmethod
    def of(cls, encoder: LiveRateEncoder, rooms: Rooms) -> AlignmentMap | None:
        """Of the longest room, in a made world of the one whose text is furthest from its frames (by the truth, not by
        any score): its first run. None where fewer than three segments there have both."""
        room = _room(rooms)
        first = int(rooms.offsets[room])
        last = min(int(rooms.run_offsets[np.searchsorted(rooms.run_offsets, first) + 1]), first + MOST_SEGMENTS)
        texts, frames, present = _tokens(encoder, rooms)
        rows = first + np.flatnonzero(present[first:last])
        if len(rows) < 3:
            return None
        found = cosines(texts[rows][None], frames[rows][None])[0]
        numbers = rooms.frame["segment"].to_numpy()[rows].astype(np.int64)
        offsets = _offsets(rooms)
        spoken = None if offsets is None else numbers + offsets[rows]
        item = rooms.frame["item_id"][first]
        return cls(item, numbers, found.double().numpy(), dtw_path(1 - found).numpy(), spoken)

    def cells(self) -> pl.DataFrame:
        """text, frames (segment numbers), cosine."""
        text, frames = (part.ravel() for part in np.meshgrid(self.segments, self.segments, indexing="ij"))
        return pl.DataFrame({"text": text, "frames": frames, "cosine": self.cosines.ravel()})

    def distances(self) -> tuple[float, float] | None:
        """Mean segments between the truth and the path's frames (those of each text), and between it and the diagonal:
        what stays when nothing is aligned."""
        if self.spoken_of is None:
            return None
        text, frames = self.segments[self.path[:, 0]], self.segments[self.path[:, 1]]
        centre = np.array([frames[text == number].mean() for number in self.segments])
        return float(np.abs(centre - self.spoken_of).mean()), float(np.abs(self.segments - self.spoken_of).mean())


def alignment_picture(found: AlignmentMap, made_by: str) -> Picture:
    """Shades from the median to the highest cosine; the path, and the truth where it is known."""
    size = int(found.segments.max() - found.segments.min()) + 1
    ends = alt.Scale(domain=[int(found.segments.min()) - 0.5, int(found.segments.max()) + 0.5], nice=False)
    axis = alt.Axis(grid=False, tickCount=6, format="d")
    place = {
        "x": alt.X("frames:Q", title="frames of segment", axis=axis, scale=ends),
        "y": alt.Y("text:Q", title="text of segment", axis=axis, scale=ends),
    }
    lines = {PATH: _line(PATH, found.segments[found.path[:, 1]], found.segments[found.path[:, 0]])}
    if found.spoken_of is not None:
        lines = {TRUTH: _line(TRUTH, found.spoken_of, found.segments), **lines}
    colours = alt.Color("what:N", scale=alt.Scale(domain=list(lines), range=[THIRD, SECOND][-len(lines) :]))
    widths = {TRUTH: 5.0, PATH: 2.0}
    drawn = [
        alt.Chart(line).mark_line(strokeWidth=widths[name]).encode(**place, order="order:Q", color=colours)
        for name, line in lines.items()
    ]
    title = f"Room {found.item}: {len(found.segments)} segments with text and frames"
    told = f"cosines from {found.cosines.min():.2f} to {found.cosines.max():.2f}" + _told(found)
    shades = _shades(found, max(5, min(9, 330 // size)) * size, ends)
    return picture(alt.layer(shades, *drawn), title, told, _caption(found, made_by))


def _shades(found: AlignmentMap, side: int, ends: alt.Scale) -> alt.Chart:
    """One square a cell, of `side` pixels in all."""
    edges = {"left": pl.col("frames") - 0.5, "right": pl.col("frames") + 0.5}
    edges |= {"low": pl.col("text") - 0.5, "high": pl.col("text") + 0.5}
    shade = alt.Scale(
        domain=[float(np.median(found.cosines)), float(found.cosines.max())], range=[0.0, 0.9], clamp=True
    )
    squares = alt.Chart(found.cells().with_columns(**edges), width=side, height=side).mark_rect(
        color=FIRST, strokeWidth=0
    )
    return squares.encode(
        x=alt.X("left:Q", scale=ends), x2="right:Q", y=alt.Y("low:Q", scale=ends), y2="high:Q",
        opacity=alt.Opacity("cosine:Q", scale=shade, legend=None),
    )  # fmt: skip


def _caption(found: AlignmentMap, made_by: str) -> str:
    measured = found.distances()
    off = "" if measured is None else (
        f" On average the path is {measured[0]:.1f} segments off the truth, the diagonal {measured[1]:.1f}."
    )  # fmt: skip
    chosen = "The longest test room." if measured is None else "The test room whose text is furthest from its frames."
    return (
        "Whether the shaded band, and the path that alignment losses pay for, follow what the text speaks of: vertical "
        f"where text moves on before frames do, horizontal where frames do. Tokens as projected by {made_by}; stronger "
        f"shade = higher cosine, blank = text or frames are missing. {chosen}{off}"
    )


def _told(found: AlignmentMap) -> str:
    measured = found.distances()
    return "" if measured is None else f"; the path is {measured[0]:.2f} segments off the truth on average"


def _line(what: str, frames: IntArray, text: IntArray) -> pl.DataFrame:
    return pl.DataFrame({"what": what, "frames": frames, "text": text}).with_row_index("order")


@torch.inference_mode()
def _tokens(encoder: LiveRateEncoder, rooms: Rooms) -> tuple[torch.Tensor, torch.Tensor, npt.NDArray[np.bool_]]:
    """(T, D) text and frames' tokens, and (T,) where both are there."""
    table = encoder.inputs.encode(rooms, rooms.dataset)
    batches = [batch for _, batch in table.runs(8192)]
    parts = [(encoder.network(batch).tokens, torch.stack(batch.segments.present).all(0)) for batch in batches]
    texts, frames = (torch.cat([tokens[name] for tokens, _ in parts]) for name in ("text", "visual"))
    return texts, frames, torch.cat([present for _, present in parts]).numpy()


def _room(rooms: Rooms) -> int:
    lengths, offsets = np.diff(rooms.offsets), _offsets(rooms)
    if offsets is None:
        return int(lengths.argmax())
    away = np.bincount(rooms.room, np.abs(offsets)) / lengths
    return int(np.where(lengths >= min(np.median(lengths), MOST_SEGMENTS), away, -1).argmax())


def _offsets(rooms: Rooms) -> IntArray | None:
    truth = rooms.dataset.alignment_truth()
    if truth is None:
        return None
    keys = rooms.frame.select("item_id", "end_ms")
    known = truth.select(*(pl.col(key).cast(keys.schema[key]) for key in keys.columns), "text_offset")
    joined = keys.join(known, on=["item_id", "end_ms"], how="left", maintain_order="left")
    return joined["text_offset"].fill_null(0).to_numpy().astype(np.int64)
