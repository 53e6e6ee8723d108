"""Content vectors of the segments in a batch, and of the segments that its users saw before.

Legend: B views, T their segments, Q distinct vectors of width E, H distinct histories with R0 segments in all,
R the same spread over the views.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from segrec.records import SegmentVectors
from segrec.segments.history import HistoryLog, ranges

IntArray = npt.NDArray[np.int64]
HistoryRule = Literal["as_of", "released"]

NO_VECTOR = -1


@dataclass(frozen=True)
class ContentTokens:
    """Vectors of a batch, each once, and who uses them."""

    vectors_QE: Tensor
    video_T: Tensor
    "Row of `vectors_QE` of each segment; -1 where the item has none, or on padding."
    history_R0: Tensor
    "Row of each seen segment, history after history."
    age_R0: Tensor
    "0 = the newest seen segment of its history."
    surprise_R0: Tensor
    "Expected minus observed exit there: above 0 where the user stayed, below 0 where the user left."
    user_rows_R: Tensor
    "Rows of the histories' segments, spread over the views."
    counts_B: Tensor
    "Seen segments of each view."

    def to(self, device: torch.device, non_blocking: bool = False) -> Self:
        """The tokens on `device`."""
        return self._each(lambda part: part.to(device=device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The tokens in page-locked memory."""
        return self._each(lambda part: part.pin_memory())

    def record_stream(self, stream: torch.Stream) -> None:
        """Keeps the memory until `stream` has used it."""
        self._each(lambda part: part.record_stream(stream) or part)  # type: ignore[func-returns-value]

    def _each(self, move: Callable[[Tensor], Tensor]) -> Self:
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: move(part) for name, part in parts.items() if isinstance(part, Tensor)})


@dataclass(frozen=True)
class VectorRows:
    """Where each item's segment vectors lie."""

    vectors: SegmentVectors
    items: pl.DataFrame
    "item_id, content: the place of an item in `rows`."
    rows: npt.NDArray[np.int32]
    "(items, S) row of the matrix, -1 where a segment has no vector."

    @classmethod
    def of(cls, vectors: SegmentVectors, slots: int) -> VectorRows:
        """From the index of `vectors`; segments beyond `slots` are left out."""
        index = vectors.index().filter(pl.col("segment") < slots)
        items = index.select("item_id").unique(maintain_order=True).with_row_index("content")
        placed = index.join(items, on="item_id", how="left", maintain_order="left")
        rows = np.full((items.height, slots), NO_VECTOR, np.int32)
        rows[placed["content"].to_numpy(), placed["segment"].to_numpy()] = placed["row"].to_numpy()
        return cls(vectors, items, rows)

    def places(self, item_ids: pl.Series) -> IntArray:
        """(n,) place of each item, -1 where it has no vectors."""
        found = item_ids.rename("item_id").to_frame().join(self.items, on="item_id", how="left", maintain_order="left")
        return found["content"].cast(pl.Int64).fill_null(NO_VECTOR).to_numpy()

    def at(self, places: IntArray, segments: IntArray) -> IntArray:
        """(n,) matrix rows, -1 where there is none."""
        if not len(self.rows):
            return np.full(len(places), NO_VECTOR)
        inside = (places >= 0) & (segments < self.rows.shape[1])
        return np.where(inside, self.rows[places, np.minimum(segments, self.rows.shape[1] - 1)], NO_VECTOR)


