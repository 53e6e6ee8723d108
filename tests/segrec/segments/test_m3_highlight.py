"""The KuaiLive-M3 highlight score: by hand on one room, and against plain loops that follow the authors' steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from segrec.records import DataError, DatasetFolder, DatasetMeta, SplitRule
from segrec.segments.m3_highlight import STATISTICS, M3Rooms

Session = tuple[int, int, int]
"item_id, start s, end s"


def write_rooms(
    folder: Path, rooms: dict[int, list[tuple[int, int, int, int]]], sessions: list[Session]
) -> DatasetFolder:
    """Rooms: item_id -> (start s, end s, likes, comments) of each segment."""
    rows = [(item, place, *row) for item, own in rooms.items() for place, row in enumerate(own)]
    frame = pl.DataFrame(rows, schema=["item_id", "segment", "start_ms", "end_ms", "likes", "comments"], orient="row")
    frame = frame.with_columns(pl.col("segment").cast(pl.Int32), pl.col("start_ms") * 1000, pl.col("end_ms") * 1000)
    (folder / "segments").mkdir(parents=True)
    frame.write_parquet(folder / "segments" / "part-0.parquet")
    items = frame.group_by("item_id", maintain_order=True).agg(pl.min("start_ms")).with_columns(author_id=7)
    items.with_columns(split=pl.lit("train")).write_parquet(folder / "items.parquet")
    log = pl.DataFrame(sessions, schema=["item_id", "time_ms", "end_ms"], orient="row")
    log = log.select("item_id", pl.col("time_ms") * 1000, watch_ms=(pl.col("end_ms") - pl.col("time_ms")) * 1000)
    log = log.with_columns(is_click=pl.lit(1, pl.Int8), split=pl.lit("train"))
    shown = log.head(3).with_columns(is_click=pl.lit(0, pl.Int8))
    (folder / "interactions" / "day=1").mkdir(parents=True)
    pl.concat([log, shown]).write_parquet(folder / "interactions" / "day=1" / "part-0.parquet")
    meta = DatasetMeta(
        format="kuailive_m3", split=SplitRule(rule="given"), rows={}, licence="made", source="made", fingerprint="f",
        counters=["likes", "comments"],
    )  # fmt: skip
    (folder / "dataset.json").write_text(meta.model_dump_json())
    return DatasetFolder.open(folder)


ROOM = {5: [(0, 30, 4, 0), (30, 60, 0, 1), (60, 100, 0, 0), (100, 130, 3, 0), (130, 160, 0, 3)]}
SESSIONS = [(5, 0, 30), (5, 0, 200), (5, 10, 61), (5, 30, 100), (5, 70, 129), (5, 130, 160), (5, 150, 400)]


def test_labels_by_hand(tmp_path: Path) -> None:
    rooms = M3Rooms.of(write_rooms(tmp_path / "d", ROOM, SESSIONS))
    assert rooms.entered.tolist() == [2, 4, 4, 5, 6], "who begins after the segment's start does not count yet"
    assert rooms.stayed.tolist() == [2, 3, 2, 1, 2]
    lvtr = np.array([1, 0.75, 0.5, 0.2, 1 / 3])
    engagement = np.array([2, 0.5, 0, 0.6, 1])
    expected = 0.6 * (lvtr - 0.2) / 0.8 + 0.4 * engagement / 2
    np.testing.assert_allclose(rooms.score, expected)
    assert rooms.binary.tolist() == [1, 1, 0, 0, 0], "70th percentile of five = between the second and third best"


def test_positions_ask_for_the_next_segment(tmp_path: Path) -> None:
    rooms = M3Rooms.of(write_rooms(tmp_path / "d", ROOM, SESSIONS))
    positions = rooms.positions()
    assert positions.keys.rows() == [(5, 0), (5, 1), (5, 2), (5, 3)]
    np.testing.assert_allclose(positions.score, rooms.score[1:])
    assert positions.binary.tolist() == [1, 0, 0, 0]
    assert positions.offsets.tolist() == [0, 4]
    own, later = rooms.statistics[:-1], rooms.statistics[1:]
    np.testing.assert_allclose(positions.statistics, np.concatenate([own[:, :2], later[:, 2:]], axis=1))


def drawn_rooms(count: int = 11) -> tuple[dict[int, list[tuple[int, int, int, int]]], list[Session]]:
    draw = np.random.default_rng(1)
    rooms, sessions = {}, []
    for place in range(count):
        cuts = 1000 * place + np.cumsum(draw.integers(5, 40, int(draw.integers(6, 14))))
        counts = draw.poisson(2, (len(cuts), 2)).tolist()
        ends = zip(cuts[:-1].tolist(), cuts[1:].tolist(), counts, strict=False)
        rooms[100 - place] = [(start, end, *own) for start, end, own in ends]
        begun = draw.integers(cuts[0] - 20, cuts[-1], 30)
        over = begun + draw.integers(0, 150, 30)
        sessions += [(100 - place, *span) for span in zip(begun.tolist(), over.tolist(), strict=True)]
    return rooms, sessions


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> M3Rooms:
    return M3Rooms.of(write_rooms(tmp_path_factory.mktemp("m3") / "d", *drawn_rooms()))


def test_counts_are_those_of_a_loop(drawn: M3Rooms) -> None:
    rooms, sessions = drawn_rooms()
    expected = [
        (
            sum(item == room and begin <= start for room, begin, _ in sessions),
            sum(item == room and begin <= start and over >= end for room, begin, over in sessions),
        )
        for item, own in rooms.items()
        for start, end, *_ in own
    ]
    assert list(zip(drawn.entered.tolist(), drawn.stayed.tolist(), strict=True)) == expected


def test_statistics_are_pandas(drawn: M3Rooms) -> None:
    frame = pd.DataFrame(
        {"room": drawn.room, "E": drawn.entered, "likes": drawn.likes, "comments": drawn.comments}
    ).astype({"E": float})
    past = frame.groupby("room").shift(1)
    grouped = past.groupby(frame["room"])
    mean = grouped.rolling(5, min_periods=1).mean().reset_index(level=0, drop=True).sort_index()
    expected = {
        "sum_entered": grouped["E"].cumsum(),
        "sum_likes": grouped["likes"].cumsum(),
        "sum_comments": grouped["comments"].cumsum(),
        "mean_entered": mean["E"],
        "std_entered": grouped["E"].rolling(5, min_periods=1).std(ddof=1).reset_index(level=0, drop=True).sort_index(),
        "mean_likes": mean["likes"],
        "mean_comments": mean["comments"],
    }
    for name, column in expected.items():
        values = column.fillna(0).to_numpy()
        scaled = (values - values.min()) / (values.max() - values.min())
        np.testing.assert_allclose(drawn.statistics[:, STATISTICS.index(name)], scaled, atol=1e-6, err_msg=name)
    trend = mean["E"].groupby(frame["room"]).diff().fillna(0).clip(-1, 1)
    np.testing.assert_allclose(drawn.statistics[:, STATISTICS.index("trend_entered")], trend, atol=1e-6)


def test_split_is_by_room_start(drawn: M3Rooms) -> None:
    assert drawn.split.tolist() == ["train"] * 7 + ["valid"] + ["test"] * 3
    starts = drawn.frame["start_ms"].to_numpy()[drawn.offsets[:-1]]
    assert (np.diff(starts) > 0).all()
    test = drawn.positions("test")
    assert len(test.offsets) == 4
    assert test.keys["item_id"].unique().sort().to_list() == [90, 91, 92]


def test_long_rooms_are_cut_after_201_segments(tmp_path: Path) -> None:
    room = {1: [(30 * k, 30 * k + 30, k % 3, 0) for k in range(250)]}
    rooms = M3Rooms.of(write_rooms(tmp_path / "d", room, [(1, 0, 30 * k) for k in range(1, 9)]))
    assert len(rooms.score) == 250, "labels know the whole room"
    assert len(rooms.positions().rows) == 200


def test_rooms_with_most_sessions_are_kept(tmp_path: Path) -> None:
    rooms, sessions = drawn_rooms(4)
    busy = [*sessions, *[(98, 2000, 2100)] * 5]
    assert M3Rooms.of(write_rooms(tmp_path / "d", rooms, busy), 1).frame["item_id"].unique().to_list() == [98]


def test_what_is_refused(tmp_path: Path) -> None:
    short = {5: ROOM[5][:4]}
    with pytest.raises(DataError, match="has no room with enough segments and sessions"):
        M3Rooms.of(write_rooms(tmp_path / "short", short, SESSIONS))
    with pytest.raises(DataError, match="has no room with enough segments and sessions"):
        M3Rooms.of(write_rooms(tmp_path / "quiet", ROOM, SESSIONS[:4]))
    dataset = write_rooms(tmp_path / "bare", ROOM, SESSIONS)
    file = dataset.path / "segments" / "part-0.parquet"
    pl.read_parquet(file).drop("likes", "comments").write_parquet(file)
    with pytest.raises(DataError, match="has no counts of likes or comments"):
        M3Rooms.of(dataset)
