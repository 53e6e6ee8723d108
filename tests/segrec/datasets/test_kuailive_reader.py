"""KuaiLive: bins by hand, both names of the streamer, and what the made world drew, exactly."""

from __future__ import annotations

import polars as pl
import pytest

from segrec.datasets import ReadOptions, read_dataset
from segrec.records import ConfigError

BEGIN = 1_746_374_400_000
COUNTS = ["viewers", "exposures", "clicks", "entries", "long_views", "comments", "likes", "gifts"]
HOUR = 3_600_000


def _csv(file, header, rows):
    file.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")


def _write(folder, *, streamer="streamer_id", rooms=12, clicks=(), shown=(), likes=()):
    """Rooms 1 .. `rooms`, an hour apart and 20 minutes long; one click in each but room 1."""
    folder.mkdir()
    starts = {room: BEGIN + room * HOUR for room in range(1, rooms + 1)}
    lines = [(20250505, room, 7, 1, at, at + 1_200_000, "shop", room % 3) for room, at in starts.items()]
    lines.append((20250506, 1, 7, 1, starts[1], starts[1] + 600_000, "shop", 1))
    columns = f"p_date,live_id,{streamer},live_type,start_timestamp,end_timestamp,live_content_category,live_name_id"
    _csv(folder / "room.csv", columns, lines)
    keys = f"user_id,live_id,{streamer},timestamp"
    usual = [(3, room, 7, starts[room] + 1000, 30_000) for room in range(2, rooms + 1)]
    made = [(user, 1, 7, starts[1] + 1000 * second, 1000 * watched) for user, second, watched in clicks]
    _csv(folder / "click.csv", keys + ",watch_live_time", [*made, *usual])
    _csv(folder / "negative.csv", keys, [(user, 1, 7, starts[1] + 1000 * second) for user, second in shown])
    _csv(folder / "like.csv", keys, [(user, 1, 7, starts[1] + 1000 * second) for user, second in likes])
    return folder


def _read(folder, out, **options):
    return read_dataset("kuailive", folder, out, ReadOptions(**options), overwrite=True)


CLICKS = [(1, 0, 61), (2, 299, 10), (4, 650, 60), (5, 1150, 50)]


@pytest.mark.parametrize("streamer", ["streamer_id", "author_id"])
def test_bins_by_hand(tmp_path, streamer):
    folder = _write(
        tmp_path / "k", streamer=streamer, clicks=CLICKS, shown=[(8, 10), (8, 310)], likes=[(1, 5), (2, 300)]
    )
    dataset = _read(folder, tmp_path / "out")
    room = dataset.segments().filter(item_id=1).collect()
    start = BEGIN + HOUR
    assert [(row[1], row[2] - start, row[3] - start) for row in room.iter_rows()] == [
        (k, 300_000 * k, 300_000 * (k + 1)) for k in range(5)
    ]  # the last leave, at 1200 s, opens the fifth bin
    assert room.select("viewers", "exposures", "clicks", "entries", "long_views", "likes", "leaves").rows() == [
        (2, 3, 2, 2, 1, 1, 1), (1, 1, 0, 0, 0, 1, 1), (1, 1, 1, 1, 0, 0, 1), (1, 1, 1, 0, 0, 0, 0),
        (0, 0, 0, 0, 0, 0, 1),
    ]  # fmt: skip
    assert room["ctr"].to_list() == pytest.approx([2 / 3, 0, 1, 1, None])
    assert room["lvtr"].to_list() == [0.5, None, 0.0, None, None]
    items = dataset.items().filter(item_id=1)
    assert items.drop("split").rows() == [(1, 7, start, 1, "shop", 1)]
    assert (dataset.meta.segment_ms, dataset.meta.utc_offset_hours, dataset.meta.rejected) == (300_000, 8.0, {})
    assert dataset.meta.counters == ["viewers", "exposures", "clicks", "leaves", "likes"]


def test_without_exposures_there_is_no_ctr(tmp_path):
    folder = _write(tmp_path / "k", clicks=CLICKS)
    (folder / "negative.csv").unlink()
    dataset = _read(folder, tmp_path / "out")
    assert list(dataset.meta.rates) == ["lvtr"]
    assert not {"ctr", "exposures"} & set(dataset.segments().collect_schema())
    assert "exposures" not in dataset.meta.counters


def test_the_made_world_exactly(live_files, live_world, tmp_path):
    dataset = _read(live_files("kuailive"), tmp_path / "out", segment_ms=30_000)
    found = dataset.segments().collect().join(live_world.segments, on=["item_id", "start_ms"], suffix="_drawn")
    quiet = live_world.segments.join(found, on=["item_id", "start_ms"], how="anti")
    assert quiet.select(pl.col(COUNTS).sum()).row(0) == (0,) * len(COUNTS), "bins end with the last thing in a room"
    for name in COUNTS:
        assert (found[name] == found[f"{name}_drawn"]).all(), name
    beyond = dataset.segments().collect().join(found, on=["item_id", "segment"], how="anti")
    assert beyond.select("viewers", "exposures").sum().row(0) == (0, 0), "only leaves at the very end"
    wanted = live_world.impressions.select("user_id", "item_id", "author_id", "time_ms", "watch_ms", "is_click")
    rows = dataset.interactions().select(wanted.columns).collect()
    order = ["time_ms", "user_id", "item_id"]
    assert rows.sort(order).equals(wanted.sort(order).cast({"is_click": pl.Int8}))
    items, users = dataset.items(), dataset.users()
    assert "author_live_operation_tag" in items.columns
    assert users.height == 300
    assert not [name for name in (*items.columns, *users.columns) if "accu_" in name or name == "end_ms"]
    assert dataset.segment_truth() is not None


def test_other_bins_have_no_truth_of_segments(live_files, tmp_path):
    dataset = _read(live_files("kuailive"), tmp_path / "out")
    assert dataset.segment_truth() is None
    assert dataset.truth() is not None


def test_live_rooms_are_not_split_within_users(tmp_path):
    from segrec.splitting import SplitRequest

    folder = _write(tmp_path / "k", clicks=CLICKS)
    with pytest.raises(ConfigError, match="--split users: live rooms are split by their start"):
        _read(folder, tmp_path / "out", split=SplitRequest(rule="users"))
