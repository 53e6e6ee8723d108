"""Lagged counts and rates by hand: what has ended, what is known by then, never the predicted segment itself."""

import numpy as np
import polars as pl
import pytest

from ranking.rows.lagged_counts import STRENGTH, lagged_columns, newest_ended, own_columns
from segrec.records import DatasetFolder, DatasetMeta, Rate, SplitRule
from segrec.segments.rooms import Rooms

S = 30_000


def rooms_of(path, *, clicks, ctr=None, gap_after=None):
    """One train room of four segments (clicks of 10 exposures each) and one test room of one."""
    count = len(clicks)
    start = np.arange(count) * S
    if gap_after is not None:
        start[gap_after + 1 :] += 10 * S
    exposures = [10] * count
    frame = pl.DataFrame(
        {
            "item_id": [1] * count + [2], "segment": [*range(count), 0], "start_ms": [*start, 900 * S],
            "end_ms": [*(start + S), 901 * S], "clicks": [*clicks, 3], "exposures": [*exposures, 10],
            "ctr": [*(ctr or [c / 10 if c is not None else None for c in clicks]), 0.3],
        },
        schema_overrides={"segment": pl.Int32},
    )  # fmt: skip
    (path / "segments").mkdir(parents=True)
    frame.write_parquet(path / "segments" / "part-00000.parquet")
    items = pl.DataFrame({"item_id": [1, 2], "author_id": [7, 7], "start_ms": [0, 900 * S], "split": ["train", "test"]})
    items.write_parquet(path / "items.parquet")
    meta = DatasetMeta(
        format="made", segment_ms=S, split=SplitRule(rule="time"), rows={"train": 0, "valid": 0, "test": 0},
        rates={"ctr": Rate(trials="exposures", known_after_ms=2 * S)}, counters=["clicks"], licence="none",
        source="made", fingerprint="f",
    )  # fmt: skip
    (path / "dataset.json").write_text(meta.model_dump_json())
    return Rooms.of(DatasetFolder.open(path))


def logit(hits, trials, base):
    rate = (hits + STRENGTH * base) / (trials + STRENGTH)
    return np.log(rate / (1 - rate))


def nan_equal(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_counts_by_hand(tmp_path):
    rooms = rooms_of(tmp_path, clicks=[1, 4, 0, 7])
    # shift 1: at the end of segment t its own count is known
    found = lagged_columns(rooms, 1)
    nan_equal(found["lag_clicks"], np.log1p([1, 4, 0, 7, 3]))
    nan_equal(found["lag_clicks_sum"], np.log1p([1, 5, 5, 12, 3]))
    nan_equal(found["lag_clicks_mean"], np.log1p([1, 2.5, 5 / 3, 3, 3]))
    # shift 0: at the start of segment t only those before it; the next room starts anew
    found = lagged_columns(rooms, 0)
    nan_equal(found["lag_clicks"], [np.nan, *np.log1p([1, 4, 0]), np.nan])
    nan_equal(found["lag_clicks_sum"], [np.nan, *np.log1p([1, 5, 5]), np.nan])


def test_rates_wait_until_they_are_known(tmp_path):
    """A rate is known two segments after its end: at the end of t that of t - 2, at its start that of t - 3."""
    rooms = rooms_of(tmp_path, clicks=[1, 4, 0, 7])
    base = 12 / 40  # train alone
    newest = [logit(1, 10, base), logit(4, 10, base)]
    found = lagged_columns(rooms, 1)
    nan_equal(found["lag_ctr"], [np.nan, np.nan, *newest, np.nan])
    nan_equal(found["lag_ctr_mean"], [np.nan, np.nan, logit(1, 10, base), logit(5, 20, base), np.nan])
    nan_equal(lagged_columns(rooms, 0)["lag_ctr"], [np.nan, np.nan, np.nan, newest[0], np.nan])


def test_unknown_counts_and_rates_are_left_out_of_means(tmp_path):
    rooms = rooms_of(tmp_path, clicks=[2, None, 4, 6])
    found = lagged_columns(rooms, 1)
    nan_equal(found["lag_clicks"], [np.log1p(2), np.nan, np.log1p(4), np.log1p(6), np.log1p(3)])
    nan_equal(found["lag_clicks_mean"][:4], np.log1p([2, 2, 3, 4]))
    base = 12 / 30
    nan_equal(found["lag_ctr"][2:4], [logit(2, 10, base), logit(0, 0, base)])  # nothing known of it: the base rate
    nan_equal(found["lag_ctr_mean"][2:4], [logit(2, 10, base)] * 2)


def test_own_counts_are_those_of_the_predicted_segment(tmp_path):
    rooms = rooms_of(tmp_path, clicks=[1, 4, 0, 7], gap_after=1)
    nan_equal(own_columns(rooms, 0)["own_clicks"], np.log1p([1, 4, 0, 7, 3]))
    # the next segment; none after the end of a room, and none across a gap, where no target is either
    nan_equal(own_columns(rooms, 1)["own_clicks"], [np.log1p(4), np.nan, np.log1p(7), np.nan, np.nan])
    assert np.isnan(rooms.target("ctr", 1).values[[1, 3, 4]]).all()


def test_a_segment_that_ends_late_is_not_used_early(tmp_path):
    rooms = rooms_of(tmp_path, clicks=[1, 4, 0, 7])
    late = rooms.frame.with_columns(
        end_ms=pl.when((pl.col("item_id") == 1) & (pl.col("segment") == 1)).then(2 * S + 1).otherwise("end_ms")
    )
    # segment 2 begins at 2 S, one ms before segment 1 ends
    assert newest_ended(Rooms(rooms.dataset, late, rooms.offsets), 0).tolist() == [-1, 0, 0, 2, -1]


@pytest.mark.parametrize("shift", [0, 1])
def test_the_future_changes_nothing(live_dataset, shift):
    """The leak test: other counts and rates from some moment of the test rooms on change no input from before it."""
    rooms = Rooms.of(live_dataset)
    test = (rooms.frame["split"] == "test").to_numpy()
    generator, cut = np.random.default_rng(0), int(np.median(rooms.start_ms[test]))
    later, rows = pl.col("start_ms") >= cut, rooms.frame.height
    drawn = {name: generator.integers(0, 500, rows) for name in live_dataset.meta.counters}
    drawn |= {name: generator.random(rows) for name in live_dataset.meta.rates}
    noise = [pl.when(later).then(pl.Series(drawn[name])).otherwise(pl.col(name)).alias(name) for name in drawn]
    other = Rooms(live_dataset, rooms.frame.with_columns(noise), rooms.offsets)
    before = (rooms.end_ms if shift else rooms.start_ms) <= cut
    assert 0.2 < before[test].mean() < 0.8
    ours, theirs = lagged_columns(rooms, shift), lagged_columns(other, shift)
    for name in ours:
        np.testing.assert_array_equal(ours[name][before], theirs[name][before])
        assert not np.array_equal(ours[name], theirs[name], equal_nan=True)
