"""Histories as of the impression: worked out by hand, against a slow loop, and blind to whatever comes later."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranking.encoding.feature_spec import HistoryConfig
from ranking.encoding.histories import FOLDER, HistoryStore
from segrec.records import DataError
from segrec.segments.history import ranges

DAY = 86_400_000
LOG = pl.DataFrame(
    [
        (1, 10, 5, 0, 500, 1, "train"),  # ends at 500
        (1, 11, 5, 1_000, 9_000, 1, "train"),  # runs until 10,000
        (1, 12, 6, 2_000, 1_000, 0, "valid"),  # ends at 3,000
        (1, 13, None, 3_000, 0, 0, "test"),  # ends where it begins
        (1, 14, 6, 3_000, 100, 1, "train"),
        (2, 10, 5, 4_000, 7, None, "test"),
        (1, 10, 5, 20_000, 40, 1, "test"),
    ],
    schema=["user_id", "item_id", "author_id", "time_ms", "watch_ms", "is_click", "split"],
    orient="row",
).with_columns(duration_ms=pl.lit(5_000))


@pytest.fixture
def log(make_dataset):
    return make_dataset(LOG, flags=["is_click"])


def shown(store, rows, column="item_id", **history):
    """What each of `rows` has in its history, oldest first."""
    start, end = store.windows(rows, HistoryConfig(**{"length": 10, **history}))
    values = store.columns[column].values.gather(store.columns[column].places[ranges(start, end)]).to_list()
    cuts = [0, *np.cumsum(end - start).tolist()]
    return [values[first:last] for first, last in itertools.pairwise(cuts)]


def asked(*pairs):
    return pl.DataFrame(pairs, schema=["user_id", "time_ms"], orient="row")


@pytest.mark.parametrize(
    ("user", "time_ms", "items"),
    [
        (1, 0, []),  # not itself
        (1, 500, []),  # ends at 500: not strictly before
        (1, 501, [10]),
        (1, 3_000, [10]),  # 12 ends now, 13 and 14 begin now, 11 still runs
        (1, 3_001, [10, 12, 13]),  # of two that ended together, the one that began first
        (1, 3_101, [10, 12, 13, 14]),
        (1, 20_000, [10, 12, 13, 14, 11]),  # by end; any split
        (2, 4_000, []),
        (2, 5_000, [10]),
        (99, 5_000, []),  # a user whom the log does not know
        (None, 5_000, []),
    ],
)
def test_as_of_by_hand(log, user, time_ms, items):
    assert shown(HistoryStore.of(log, ["item_id"]), asked((user, time_ms))) == [items]


def test_events_of_a_flag(log):
    store = HistoryStore.of(log, ["item_id"], "is_click")
    assert shown(store, asked((1, 20_000), (2, 5_000))) == [[10, 14, 11], []]  # an unknown click is none


def test_length_keeps_the_newest_and_age_the_younger(log):
    store = HistoryStore.of(log, ["item_id"])
    rows = asked((1, 20_000), (1, 501))
    assert shown(store, rows, length=2) == [[14, 11], [10]]
    # 17,000 ms: what ended at 3,000 is just young enough
    assert shown(store, rows, max_age_days=17_000 / DAY) == [[12, 13, 14, 11], [10]]
    assert shown(store, rows, max_age_days=10_000 / DAY, length=1) == [[11], [10]]


def test_columns_lie_event_by_event_and_missing_stays_missing(log):
    store = HistoryStore.of(log, ["item_id", "author_id", "hour"])
    assert shown(store, asked((1, 20_000)), "author_id") == [[5, 6, None, 6, 5]]
    assert shown(store, asked((1, 20_000)), "hour") == [[0, 0, 0, 0, 0]]


def test_text_ids(make_dataset):
    texts = LOG.with_columns(pl.col("user_id", "item_id").cast(pl.String))
    store = HistoryStore.of(make_dataset(texts), ["item_id"])
    assert shown(store, asked(("1", 3_001))) == [["10", "12", "13"]]


def test_an_end_that_nobody_knows_is_no_event(make_dataset):
    running = LOG.with_columns(watch_ms=pl.when(pl.col("item_id") == 12).then(None).otherwise("watch_ms"))
    assert shown(HistoryStore.of(make_dataset(running), ["item_id"]), asked((1, 20_000))) == [[10, 13, 14, 11]]


def test_no_event_at_all(make_dataset):
    store = HistoryStore.of(
        make_dataset(LOG.with_columns(is_click=pl.lit(0)), flags=["is_click"]), ["item_id"], "is_click"
    )
    assert shown(store, LOG) == [[]] * LOG.height
    again = HistoryStore.of(make_dataset(LOG, name="b", flags=["is_click"]), ["item_id"], "is_click")
    assert shown(again, LOG[:0]) == []


numbers = itertools.count()
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, 5), st.integers(0, 12), st.none() | st.integers(0, 8),
        st.sampled_from([0, 1, None]), st.sampled_from(["train", "valid", "test"]),
    ), min_size=1, max_size=25,
)  # fmt: skip


@given(EVENTS, st.integers(1, 4), st.none() | st.integers(1, 6), st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equals_a_slow_loop(make_dataset, rows, length, age, clicked):
    step = DAY // 4  # so that the log spans days
    events = [
        (user, item, time * step, None if watch is None else watch * step, click, split)
        for user, item, time, watch, click, split in rows
    ]
    columns = {"user_id": pl.Int64, "item_id": pl.Int64, "time_ms": pl.Int64, "watch_ms": pl.Int64,
               "is_click": pl.Int64, "split": pl.String}  # fmt: skip
    frame = pl.DataFrame(events, schema=columns, orient="row").with_columns(duration_ms=pl.lit(1))
    dataset = make_dataset(frame, name=f"log{next(numbers)}", flags=["is_click"])
    store = HistoryStore.of(dataset, ["item_id"], "is_click" if clicked else "all")
    history = {"length": length} if age is None else {"length": length, "max_age_days": age / 4}
    in_order = dataset.interactions().collect()
    for row, found in zip(in_order.iter_rows(named=True), shown(store, in_order, **history), strict=True):
        past = [
            (event["time_ms"] + event["watch_ms"], event["time_ms"], place, event["item_id"])
            for place, event in enumerate(in_order.iter_rows(named=True))
            if event["user_id"] == row["user_id"] and event["watch_ms"] is not None
            and (event["is_click"] == 1 or not clicked)
            and event["time_ms"] + event["watch_ms"] < row["time_ms"]
            and (age is None or row["time_ms"] - event["time_ms"] - event["watch_ms"] <= age * step)
        ]  # fmt: skip
        assert found == [item for *_, item in sorted(past)[-length:]]


def test_later_rows_change_nothing(click_log, make_dataset):
    rows = click_log.interactions().collect()
    cut = int(rows["time_ms"].quantile(0.6))
    known = pl.col("time_ms") + pl.col("watch_ms") < cut
    other = {
        "item_id": pl.lit(7_777, pl.Int64),
        "is_click": 1 - pl.col("is_click"),
        "watch_ms": cut + 1 - pl.col("time_ms"),
    }
    running = rows.filter((pl.col("time_ms") < cut) & ~known).with_columns(**other)
    later = rows.filter(pl.col("time_ms") >= cut).with_columns(
        item_id=pl.lit(8_888, pl.Int64),
        is_click=1 - pl.col("is_click"),
        watch_ms=pl.lit(1, pl.Int64),
        time_ms=pl.col("time_ms") + 1,
    )
    changed = pl.concat([rows.filter(known), running, later.sample(fraction=0.7, seed=1)])
    early = rows.filter(pl.col("time_ms") <= cut)
    for events in ("all", "is_click"):
        before = shown(HistoryStore.of(click_log, ["item_id"], events), early)
        altered = make_dataset(changed, name=events, flags=["is_click"])
        assert shown(HistoryStore.of(altered, ["item_id"], events), early) == before
        assert sum(map(len, before)) > early.height  # there was something to see


def files_of(dataset):
    [folder] = [path for path in (dataset.path / FOLDER).iterdir() if path.is_dir()]
    return folder


def test_built_once_and_mapped_from_files(log, monkeypatch):
    first = shown(HistoryStore.of(log, ["item_id"]), LOG)
    monkeypatch.setattr(HistoryStore, "_build", None)
    again = HistoryStore.of(log, ["item_id"])
    assert isinstance(again.ended.ends, np.memmap)
    assert isinstance(again.columns["item_id"].places, np.memmap)
    assert shown(again, LOG) == first


def test_of_many_at_once_one_builds(log, monkeypatch):
    built, plain = [], HistoryStore._build.__func__
    slow = classmethod(lambda cls, *arguments: (built.append(1), time.sleep(0.05), plain(cls, *arguments))[2])
    monkeypatch.setattr(HistoryStore, "_build", slow)
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: HistoryStore.of(log, ["item_id"]), range(4)))
    assert built == [1]
    assert [shown(store, LOG) for store in stores] == [shown(stores[0], LOG)] * 4


def test_read_some_rows_at_a_time(log, make_dataset, monkeypatch):
    whole = shown(HistoryStore.of(log, ["item_id", "author_id"]), LOG, "author_id")
    monkeypatch.setattr("ranking.encoding.histories._ROWS_AT_ONCE", 2)
    parts = HistoryStore.of(make_dataset(LOG, name="parts"), ["item_id", "author_id"])
    assert shown(parts, LOG, "author_id") == whole


@pytest.mark.parametrize("damage", ["ends.npy", "users.parquet", "00.npy", "00.parquet", "histories.json"])
def test_a_damaged_store_is_built_anew(log, damage):
    first = shown(HistoryStore.of(log, ["item_id"]), LOG)
    file = files_of(log) / damage
    file.write_bytes(file.read_bytes()[:30])
    assert shown(HistoryStore.of(log, ["item_id"]), LOG) == first


def test_a_store_of_other_rows_is_not_used(log):
    HistoryStore.of(log, ["item_id"])
    [file] = log.interaction_files()
    changed = pl.read_parquet(file).with_columns(item_id=pl.lit(3))
    changed.write_parquet(file)
    assert shown(HistoryStore.of(log, ["item_id"]), asked((1, 3_001))) == [[3, 3, 3]]
    assert json.loads((files_of(log) / "histories.json").read_text())["what"]["columns"] == ["item_id"]


def test_a_dataset_folder_that_cannot_be_written(log):
    first = shown(HistoryStore.of(log, ["item_id"]), LOG)
    shutil.rmtree(log.path / FOLDER)
    (log.path / FOLDER).write_text("in the way")
    store = HistoryStore.of(log, ["item_id"])
    assert not isinstance(store.ended.ends, np.memmap)
    assert shown(store, LOG) == first


@pytest.mark.parametrize(
    ("rows", "columns", "events", "message"),
    [
        (LOG.drop("user_id"), ["item_id"], "all", "interactions lack column 'user_id', which this run's histories use"),
        (LOG, ["item_id"], "long_view", "interactions lack column 'long_view'"),
        (LOG, ["tab"], "all", "interactions lack column 'tab'"),
    ],
)
def test_what_a_dataset_may_lack(make_dataset, rows, columns, events, message):
    frame = rows if "user_id" in rows.columns else rows.with_columns(user_id=0)
    dataset = make_dataset(frame, name="whole")
    if "user_id" not in rows.columns:
        [file] = dataset.interaction_files()
        rows.write_parquet(file)
    with pytest.raises(DataError, match=message):
        HistoryStore.of(dataset, columns, events)