@dataclass(frozen=True)
class ContentHistory:
    """Vectors for a table of views: of their own segments, and of what their users saw before them."""

    vector_rows: VectorRows
    places: IntArray
    "(V,) place of the view's item in `vector_rows`."
    start: IntArray
    end: IntArray
    "(V,) the view's history is seen[start:end]."
    seen: IntArray
    "Matrix rows of all seen segments, by user and time."
    surprise: npt.NDArray[np.float32]
    "Of each of them: expected minus observed exit; 1 where nothing is expected."

    @classmethod
    def of(
        cls,
        views: pl.DataFrame,
        log: HistoryLog,
        vector_rows: VectorRows,
        *,
        cap_views: int,
        cap_segments: int,
        rule: HistoryRule = "as_of",
        hazards: npt.NDArray[np.float64] | None = None,
        seconds_a_segment: int = 5,
    ) -> ContentHistory:
        """Histories: segments watched before the skip, in the newest `cap_views` past rows, newest `cap_segments`.

        With `hazards` (by length and position) the segment that was left counts as seen too, and how surprising
        staying or leaving was is known of each.

        A history's size is rounded down to 0, 1, 2, 4, 8 ... or the cap, oldest dropped, so that views fall into few
        groups of equal size. `released` is the authors' slip: start seconds looked up as if they were indices.
        """
        exits, lengths = (log.rows[name].to_numpy().astype(np.int64) for name in ("exit_segment", "n_segments"))
        counts = exits if hazards is None else np.minimum(exits + 1, lengths)
        row = np.repeat(np.arange(len(counts)), counts)
        places, segments = vector_rows.places(log.rows["item_id"])[row], ranges(np.zeros_like(counts), counts)
        surprise = np.ones(len(row), np.float32)
        if hazards is not None:
            surprise = (hazards[lengths[row], segments] - (segments == exits[row])).astype(np.float32)
        rows = vector_rows.at(places, segments * (seconds_a_segment if rule == "released" else 1))
        known = rows != NO_VECTOR
        before = np.concatenate([[0], np.cumsum(known)])[np.concatenate([[0], np.cumsum(counts)])]
        first, last = log.windows(views, cap_views)
        end = before[last]
        size = _rounded_down(np.minimum(end - before[first], cap_segments), cap_segments)
        own = vector_rows.places(views["item_id"])
        return cls(vector_rows, own, end - size, end, rows[known].astype(np.int64), surprise[known])

    def sizes(self, rows: IntArray) -> IntArray:
        """Seen segments of the views at `rows`."""
        return (self.end - self.start)[rows]

    def tokens(self, rows: IntArray, view_T: IntArray, position_T: IntArray) -> ContentTokens:
        """The vectors of the views at `rows` (ordered as the batch is), each distinct vector read once."""
        video = self.vector_rows.at(self.places[rows][view_T], position_T)
        start, end = self.start[rows], self.end[rows]
        windows, history = np.unique(np.stack([start, end], axis=1), axis=0, return_inverse=True)
        sizes = windows[:, 1] - windows[:, 0]
        offsets = np.cumsum(sizes) - sizes
        past = ranges(windows[:, 0], windows[:, 1])
        seen = self.seen[past]
        distinct, used = np.unique(np.concatenate([video, seen]), return_inverse=True)
        missing = int(len(distinct) > 0 and distinct[0] == NO_VECTOR)
        vectors = np.asarray(self.vector_rows.vectors.matrix[distinct[missing:]], dtype=np.float32)
        mine = history.reshape(-1)
        return ContentTokens(
            vectors_QE=torch.from_numpy(vectors),
            video_T=torch.from_numpy(used[: len(video)] - missing),
            history_R0=torch.from_numpy(used[len(video) :] - missing),
            age_R0=torch.from_numpy(np.repeat(offsets + sizes, sizes) - 1 - np.arange(int(sizes.sum()))),
            surprise_R0=torch.from_numpy(self.surprise[past]),
            user_rows_R=torch.from_numpy(ranges(offsets[mine], offsets[mine] + sizes[mine])),
            counts_B=torch.from_numpy(end - start),
        )


def _rounded_down(sizes: IntArray, cap: int) -> IntArray:
    """The largest of 0, 1, 2, 4, 8 ... and `cap` that is not above each size."""
    steps = np.array(sorted({0, cap, *(2**power for power in range(cap.bit_length()) if 2**power < cap)}))
    return steps[np.searchsorted(steps, sizes, side="right") - 1]
