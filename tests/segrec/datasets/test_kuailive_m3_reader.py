"""KuaiLive-M3: a room by hand, clocks, and what the made world drew, exactly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from segrec.datasets import ReadOptions, live_groups, read_dataset
from segrec.records import DataError, DatasetFolder
from segrec.segments.rooms import Rooms

BEGIN = datetime(2025, 5, 10, 20, 0, 0)  # in UTC+8
BEGIN_MS = int((BEGIN - timedelta(hours=8)).replace(tzinfo=UTC).timestamp() * 1000)
HEADER = (
    "user_id,author_id,live_id,live_play_start_timestamp,live_play_end_timestamp,p_date,live_source_category,"
    "enter_live_action,is_auto_play,is_follow_enter,is_follow_leave,play_duration,like_cnt,comment_cnt,send_gift_cnt,"
    "send_gift_num,follow_author_cnt,cancel_follow_author_cnt,share_cnt,report_live_cnt"
)
COUNTS = ["viewers", "exposures", "clicks", "entries", "long_views", "comments", "likes", "shares"]


def _clock(second, room=1):
    at = BEGIN + timedelta(hours=room, seconds=second)
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 1000:03}"


def _at(second, room=1):
    return BEGIN_MS + 3_600_000 * room + round(second * 1000)


def _session(user, start, end=None, played="", room=1):
    ended = "" if end is None else _clock(end, room)
    return f"{user},9,{room},{_clock(start, room)},{ended},20250510,feed,click,0,0,0,{played},0,0,0,0,0,0,0,0"


def _write(folder, sessions, *, rooms=12, ends=(30, 60, 200), shows=(), comments=(), unit="us", open_room=None):
    """Rooms 1 .. `rooms`, an hour apart, of author 9; sessions of room 1, and one in each other room."""
    (folder / "live_emb_128_ts").mkdir(parents=True)
    lines = [*sessions, *(_session(5, 1, 40, room=room) for room in range(2, rooms + 1))]
    (folder / "live_interaction.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    over = [None if room == open_room else BEGIN + timedelta(hours=room, seconds=200) for room in range(1, rooms + 1)]
    pl.DataFrame(
        {
            "live_id": range(1, rooms + 1), "author_id": [9] * rooms, "live_name": ["a"] * rooms,
            "start_timestamp": [BEGIN + timedelta(hours=room) for room in range(1, rooms + 1)], "end_timestamp": over,
            "live_duration": [200_000] * rooms,
        }, schema_overrides={"start_timestamp": pl.Datetime(unit), "end_timestamp": pl.Datetime(unit)},
    ).write_parquet(folder / "live_room_meta.parquet")  # fmt: skip
    keys = [(str(room), _at(end, room)) for room in range(rooms, 0, -1) for end in ends]
    vectors = pl.DataFrame(
        {
            "live_stream_id": [room for room, _ in keys], "segment_id": [str(n) for n in range(len(keys))],
            "feature_128": [[float(room), float(end % 1000)] for room, end in keys],
            "timestamp": [end for _, end in keys],
        }
    )  # fmt: skip
    for part, rows in ((10, vectors[:7]), (2, vectors[7:])):
        rows.write_parquet(folder / "live_emb_128_ts" / f"live_emb_128_ts_part{part}.parquet")
    shown = pl.DataFrame(
        {"live_id": [1] * len(shows), "user_id": [user for user, _ in shows], "author_id": [9] * len(shows),
         "show_timestamp": [BEGIN + timedelta(hours=1, seconds=second) for _, second in shows]},
        schema_overrides={"live_id": pl.Int64, "user_id": pl.Int64, "show_timestamp": pl.Datetime(unit)},
    )  # fmt: skip
    shown.write_parquet(folder / "live_show.parquet")
    rows = [f'1,{user},9,"{text}",{_at(second)}' for user, second, text in comments]
    (folder / "live_comment.csv").write_text(
        "\n".join(["live_stream_id,user_id,author_id,content,comment_ts", *rows]) + "\n"
    )
    return folder


def _read(folder, out, **options):
    return read_dataset("kuailive_m3", folder, out, ReadOptions(**options), overwrite=True)


SESSIONS = [
    _session(1, 0, 29.999),  # in and out inside the first segment
    _session(2, 5, 65.0),  # exactly 60 s: not long
    _session(3, 30, None, played=60_001),  # its end follows from play_duration: long
    _session(4, 139, 150, played=11_000),  # 61 s before the room's end: known
    _session(6, 141, 199),  # nobody could see whether it is long
    _session(7, 10, None),  # still open
    _session(8, 50, 40),  # ends before it starts
    _session(1, 0, 29.999),  # an exact duplicate
]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_room_by_hand(tmp_path, unit):
    folder = _write(
        tmp_path / "m3", SESSIONS, unit=unit, shows=[(11, 0), (12, 59.5), (12, 59.5), (13, 500)],
        comments=[(2, 6, "hi, \nyou"), (2, 60, "late"), (2, 300, "after")],
    )  # fmt: skip
    dataset = _read(folder, tmp_path / "out")
    room = dataset.segments().filter(item_id=1).collect()
    assert [(row[1], row[2] - _at(0), row[3] - _at(0)) for row in room.iter_rows()] == [
        (0, 0, 30_000), (1, 30_000, 60_000), (2, 60_000, 200_000),
    ]  # fmt: skip
    assert room.select(COUNTS[:-2]).rows() == [(3, 4, 3, 3, 1, 1), (3, 2, 1, 1, 1, 0), (5, 2, 2, 1, 0, 1)]
    assert room["leaves"].to_list() == [1, 0, 4]
    assert room["lvtr"].to_list() == pytest.approx([1 / 3, 1, 0])
    assert room["ctr"].to_list() == pytest.approx([3 / 4, 1 / 2, 1])
    assert dataset.meta.rejected == {
        "exact duplicate": 2, "session ends before it starts": 1, "comments: outside every segment": 1,
    }  # fmt: skip
    assert dataset.texts().rows() == [
        (1, 0, _at(6), "comment", "hi, \nyou"), (1, 2, _at(60), "comment", "late"),
    ]  # fmt: skip
    features = dataset.vectors("feature_128")
    for item, segment, row in features.index().iter_rows():
        assert features.matrix[row].tolist() == [item, _at((30, 60, 200)[segment], item) % 1000]
    impressions = dataset.interactions().filter(item_id=1).collect()
    rows = impressions.sort("user_id").select("user_id", "watch_ms", "is_click", "long_view").rows()
    assert rows == [
        (1, 29_999, 1, 0), (2, 60_000, 1, 0), (3, 60_001, 1, 1), (4, 11_000, 1, 0), (6, 58_000, 1, None),
        (7, 190_000, 1, 1), (11, 0, 0, 0), (12, 0, 0, 0), (13, 0, 0, 0),
    ]  # fmt: skip
    assert impressions["duration_ms"].null_count() == impressions.height
    assert impressions["time_ms"].min() == _at(0)


def test_nothing_of_a_room_without_an_end_is_seen_after_its_last_thing(tmp_path):
    sessions = [_session(1, 100, 150), _session(2, 139, 141), _session(3, 141, None)]
    dataset = _read(_write(tmp_path / "m3", sessions, open_room=1), tmp_path / "out")
    found = dataset.interactions().filter(pl.col("item_id") == 1).collect().sort("user_id")
    assert found.select("watch_ms", "long_view").rows() == [(50_000, 0), (2_000, 0), (59_000, None)]
    assert dataset.segments().filter(item_id=1).select(pl.col("entries", "long_views").sum()).collect().row(0) == (2, 0)


def test_the_long_view_is_an_option(tmp_path):
    dataset = _read(_write(tmp_path / "m3", SESSIONS), tmp_path / "out", long_view_s=10)
    room = dataset.segments().filter(item_id=1).collect()
    assert room.select("entries", "long_views").rows() == [(3, 3), (1, 1), (2, 2)]
    assert dataset.meta.rates["lvtr"].known_after_ms == 10_000


def test_segments_without_a_length_are_counted(tmp_path):
    folder = _write(tmp_path / "m3", SESSIONS, ends=(-5, 30, 30, 60))
    dataset = _read(folder, tmp_path / "out")
    room = dataset.segments().filter(item_id=3).collect()
    # As published: a start is the end of the STORED segment before, even of one that is left out.
    assert [(row[1], row[2] - _at(0, 3), row[3] - _at(0, 3)) for row in room.iter_rows()] == [
        (0, -5_000, 30_000), (1, 30_000, 60_000),
    ]  # fmt: skip
    assert dataset.meta.rejected["segments: end <= start"] == 12
    assert dataset.meta.rejected["feature_128: repeated segment"] == 12


def test_rows_of_unknown_rooms_are_counted(tmp_path):
    folder = _write(tmp_path / "m3", SESSIONS)
    meta = pl.read_parquet(folder / "live_room_meta.parquet").filter(pl.col("live_id") != 4)
    meta.write_parquet(folder / "live_room_meta.parquet")
    dataset = _read(folder, tmp_path / "out")
    assert dataset.meta.rejected["unknown room"] == 1
    assert dataset.meta.rejected["feature_128: unknown room"] == 3
    assert 4 not in dataset.interactions().collect()["item_id"]


def test_the_clock_of_datetimes(cli, tmp_path):
    folder = _write(tmp_path / "m3", SESSIONS)
    code, shown, _ = cli("read", "kuailive_m3", folder, "--out", tmp_path / "one")
    assert code == 0
    assert (
        "note: datetimes without a zone are taken as UTC+8 (100% of segments then end while their room is on)" in shown
    )
    assert "not there, so not counted: live_like.csv, live_share.csv" in shown
    code, _, error = cli("read", "kuailive_m3", folder, "--out", tmp_path / "two", "--utc-offset", 7.5)
    assert code == 2
    assert "live_room_meta.parquet: datetimes without a zone are in another clock than the segments" in error
    assert "pass --utc-offset 8" in error
    meta = pl.read_parquet(folder / "live_room_meta.parquet")
    moved = meta.with_columns(pl.col("start_timestamp", "end_timestamp") - pl.duration(hours=5))
    moved.write_parquet(folder / "live_room_meta.parquet")
    assert "pass --utc-offset 3" in cli("read", "kuailive_m3", folder, "--out", tmp_path / "three")[2]


def test_sessions_in_another_clock_than_rooms(tmp_path):
    folder = _write(tmp_path / "m3", SESSIONS * 5)
    sessions = folder / "live_interaction.csv"
    sessions.write_text(sessions.read_text().replace("2025-05-1", "2025-06-1"))
    with pytest.raises(DataError, match="watch sessions do not happen while their rooms have segments"):
        _read(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rooms_a_group", [7, 100])
def test_the_made_world_exactly(live_files, live_world, tmp_path, monkeypatch, rooms_a_group):
    """What the world drew in each segment; segments without viewers are not stored and count to the next stored one."""
    monkeypatch.setattr(live_groups.RoomGroups.__init__, "__defaults__", (rooms_a_group,))
    dataset = _read(live_files("kuailive_m3"), tmp_path / "out")
    segments = dataset.segments().collect()
    stored = segments.select("item_id", stored="end_ms", at="end_ms").sort("stored")
    drawn = live_world.segments.sort("end_ms").join_asof(
        stored, left_on="end_ms", right_on="stored", by="item_id", strategy="forward", check_sortedness=False
    )
    sums = drawn.group_by("item_id", end_ms="at").agg(pl.max("viewers"), *(pl.sum(name) for name in COUNTS[1:]))
    both = segments.join(sums, on=["item_id", "end_ms"], suffix="_drawn")
    assert both.height == segments.height
    for name in COUNTS:
        assert (both[name] == both[f"{name}_drawn"]).all(), name
    tried = both.filter(pl.col("entries") > 0)
    assert (tried["lvtr"] == (tried["long_views_drawn"] / tried["entries_drawn"]).cast(pl.Float32)).all()
    assert both.filter(pl.col("entries") == 0)["lvtr"].null_count() == both.height - tried.height
    wanted = live_world.impressions.select("user_id", "item_id", "time_ms", "watch_ms", "is_click", "long_view")
    found = dataset.interactions().select(wanted.columns).collect()
    order = ["time_ms", "user_id", "item_id"]
    assert found.sort(order).equals(wanted.sort(order).cast({"is_click": pl.Int8, "long_view": pl.Int8}))
    assert dataset.truth() is not None
    assert dataset.segment_truth().height == segments.height
    assert dataset.texts().height == live_world.events["comments"].height
    assert {"visual", "text", "feature_128"} == set(dataset.vector_names())


def test_rooms_are_split_by_their_start_and_impressions_by_the_same_borders(live_files, tmp_path):
    dataset = _read(live_files("kuailive_m3"), tmp_path / "out")
    rule, items = dataset.meta.split, dataset.items()
    assert items["start_ms"].is_sorted()
    assert items.columns[:4] == ["item_id", "author_id", "start_ms", "split"]
    assert "end_ms" not in items.columns
    assert "author_gender" in items.columns
    for frame, time in ((items, "start_ms"), (dataset.interactions().collect(), "time_ms")):
        expected = (
            pl.when(pl.col(time) >= rule.test_from_ms).then(pl.lit("test"))
            .when(pl.col(time) >= rule.valid_from_ms).then(pl.lit("valid")).otherwise(pl.lit("train"))
        )  # fmt: skip
        assert (frame["split"] == frame.select(expected).to_series()).all()
    assert items["split"].value_counts(sort=True)["count"].to_list() == [24, 3, 3]
    assert Rooms.of(dataset, ["test"]).frame["item_id"].n_unique() == 3
    assert DatasetFolder.open(dataset.path).meta.counters == [
        "viewers", "exposures", "clicks", "leaves", "comments", "likes", "shares",
    ]  # fmt: skip
