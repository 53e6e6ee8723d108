"""A small dataset folder of live rooms, written directly: for tests of what stands behind the readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from segrec.records import DatasetFolder, DatasetMeta, Rate, SplitRule, write_segment_vectors

SEGMENT_MS = 30_000
BEGIN_MS = 1_747_000_000_000
"Some day in May 2025."


def make_live_dataset(
    path: Path, *, rooms: int = 16, segments: int = 30, width: int = 12, seed: int = 0
) -> DatasetFolder:
    """Rooms of 2/3 `segments` .. `segments` segments; 70% of the rooms are train, 15% valid, 15% test, by start.

    A hidden state in [-2, 2] wanders; lvtr and ctr follow it, vectors `visual` and `text` show it with noise (text
    one segment late). Entries and exposures are Poisson; impressions are one a third of the segments.
    """
    generator = np.random.default_rng(seed)
    frames, vectors = [], {"visual": [], "text": []}  # type: ignore[var-annotated]
    axes = generator.normal(size=(2, width))
    for room in range(rooms):
        length = int(generator.integers(2 * segments // 3, segments + 1))
        state = np.clip(np.cumsum(generator.normal(0, 0.5, length)), -2, 2)
        late = np.concatenate([state[:1], state[:-1]])
        for axis, (name, shown) in enumerate((("visual", state), ("text", late))):
            vectors[name].append(shown[:, None] * axes[axis] + generator.normal(0, 0.5, (length, width)))
        frames.append(_room(room, state, BEGIN_MS + room * 4 * segments * SEGMENT_MS // 3, generator))
    frame = pl.concat(frames)
    (path / "segments").mkdir(parents=True)
    frame.drop("author_id", "true_lvtr", "true_ctr").write_parquet(path / "segments" / "part-00000.parquet")
    index = frame.select("item_id", "segment").with_columns(row=pl.int_range(frame.height, dtype=pl.Int64))
    for name, parts in vectors.items():
        write_segment_vectors(
            path / "segments" / name, index, [np.concatenate(parts).astype(np.float32)], dim=width,
            dtype="float32", model="made",
        )  # fmt: skip
    _write_rest(path, frame, rooms, generator)
    return DatasetFolder.open(path)


def _room(room: int, state: np.ndarray, begin_ms: int, generator: np.random.Generator) -> pl.DataFrame:
    length = len(state)
    lvtr, ctr = 1 / (1 + np.exp(-state)), 1 / (1 + np.exp(1 - 0.5 * state))
    entries, exposures = generator.poisson(30, length), generator.poisson(80, length) + 1
    long_views, clicks = generator.binomial(entries, lvtr), generator.binomial(exposures, ctr)
    start = begin_ms + np.arange(length) * SEGMENT_MS
    return pl.DataFrame(
        {
            "item_id": np.full(length, 1000 + room),
            "author_id": np.full(length, room % 5),
            "segment": np.arange(length, dtype=np.int32),
            "start_ms": start,
            "end_ms": start + SEGMENT_MS,
            "viewers": entries * 3,
            "exposures": exposures,
            "clicks": clicks,
            "ctr": (clicks / exposures).astype(np.float32),
            "entries": entries,
            "long_views": long_views,
            "lvtr": np.where(entries > 0, long_views / np.maximum(entries, 1), np.nan).astype(np.float32),
            "comments": generator.poisson(2, length),
            "true_lvtr": lvtr,
            "true_ctr": ctr,
        }
    ).with_columns(lvtr=pl.col("lvtr").fill_nan(None))


def _write_rest(path: Path, frame: pl.DataFrame, rooms: int, generator: np.random.Generator) -> None:
    items = frame.group_by("item_id", maintain_order=True).agg(pl.first("author_id"), pl.min("start_ms"))
    borders = [int(items["start_ms"][int(rooms * share)]) for share in (0.7, 0.85)]
    later = pl.when(pl.col("start_ms") >= borders[0]).then(pl.lit("valid")).otherwise(pl.lit("train"))
    split = pl.when(pl.col("start_ms") >= borders[1]).then(pl.lit("test")).otherwise(later)
    items = items.with_columns(split=split)
    items.write_parquet(path / "items.parquet")
    frame.select(
        "item_id", "end_ms", lvtr="true_lvtr", ctr="true_ctr", lvtr_next="true_lvtr", ctr_next="true_ctr",
        highlight=(pl.col("true_lvtr") > 0.7).cast(pl.Int8),
    ).write_parquet(path / "truth_segments.parquet")  # fmt: skip
    shown = frame.filter(pl.col("segment") % 3 == 1)
    clicked = generator.random(shown.height) < shown["true_ctr"].to_numpy()
    watched = np.where(clicked, generator.exponential(90_000, shown.height), 0).astype(np.int64)
    rows = shown.select(
        user_id=pl.Series(generator.integers(0, 20, shown.height)), item_id="item_id", author_id="author_id",
        time_ms=pl.col("start_ms") + 7_000, duration_ms=pl.lit(None, pl.Int64), watch_ms=pl.Series(watched),
        is_click=pl.Series(clicked.astype(np.int8)), long_view=pl.Series((watched > 60_000).astype(np.int8)),
    )  # fmt: skip
    rows = rows.with_columns(start_ms="time_ms").with_columns(split=split).drop("start_ms").sort("time_ms", "user_id")
    day = path / "interactions" / "day=2025-05-11"
    day.mkdir(parents=True)
    rows.write_parquet(day / "part-00000.parquet")
    meta = DatasetMeta(
        format="made", segment_ms=SEGMENT_MS, licence="none", source="segrec.testing", fingerprint=f"live-{rooms}",
        split=SplitRule(rule="time", valid_from_ms=borders[0], test_from_ms=borders[1]),
        rows={part: int((rows["split"] == part).sum()) for part in ("train", "valid", "test")},
        segments={
            part: frame.join(items.filter(pl.col("split") == part), on="item_id", how="semi").height
            for part in ("train", "valid", "test")
        },
        rates={"ctr": Rate(trials="exposures"), "lvtr": Rate(trials="entries", known_after_ms=60_000)},
        counters=["exposures", "clicks", "comments"], flags=["is_click", "long_view"],
    )  # fmt: skip
    (path / "dataset.json").write_text(meta.model_dump_json(indent=1))
