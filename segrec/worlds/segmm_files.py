"""A made world in the files of SegMM (hezy18/SegMMInterest), full release or public sample, quirks included."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from segrec.records import DataError, exit_segment, segment_count
from segrec.worlds.jagged import Floats, positions_of
from segrec.worlds.short_video import ShortVideoWorld
from segrec.worlds.videos import SEGMENT_MS

FEATURE_DIM = 1024
SHIFTED_START_MS = 150_000_000
"The publisher's times are shifted ms: the world's first day begins here."
_DURATION_BUCKETS = 10
_CHUNK = 8_192


def write_segmm(world: ShortVideoWorld, folder: Path) -> None:
    """Writes SegMM_inter.csv with the columns of the full release, and the features.

    uration_ms is the publisher's own spelling; wtd_effective_view = watched a larger share of the video than the
    median view of its duration bucket.
    """
    share = pl.col("watch_ms") / pl.col("duration_ms")
    bucket = pl.col("duration_ms").rank("ordinal") * _DURATION_BUCKETS // (pl.len() + 1)
    log = _views(world).with_columns(effective=(share > share.median().over(bucket)).cast(pl.Int64))
    log.select(
        "user_id",
        "time_ms",
        photo_id="item_id",
        uration_ms="duration_ms",
        playing_time="watch_ms",
        wtd_effective_view="effective",
    ).write_csv(folder / "SegMM_inter.csv")
    _write_features_and_truth(world, folder)


def write_segmm_sample(world: ShortVideoWorld, folder: Path) -> None:
    """Writes SegMM_inter.csv with the columns of the public sample: label_1D is a printed list that may wrap."""
    log = _views(world).with_columns(n=segment_count(SEGMENT_MS), left=exit_segment(SEGMENT_MS))
    kinds = log.select("n", "left").unique()
    kinds = kinds.with_columns(label_1D=pl.Series([printed_label(n, left) for n, left in kinds.iter_rows()]))
    log.join(kinds, on=["n", "left"], how="left", maintain_order="left").select(
        "user_id",
        "time_ms",
        "duration_ms",
        "label_1D",
        video_id="item_id",
        playing_time="watch_ms",
    ).select("user_id", "video_id", "time_ms", "duration_ms", "playing_time", "label_1D").write_csv(
        folder / "SegMM_inter.csv"
    )
    _write_features_and_truth(world, folder)


def printed_label(segments: int, exit_at: int) -> str:
    """label_1D as numpy prints it: 1 = watched, 0 = the exit segment, -1 = not reached; wraps after 24 values.

    >>> printed_label(3, 1)
    '[ 1  0 -1]'
    """
    label = np.full(segments, -1)
    label[:exit_at] = 1
    label[exit_at : exit_at + 1] = 0
    return str(label)


def _views(world: ShortVideoWorld) -> pl.DataFrame:
    """Views that started, user by user as published, on the shifted clock."""
    views = world.impressions.filter(pl.col("watch_ms") > 0).with_columns(_shifted_time(world))
    if views.is_empty():
        raise DataError("the made world", "no view started", fix="give it more users or impressions")
    return views.sort("user_id", maintain_order=True)


def _shifted_time(world: ShortVideoWorld) -> pl.Expr:
    return pl.col("time_ms") - world.config.first_day_ms + SHIFTED_START_MS


def _write_features_and_truth(world: ShortVideoWorld, folder: Path) -> None:
    _write_features(world, folder)
    truth = world.truth.filter(world.impressions["watch_ms"] > 0).with_columns(_shifted_time(world))
    truth.write_parquet(folder / "truth.parquet", compression="zstd")


def _write_features(world: ShortVideoWorld, folder: Path) -> None:
    """The json map "{photo_id}-{segment}" -> row, and the float64 memmap (rows, 1024): vectors in a fixed random basis.

    Rows are divided by their L1 norm, as the publisher's are.
    """
    videos = world.videos
    items = np.repeat(videos.item_id, videos.lengths)
    names = zip(items.tolist(), positions_of(videos.lengths).tolist(), strict=True)
    lines = {f"{item}-{segment}": line for line, (item, segment) in enumerate(names)}
    with (folder / "SegMM_photoidframeid2lineid.json").open("w", encoding="utf-8") as stream:
        json.dump(lines, stream)
    basis = _basis(videos.vectors.shape[1])
    shape = (len(videos.vectors), FEATURE_DIM)
    out = np.memmap(folder / "SegMM_feat_memmap.dat", dtype=np.float64, mode="w+", shape=shape)
    for low in range(0, shape[0], _CHUNK):
        features = videos.vectors[low : low + _CHUNK] @ basis
        out[low : low + _CHUNK] = features / (np.abs(features).sum(axis=1, keepdims=True) + 1e-6)
    out.flush()


def _basis(dim: int) -> Floats:
    """(dim, 1024) orthonormal rows, the same in every world."""
    if dim > FEATURE_DIM:
        raise DataError("the made world", "content vectors are too wide for SegMM", found=dim, expected="at most 1024")
    square: Floats = np.linalg.qr(np.random.default_rng(1024).normal(size=(FEATURE_DIM, dim)))[0]
    return square.T
