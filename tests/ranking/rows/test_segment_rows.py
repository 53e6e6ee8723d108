"""Segments as rows of a dataset folder: when they are predicted, what they hold, and what they never hold."""

import numpy as np
import polars as pl
import pytest

from ranking.features import FeatureConfig, build_spec
from ranking.rows.segment_rows import write_segment_rows
from ranking.targets.labels import RateLabel, fit_rate_label
from segrec.records import DataError
from segrec.segments.rooms import Rooms


@pytest.fixture(params=[0, 1])
def shift(request):
    return request.param


@pytest.fixture
def rows(live_dataset, shift, tmp_path):
    return write_segment_rows(live_dataset, tmp_path / "rows", rate="lvtr", shift=shift, leak=False)


def test_one_row_a_segment_at_the_moment_of_its_prediction(live_dataset, rows, shift):
    frame = rows.interactions().collect()
    rooms = Rooms.of(live_dataset)
    assert frame.height == rooms.frame.height
    assert frame["time_ms"].is_sorted()
    expected = rooms.frame.select("item_id", "segment", "split", at="end_ms" if shift else "start_ms")
    joined = frame.join(expected, on=["item_id", "segment"])
    assert (joined["time_ms"] == joined["at"]).all()
    assert (joined["split"] == joined["split_right"]).all()
    assert rows.meta.rows == {
        split: rooms.frame.filter(pl.col("split") == split).height for split in ("train", "valid", "test")
    }


def test_target_is_that_of_rooms(live_dataset, rows, shift):
    rooms = Rooms.of(live_dataset)
    target = rooms.target("lvtr", shift)
    expected = rooms.frame.select("item_id", "segment").with_columns(
        pl.Series("rate", target.values).fill_nan(None), pl.Series("n", target.trials).fill_nan(None)
    )
    joined = rows.interactions().collect().join(expected, on=["item_id", "segment"])
    assert joined["target"].equals(joined["rate"], null_equal=True)
    assert joined["trials"].equals(joined["n"], null_equal=True)


def test_features_are_ids_clock_age_and_lagged_counts(live_dataset, rows):
    spec = build_spec(rows, FeatureConfig())
    assert [feature.name for feature in spec.ids] == ["item_id", "author_id", "hour", "room_age"]
    lagged = {f"lag_{name}{part}" for name in live_dataset.meta.counters for part in ("", "_mean", "_sum")}
    lagged |= {f"lag_{name}{part}" for name in ("ctr", "lvtr") for part in ("", "_mean")}
    assert {feature.name for feature in spec.dense} == {"log_room_age", *lagged}


def test_outcomes_never_become_features_unasked(rows):
    with pytest.raises(DataError, match="feature 'target' is the row's own outcome"):
        build_spec(rows, FeatureConfig(only=("author_id", "target")))


def test_own_counts_only_where_a_leak_is_asked_for(live_dataset, rows, shift, tmp_path):
    leaky = write_segment_rows(live_dataset, tmp_path / "leaky", rate="lvtr", shift=shift, leak=True)
    own = {f"own_{name}" for name in live_dataset.meta.counters}
    assert own <= {feature.name for feature in build_spec(leaky, FeatureConfig()).dense}
    assert own.isdisjoint(rows.interactions().collect_schema().names())


def test_label_weighs_by_trials(rows):
    label = fit_rate_label(rows, "lvtr", weighted=True)
    train = rows.interactions(["train"]).collect().drop_nulls("target")
    rate, trials = train["target"].to_numpy(), train["trials"].to_numpy()
    assert label.rate == pytest.approx((rate * trials).sum() / trials.sum(), rel=1e-5)
    assert label.weights(train).mean() == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(label.weights(train) * trials.mean(), trials, rtol=1e-5)
    alike = fit_rate_label(rows, "lvtr", weighted=False)
    assert (alike.trials, alike.weights(train)) == (None, None)
    assert alike.rate == pytest.approx(rate.mean(), rel=1e-5)


def test_rate_label_by_hand():
    label = RateLabel(name="lvtr", rate=0.5, trials=4.0)
    frame = pl.DataFrame({"target": [0.25, None, 1.0], "trials": [8.0, 2.0, None]})
    assert frame.select(label.known()).to_series().to_list() == [True, False, True]
    assert label.weights(frame).tolist() == [2.0, 0.5, 1.0]  # unknown trials weigh like the mean


def test_no_rate_of_that_name(live_dataset, tmp_path):
    with pytest.raises(DataError, match=r"has no rate 'gift_rate' .found: ctr, lvtr"):
        write_segment_rows(live_dataset, tmp_path / "rows", rate="gift_rate", shift=0, leak=False)


def test_no_live_rooms(click_log, tmp_path):
    with pytest.raises(DataError, match="has no live rooms"):
        write_segment_rows(click_log, tmp_path / "rows", rate="lvtr", shift=0, leak=False)
