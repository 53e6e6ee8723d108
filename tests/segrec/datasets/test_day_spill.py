"""Cutting by day: order, duplicates, slices of large days, the source's clock; whatever the order of arrival."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec.datasets import day_spill
from segrec.datasets.day_spill import DaySpill, StoredRuns, sorted_without_duplicates

HOUR = 3_600_000


def _frame(rows):
    return pl.DataFrame(rows, schema=["user_id", "item_id", "time_ms", "liked"], orient="row")


def test_order_and_duplicates_by_hand():
    frame = _frame([(2, 1, 5, 0), (1, 2, 5, 1), (1, 1, 5, 0), (1, 2, 5, 0), (1, 2, 5, 1), (9, 9, 1, 0)])
    assert sorted_without_duplicates(frame).rows() == [
        (9, 9, 1, 0), (1, 1, 5, 0), (1, 2, 5, 0), (1, 2, 5, 1), (2, 1, 5, 0),
    ]  # fmt: skip


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3), st.sampled_from([0, 1, None])), max_size=30
)


@given(rows=ROWS, data=st.data())
@settings(max_examples=100, deadline=None)
def test_equal_to_the_set_of_rows_whatever_their_order(rows, data):
    schema = {"user_id": pl.Int64, "item_id": pl.Int64, "time_ms": pl.Int64, "liked": pl.Int8}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    shuffled = pl.DataFrame(data.draw(st.permutations(rows)), schema=schema, orient="row")
    kept = sorted_without_duplicates(frame)
    assert set(kept.rows()) == set(rows)
    assert kept.height == len(set(rows))
    assert kept.equals(sorted_without_duplicates(shuffled))
    assert kept.select("time_ms", "user_id", "item_id").rows() == sorted(
        kept.select("time_ms", "user_id", "item_id").rows()
    )


def test_days_are_those_of_the_sources_clock(tmp_path):
    spill = DaySpill(tmp_path / "days", 8.0)
    spill.add(_frame([(1, 1, 16 * HOUR, 0), (1, 1, 16 * HOUR - 1, 0)]))
    runs = list(spill.runs(Counter()))
    assert [(day, frame["time_ms"].to_list()) for day, frame in runs] == [(0, [16 * HOUR - 1]), (1, [16 * HOUR])]


def test_half_hour_clocks_cut_at_their_midnight(tmp_path):
    spill = DaySpill(tmp_path / "days", 5.5)
    midnight = round(18.5 * HOUR)
    spill.add(_frame([(1, 1, midnight - 1, 0), (1, 1, midnight, 0)]))
    assert [day for day, _ in spill.runs(Counter())] == [0, 1]


@pytest.mark.parametrize("flush_rows", [1, 7, 1000])
@pytest.mark.parametrize("run_rows", [1, 10, 1000])
def test_the_same_rows_however_they_are_cut(tmp_path, monkeypatch, flush_rows, run_rows):
    monkeypatch.setattr(day_spill, "FLUSH_ROWS", flush_rows)
    monkeypatch.setattr(day_spill, "RUN_ROWS", run_rows)
    rows = [(i % 3, i % 5, (i * 7 % 60) * HOUR, i % 2) for i in range(60)]
    spill = DaySpill(tmp_path / "days", 0.0)
    for start in range(0, 60, 4):
        spill.add(_frame(rows[start : start + 4]))
    spill.add(_frame(rows[:9]))
    dropped: Counter[str] = Counter()
    runs = list(spill.runs(dropped))
    assert dropped == {"exact duplicate": 9}
    together = pl.concat([frame for _, frame in runs])
    assert together.equals(sorted_without_duplicates(_frame(rows)))
    hours = [frame["time_ms"].n_unique() for _, frame in runs]
    assert max(hours) <= max(run_rows, 1)
    assert [day for day, _ in runs] == sorted(day for day, _ in runs)


def test_stored_runs_give_back_what_they_took(tmp_path):
    runs = [(3, _frame([(1, 1, 5, 0)])), (4, _frame([(2, 1, 6, 0), (3, 1, 7, 1)]))]
    stored = StoredRuns(tmp_path / "runs", iter(runs))
    assert stored.heights == [1, 2]
    assert stored.read(1, ["time_ms"])["time_ms"].to_list() == [6, 7]
    assert [(day, frame.rows()) for day, frame in stored] == [(day, frame.rows()) for day, frame in runs]
