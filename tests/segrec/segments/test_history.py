"""As-of histories: never the view itself, never what was not known yet."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segrec.segments.history import HistoryLog, ranges

LOG = pl.DataFrame(
    {
        "user_id": [1, 1, 1, 2, 1],
        "item_id": [10, 11, 12, 13, 14],
        "time_ms": [1_000, 2_000, 10_000, 1_500, 20_000],
        "duration_ms": [5_000] * 5,
        "watch_ms": [500, 9_000, 1_000, 400, 100],
        "n_segments": [1] * 5,
        "exit_segment": [0, 1, 0, 0, 0],
    }
)


def history(user: int, time_ms: int, cap: int = 10) -> list[int]:
    """Items of the history of a view of `user` at `time_ms`."""
    log = HistoryLog.of(LOG)
    (start,), (end,) = log.windows(pl.DataFrame({"user_id": [user], "time_ms": [time_ms]}), cap)
    return log.rows["item_id"][int(start) : int(end)].to_list()


@pytest.mark.parametrize(
    ("user", "time_ms", "items"),
    [
        (1, 1_000, []),
        (1, 1_500, []),  # item 10 ends at 1,500: not strictly before
        (1, 1_501, [10]),
        (1, 10_000, [10]),  # item 11 still runs until 11,000
        (1, 11_500, [10, 11, 12]),  # 11 and 12 both ended at 11,000
        (1, 20_000, [10, 11, 12]),
        (2, 20_000, [13]),
        (3, 20_000, []),
    ],
)
def test_only_views_that_had_ended(user: int, time_ms: int, items: list[int]) -> None:
    assert history(user, time_ms) == items


def test_cap_keeps_the_newest() -> None:
    assert history(1, 20_000, cap=1) == history(1, 20_000)[-1:]


def test_events_that_ended_too_long_ago_are_left_out() -> None:
    ended = HistoryLog.of(LOG).ended  # user 1's views end at 1,500, 11,000, 11,000 and 20,100
    asked = pl.DataFrame({"user_id": [1, 1, 1], "time_ms": [12_000, 12_000, 50_000]})
    for age, lengths in ((10_500, [3, 3, 0]), (10_499, [2, 2, 0]), (999, [0, 0, 0])):
        start, end = ended.windows(asked, 10, max_age_ms=age)
        assert (end - start).tolist() == lengths


def test_rows_outside_the_skip_task_are_no_history() -> None:
    log = HistoryLog.of(LOG.with_columns(watch_ms=pl.lit(0)))
    assert log.rows.is_empty()
    start, end = log.windows(LOG, 5)
    assert (start == end).all()


def test_changing_a_views_own_outcome_never_changes_its_own_history(small_log: pl.DataFrame) -> None:
    rows = small_log.with_columns(n_segments=pl.lit(4), exit_segment=pl.lit(1))
    changed = rows.with_row_index().with_columns(
        watch_ms=pl.when(pl.col("index") == 200).then(1).otherwise("watch_ms"),
        exit_segment=pl.when(pl.col("index") == 200).then(0).otherwise("exit_segment"),
    )
    asked = rows[200:201]
    told = []
    for log in (HistoryLog.of(rows), HistoryLog.of(changed)):
        (start,), (end,) = log.windows(asked, 20)
        told.append(log.rows[int(start) : int(end)])
    assert told[0].equals(told[1])
    assert asked["time_ms"][0] not in told[0]["time_ms"]


@given(st.data())
def test_tail_is_all_that_later_views_can_ask_for(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 25))
    draws = st.lists(st.integers(0, 40), min_size=count, max_size=count)
    rows = pl.DataFrame(
        {
            "user_id": [value % 2 for value in data.draw(draws)],
            "item_id": list(range(count)),
            "time_ms": sorted(data.draw(draws)),
            "duration_ms": [100] * count,
            "watch_ms": [value + 1 for value in data.draw(draws)],
            "n_segments": [1] * count,
            "exit_segment": [0] * count,
        }
    )
    cap, cut = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 40))
    early, late = rows.filter(pl.col("time_ms") <= cut), rows.filter(pl.col("time_ms") > cut)
    tail = HistoryLog.of(early).tail(cap, cut).select(rows.columns)
    whole, joined = HistoryLog.of(rows), HistoryLog.of(pl.concat([tail, late]))
    windows = zip(*whole.windows(late, cap), *joined.windows(late, cap), strict=True)
    for start, end, first, last in windows:
        found = joined.rows["item_id"][int(first) : int(last)].to_list()
        assert found == whole.rows["item_id"][int(start) : int(end)].to_list()


def test_ranges_by_hand() -> None:
    assert ranges(np.array([3, 0, 5]), np.array([5, 0, 6])).tolist() == [3, 4, 5]
