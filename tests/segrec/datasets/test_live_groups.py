"""Rooms in groups by start; rows come back whole, group by group."""

from __future__ import annotations

import polars as pl

from segrec.datasets import live_groups
from segrec.datasets.live_groups import RoomGroups, RoomSpill

ROOMS = pl.DataFrame({"item_id": [70, 10, 40, 20], "start_ms": [3, 9, 1, 9]})
FORM = {"room": pl.Int64, "value": pl.Int64}


def test_places_follow_the_start():
    groups = RoomGroups(ROOMS, rooms_a_group=3)
    assert groups.places(pl.Series([40, 70, 10, 20, 11, None, 99])).tolist() == [0, 1, 2, 3, -1, -1, -1]
    assert groups.ids(groups.places(pl.Series([20, 40]))).tolist() == [20, 40]
    assert groups.count == 2
    assert RoomGroups(ROOMS.clear()).places(pl.Series([1])).tolist() == [-1]


def test_rows_come_back_by_group(tmp_path, monkeypatch):
    monkeypatch.setattr(live_groups, "FLUSH_ROWS", 2)
    spill = RoomSpill(tmp_path, RoomGroups(ROOMS, rooms_a_group=2))
    for rows in ([(3, 1), (0, 2)], [(-1, 9), (1, 3)], [(2, 4), (0, 5)]):
        spill.add("likes", pl.DataFrame(rows, schema=FORM, orient="row"))
    assert spill.read("likes", 0, FORM).rows() == [(0, 2), (1, 3), (0, 5)]
    assert spill.read("likes", 1, FORM).rows() == [(3, 1), (2, 4)]
    assert spill.read("gifts", 0, FORM).rows() == []
