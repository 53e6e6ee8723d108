"""The truth of a made live world as files: the same three in every form, on the form's own clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from segrec.worlds.jagged import Bools
from segrec.worlds.live import LiveWorld


def write_segment_truth(world: LiveWorld, folder: Path, written: Bools, later_ms: int = 0) -> None:
    """truth_segments.parquet and truth_alignment.parquet of the segments that were `written` (T,).

    later_ms: what the form's clock shows more than the world's.
    """
    rows = np.flatnonzero(written)
    truth = world.truth_segments[rows].with_columns(pl.col("end_ms") + later_ms)
    truth.write_parquet(folder / "truth_segments.parquet", compression="zstd")
    alignment = truth.select("item_id", "end_ms", text_offset=pl.Series(world.content.text_offset[rows]))
    alignment.write_parquet(folder / "truth_alignment.parquet", compression="zstd")


def write_impression_truth(world: LiveWorld, folder: Path) -> None:
    """truth.parquet: user_id, item_id, time_ms, click_probability, long_view_probability."""
    world.truth.write_parquet(folder / "truth.parquet", compression="zstd")
