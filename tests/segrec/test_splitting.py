"""Splits by hand: shares, ties, midnights, users, the published random one."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec import splitting
from segrec.records import ConfigError, DataError, SplitRule
from segrec.splitting import SplitRequest, TimeSplit, UserSplit, check_parts, midnight_ms, random_keys


class Rows:
    """Rows in runs, held in memory."""

    def __init__(self, frame: pl.DataFrame, run: int = 1000) -> None:
        self.frame = frame.sort("time_ms", maintain_order=True)
        self.runs = [self.frame[start : start + run] for start in range(0, frame.height, run)]
        self.heights = [part.height for part in self.runs]

    def read(self, run, columns):
        return self.runs[run].select(columns)

    def assigned(self, splitter) -> pl.DataFrame:
        first, parts = 0, []
        for run in self.runs:
            parts.append(splitter.assign(run, first))
            first += run.height
        return pl.concat(parts)


def _log(users, times):
    return pl.DataFrame(
        {"user_id": users, "item_id": range(len(users)), "time_ms": times}, schema_overrides={"time_ms": pl.Int64}
    )


def test_midnight_in_the_sources_clock():
    assert midnight_ms(date(2022, 4, 29), 8.0) == 1_651_161_600_000
    assert midnight_ms(date(1970, 1, 1), 0.0) == 0
    assert midnight_ms(date(1970, 1, 1), -5.5) == 19_800_000


@pytest.mark.parametrize("run", [1, 3, 100])
def test_by_time_the_newest_tenth_is_test(run):
    rows = Rows(_log([1] * 20, range(20)), run)
    split = rows.assigned(TimeSplit.by_shares(rows))["split"].to_list()
    assert split == ["train"] * 16 + ["valid"] * 2 + ["test"] * 2


@pytest.mark.parametrize("run", [1, 4, 100])
def test_by_time_equal_times_stay_together(run):
    rows = Rows(_log([1] * 10, [0, 1, 2, 3, 4, 5, 6, 7, 9, 9]), run)
    splitter = TimeSplit.by_shares(rows)
    assert rows.assigned(splitter)["split"].to_list() == ["train"] * 8 + ["test"] * 2
    assert splitter.rule == SplitRule(rule="time", valid_from_ms=9, test_from_ms=9)


def test_by_time_too_few_rows_leave_parts_empty():
    rows = Rows(_log([1] * 4, range(4)))
    assert set(rows.assigned(TimeSplit.by_shares(rows))["split"]) == {"train"}


def test_by_dates():
    times = [midnight_ms(date(2022, 4, day), 8.0) + shift for day in (29, 30) for shift in (-1, 0)]
    splitter = TimeSplit.by_dates(date(2022, 4, 29), date(2022, 4, 30), 8.0)
    assert Rows(_log([1] * 4, times)).assigned(splitter)["split"].to_list() == ["train", "valid", "valid", "test"]


@pytest.mark.parametrize("run", [1, 7, 100])
def test_users_each_user_is_cut_on_its_own(run, tmp_path):
    users = ["a"] * 10 + ["b"] * 5 + ["c"] * 3 + ["d"] * 2
    times = [*range(100, 110), *range(5), *range(3), 0, 1]
    rows = Rows(_log(users, times), run)
    frame = rows.assigned(UserSplit.fit(rows, "users", tmp_path / "scratch")).sort("user_id", "time_ms")
    split = {user: frame.filter(user_id=user)["split"].to_list() for user in "abcd"}
    assert split == {
        "a": ["train"] * 7 + ["valid"] + ["test"] * 2,
        "b": ["train"] * 3 + ["valid", "test"],  # 0.5 rounds up
        "c": ["train"] * 2 + ["test"],
        "d": ["train"] * 2,
    }


def test_users_equal_times_never_straddle(tmp_path):
    rows = Rows(_log([1] * 10, [0, 1, 2, 3, 4, 5, 5, 5, 5, 9]))
    split = rows.assigned(UserSplit.fit(rows, "users", tmp_path / "scratch"))["split"].to_list()
    assert split == ["train"] * 5 + ["test"] * 5


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=60), st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_users_whatever_the_ties(tmp_path_factory, pairs, run):
    rows = Rows(_log([user for user, _ in pairs], [time for _, time in pairs]), run)
    frame = rows.assigned(UserSplit.fit(rows, "users", tmp_path_factory.mktemp("users") / "scratch"))
    assert frame.select("user_id", "item_id", "time_ms").equals(rows.frame)
    assert frame.group_by("user_id", "time_ms").agg(pl.col("split").n_unique())["split"].max() == 1
    order = frame.with_columns(part=pl.col("split").replace_strict({"train": 0, "valid": 1, "test": 2}))
    for _, user in order.sort("time_ms").group_by("user_id"):
        assert user["part"].is_sorted()
        assert (user["part"] == 2).sum() >= int(user.height * 0.2 + 0.5)


def test_buckets_do_not_change_the_split(tmp_path, monkeypatch):
    rows = Rows(_log([i % 13 for i in range(300)], range(300)), 50)
    one = rows.assigned(UserSplit.fit(rows, "users", tmp_path / "one"))
    monkeypatch.setattr(splitting, "BUCKET_ROWS", 20)
    assert rows.assigned(UserSplit.fit(rows, "users", tmp_path / "many")).equals(one)
    assert len(list((tmp_path / "many").iterdir())) > 5


def test_published_shares_are_exact_for_each_user(tmp_path):
    rows = Rows(_log([i % 3 for i in range(300)], range(300)), 77)
    splitter = UserSplit.fit(rows, "published", tmp_path / "scratch")
    frame = rows.assigned(splitter)
    for _, user in frame.group_by("user_id"):
        assert Counter(user["split"]) == {"train": 81, "valid": 9, "test": 10}
    assert splitter.rule == SplitRule(rule="published", seed=2024)
    tested = frame.filter(split="test")["time_ms"]
    assert tested.min() < 60, "random, not the newest"
    assert tested.max() > 240


def test_random_keys_are_those_of_splitmix64():
    """The same on every machine: seed 0 is Steele, Lea and Flood's reference sequence, without its lowest bit."""
    assert random_keys(0, 3, 0).tolist() == [0xE220A8397B1DCDAF >> 1, 0x6E789E6AA1B965F4 >> 1, 0x06C45D188009454F >> 1]
    assert random_keys(1, 2, 7).tolist() == random_keys(0, 3, 7).tolist()[1:]
    assert len(set(random_keys(0, 10_000, 2024).tolist())) == 10_000


@pytest.mark.parametrize(
    ("rule", "valid_from", "test_from", "message"),
    [
        ("random", None, None, "field 'rule': Input should be 'time', 'users' or 'published' .found: 'random'"),
        (None, "2022-04-29", None, "--valid-from and --test-from go together"),
        (None, None, "2022-04-29", "--valid-from and --test-from go together"),
        ("users", "2022-04-29", "2022-04-30", "--split users takes no dates"),
        (None, "2022-04-30", "2022-04-30", "--valid-from 2022-04-30 must be before --test-from 2022-04-30"),
        (None, "29.04.2022", "2022-04-30", "field 'valid_from': Input should be a valid date"),
    ],
)
def test_bad_requests(rule, valid_from, test_from, message):
    with pytest.raises(ConfigError, match=message):
        SplitRequest.asked(rule, valid_from, test_from)


def test_an_empty_part_is_named_with_the_rows():
    with pytest.raises(
        DataError, match=r"split by 'time' leaves valid and test without rows .found: train 1,200, valid 0, test 0"
    ):
        check_parts(Path("out"), SplitRule(rule="time"), {"train": 1200})
    check_parts(Path("out"), SplitRule(rule="time"), {"train": 1, "valid": 1, "test": 1})
