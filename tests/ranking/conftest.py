"""A small log as a dataset folder, and folders from frames written out in a test."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ranking.cli import main
from segrec.records import SPLITS, DatasetFolder, DatasetMeta, SplitRule
from segrec.testing.live_dataset import make_live_dataset

DatasetMaker = Callable[..., DatasetFolder]

DAY_MS = 86_400_000
START_MS = 1_650_758_400_000
"2022-04-24 00:00 UTC."


@pytest.fixture
def make_dataset(tmp_path: Path) -> DatasetMaker:
    """(interactions, users, items, **meta) -> dataset folder; days by time_ms in UTC."""

    def make(
        interactions: pl.DataFrame,
        users: pl.DataFrame | None = None,
        items: pl.DataFrame | None = None,
        name: str = "dataset",
        **meta: object,
    ) -> DatasetFolder:
        return write_small_dataset(tmp_path / name, interactions, users, items, **meta)

    return make


@pytest.fixture(scope="session")
def click_log(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """3,000 impressions of 60 users and 40 items over 5 days; clicks follow user, item and duration."""
    rng = np.random.default_rng(7)
    n, users, items = 3000, 60, 40
    user, item = rng.integers(0, users, n), rng.integers(0, items, n)
    user_taste, item_pull = rng.normal(0, 1.2, users), rng.normal(0, 1.2, items)
    duration = rng.integers(1, 12, items) * 4000 + 1000
    chance = 1 / (1 + np.exp(-(user_taste[user] + item_pull[item])))
    click = (rng.random(n) < chance).astype(np.int8)
    time_ms = START_MS + np.sort(rng.integers(0, 5 * DAY_MS, n))
    day = (time_ms - START_MS) // DAY_MS
    split = np.where(day < 3, "train", np.where(day == 3, "valid", "test"))
    interactions = pl.DataFrame(
        {
            "user_id": user, "item_id": item, "author_id": item // 4, "time_ms": time_ms, "duration_ms": duration[item],
            "watch_ms": (duration[item] * chance * rng.random(n) * 2).astype(np.int64),
            "split": split, "is_click": click, "tab": rng.integers(0, 3, n).astype(np.int16),
        }
    )  # fmt: skip
    side_users = pl.DataFrame(
        {"user_id": np.arange(users), "level": [f"L{number % 3}" for number in range(users)],
         "fans": rng.integers(0, 100_000, users)}
    )  # fmt: skip
    side_items = pl.DataFrame(
        {"item_id": np.arange(items), "tag": ["3,5" if number % 2 else "5" for number in range(items)],
         "upload_dt": ["2022-04-20"] * (items - 1) + [None]}
    )  # fmt: skip
    return write_small_dataset(
        tmp_path_factory.mktemp("logs") / "clicks", interactions, side_users, side_items,
        flags=["is_click"], context=["tab"],
    )  # fmt: skip


@pytest.fixture(scope="session")
def several_labels_log(click_log: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """`click_log` with a second flag, long_view, which is unknown in every fifth row."""
    rows = click_log.interactions().collect()
    long_view = (pl.col("watch_ms") > 0.5 * pl.col("duration_ms")).cast(pl.Int8)
    unknown = pl.int_range(pl.len()) % 5 == 0
    log = rows.drop("day", strict=False).with_columns(long_view=pl.when(~unknown).then(long_view))
    return write_small_dataset(
        tmp_path_factory.mktemp("logs") / "several", log, click_log.users(), click_log.items(),
        flags=["is_click", "long_view"], context=["tab"],
    )  # fmt: skip


def write_small_dataset(
    folder: Path,
    interactions: pl.DataFrame,
    users: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    **meta: object,
) -> DatasetFolder:
    by_day = interactions.with_columns(day=pl.col("time_ms") // DAY_MS).sort("time_ms", "user_id", "item_id")
    for (day,), rows in by_day.group_by("day", maintain_order=True):
        date = dt.date(1970, 1, 1) + dt.timedelta(days=int(day))  # type: ignore[arg-type]
        (folder / "interactions" / f"day={date}").mkdir(parents=True)
        rows.drop("day").write_parquet(folder / "interactions" / f"day={date}" / "part.parquet")
    sides: dict[str, list[str]] = {}
    for side, frame in (("user", users), ("item", items)):
        if frame is not None:
            frame.write_parquet(folder / f"{side}s.parquet")
            sides[f"{side}_features"] = [column for column in frame.columns if column != f"{side}_id"]
    counts = dict(interactions["split"].value_counts().iter_rows())
    values: dict[str, object] = {
        "format": "table", "split": SplitRule(rule="time"), "rows": {part: counts.get(part, 0) for part in SPLITS},
        "licence": "none", "source": "made", "fingerprint": "f" * 64, **sides, **meta,
    }  # fmt: skip
    (folder / "dataset.json").write_text(DatasetMeta.model_validate(values).model_dump_json(), encoding="utf-8")
    return DatasetFolder.open(folder)


@pytest.fixture(scope="session")
def live_dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """Twenty live rooms of 20 to 30 segments, an impression every third one."""
    return make_live_dataset(tmp_path_factory.mktemp("live") / "rooms", rooms=20, segments=30, seed=3)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """(arguments) -> the one line of a command that must fail with exit code 2."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["segrec", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith("segrec: error: ")
        return line

    return run


@pytest.fixture
def refused_run(refused: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
    """As `refused`, of a command with --out, which must leave nothing there."""

    def run(*arguments: object) -> str:
        line = refused(*arguments, "--out", tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return line

    return run
