"""A small log that encoders can be fitted on: four days, users with habits, content vectors for most segments."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segrec.records import DatasetFolder, DatasetMeta, SplitRule, write_segment_vectors

DAY_MS = 86_400_000
FIRST_MS = 19_000 * DAY_MS


def interest_log(rows: int = 480, users: int = 16, items: int = 24, seed: int = 0) -> pl.DataFrame:
    """Impressions of five days: train 3, valid 1, test 1. Odd users leave early; some rows lie outside the task."""
    draw = np.random.default_rng(seed)
    user, item = draw.integers(0, users, rows), draw.integers(0, items, rows)
    duration = 4_000 + item * 2_500
    share = np.where(user % 2 == 1, draw.beta(1, 4, rows), draw.beta(4, 1, rows) * 1.3)
    watch = np.round(share * duration).astype(np.int64)
    watch[draw.random(rows) < 0.05] = 0
    duration[item == items - 1] = 260_000
    times = np.sort(draw.choice(5 * DAY_MS, rows, replace=False)) + FIRST_MS
    day = (times - FIRST_MS) // DAY_MS
    return pl.DataFrame(
        {
            "user_id": user,
            "item_id": item,
            "author_id": pl.Series(np.where(item % 7 == 0, -1, item % 5)).replace(-1, None),
            "time_ms": times,
            "duration_ms": duration,
            "watch_ms": watch,
            "is_click": (watch > 0).astype(np.int8),
            "tab": draw.integers(0, 3, rows).astype(np.int16),
            "split": np.array(["train", "train", "train", "valid", "test"])[day],
        }
    )


def write_dataset_folder(folder: Path, log: pl.DataFrame, *, vectors: bool = False) -> DatasetFolder:
    """A dataset folder as `segrec read` writes it."""
    for (day,), rows in log.with_columns(day=pl.col("time_ms") // DAY_MS).group_by(["day"], maintain_order=True):
        file = folder / "interactions" / f"day={day}" / "part-0.parquet"
        file.parent.mkdir(parents=True)
        rows.drop("day").sort("time_ms", "user_id", "item_id").write_parquet(file)
    items = pl.DataFrame({"item_id": np.arange(24), "tag": [f"topic {item % 4}" for item in range(24)]})
    items.write_parquet(folder / "items.parquet")
    pl.DataFrame({"user_id": np.arange(16), "fans": np.arange(16) ** 2}).write_parquet(folder / "users.parquet")
    if vectors:
        index = pl.DataFrame({"item_id": np.repeat(np.arange(1, 20), 6), "segment": np.tile(np.arange(6), 19)})
        values = np.random.default_rng(5).normal(size=(index.height, 8)).astype(np.float32)
        index = index.with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64))
        write_segment_vectors(folder / "segments" / "visual", index, [values], dim=8, dtype="float32", model="drawn")
    counts = dict(log.group_by("split").len().iter_rows())
    meta = DatasetMeta(
        format="table",
        split=SplitRule(rule="given"),
        rows={"train": counts.get("train", 0), "valid": counts.get("valid", 0), "test": counts.get("test", 0)},
        flags=["is_click"],
        context=["tab"],
        user_features=["fans"],
        item_features=["tag"],
        licence="made",
        source="made",
        fingerprint="f" * 64,
    )
    (folder / "dataset.json").write_text(json.dumps(meta.model_dump()), encoding="utf-8")
    return DatasetFolder.open(folder)


@pytest.fixture(scope="session")
def interest_dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """The small log without vectors."""
    return write_dataset_folder(tmp_path_factory.mktemp("interest"), interest_log())


@pytest.fixture(scope="session")
def vector_dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """The small log with content vectors."""
    return write_dataset_folder(tmp_path_factory.mktemp("vectors"), interest_log(), vectors=True)


@pytest.fixture
def make_interest_dataset(tmp_path: Path) -> Callable[..., DatasetFolder]:
    """Writes a changed log into a dataset folder of its own."""

    def make(log: pl.DataFrame, name: str = "changed", **options: bool) -> DatasetFolder:
        return write_dataset_folder(tmp_path / name, log, **options)

    return make


@pytest.fixture(scope="session")
def small_log() -> pl.DataFrame:
    """The rows of `interest_dataset`."""
    return interest_log()
