"""Live scores reach an impression by time: the newest ended segments of its room, and never a later one."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.score_features import VALUES, attach, score_features
from ranking.score_lookup import LiveScores, ScoreLookup
from segrec.records import DataError, FoldRule, ScoreMeta, ScoreTable, write_score_table

LIVE = pl.DataFrame(
    {
        "item_id": [7, 7, 7, 5, 5], "segment": [0, 1, 2, 0, 1], "end_ms": [30, 60, 90, 45, 75],
        "score": [0.1, 0.2, 0.3, 0.8, 0.9],
    }
)  # fmt: skip


def table_of(path, frame=LIVE, **changes):
    meta = {
        "form": "live", "kind": "relevance", "encoder": "content_ctr", "encoder_hash": "h",
        "dataset_fingerprint": "f" * 64, "segment_ms": 30_000, "trained_until_ms": 1, "fitted_on": ["train"],
        "folds": FoldRule(folds=2), **changes,
    }  # fmt: skip
    write_score_table(path, [frame], ScoreMeta.model_validate(meta))
    return ScoreTable.open(path)


@pytest.fixture
def live(tmp_path):
    return table_of(tmp_path / "live.parquet")


def lists(found):
    values, offsets = found
    return [[round(float(value), 4) for value in values[first:last]] for first, last in pairwise(offsets)]


def asked(*rows):
    return pl.DataFrame(rows, schema={"item_id": pl.Int64, "time_ms": pl.Int64}, orient="row")


def test_as_of_by_hand(live):
    rows = asked((7, 29), (7, 30), (5, 80), (7, 89), (7, 10_000), (9, 60), (5, 0))
    found = lists(ScoreLookup.of(live).scores_of(rows))
    # a segment that ends at the very moment of the impression has ended; unknown rooms and too early rows have none
    assert found == [[], [0.1], [0.8, 0.9], [0.1, 0.2], [0.1, 0.2, 0.3], [], []]


def test_window_keeps_the_newest(live):
    found = lists(ScoreLookup.of(live, window=2).scores_of(asked((7, 95), (7, 31), (5, 95))))
    assert found == [[0.2, 0.3], [0.1], [0.8, 0.9]]


def test_features_of_the_window(live):
    features = score_features(ScoreLookup.of(live, window=2).scores_of(asked((7, 95), (9, 95))), "relevance")
    by_name = dict(zip(VALUES, features.T, strict=True))
    assert by_name["last"][0] == pytest.approx(0.3)  # the newest
    assert by_name["first"][0] == pytest.approx(0.2)
    assert by_name["mean"][0] == pytest.approx(0.25)
    assert np.isnan(features[1]).all()


def test_attach_finds_live_scores_by_room_and_time(live):
    rows = pl.DataFrame({"item_id": [5, 7, 9], "time_ms": [80, 61, 61], "x": [1, 2, 3]})
    out = attach(rows, live, live_window=2)
    assert out["score_last"].to_list() == pytest.approx([0.9, 0.2, 0.0])
    assert out["score_first"].to_list() == pytest.approx([0.8, 0.1, 0.0])
    assert out["score_last_missing"].to_list() == [0.0, 0.0, 1.0]


def test_attach_warns_of_in_sample_live_scores(tmp_path):
    with pytest.warns(UserWarning, match="use `segrec score --cross-fit K`"):
        attach(asked((7, 50)), table_of(tmp_path / "leaky.parquet", folds=None))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), min_size=1, max_size=30, unique=True),
    st.lists(st.tuples(st.integers(-1, 4), st.integers(-5, 60)), min_size=1, max_size=20),
    st.integers(1, 5),
)
def test_equals_looking_at_each_row_alone(segments, impressions, window):
    frame = pl.DataFrame(segments, schema={"item_id": pl.Int64, "end_ms": pl.Int64}, orient="row")
    frame = frame.with_columns(score=pl.int_range(pl.len()).cast(pl.Float32)).sort("item_id", "end_ms")
    found = lists(LiveScores(frame, window).at(asked(*impressions)))
    for (item, time_ms), scores in zip(impressions, found, strict=True):
        known = frame.filter((pl.col("item_id") == item) & (pl.col("end_ms") <= time_ms))
        assert scores == known["score"].to_list()[-window:]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 130), st.floats(-5, 5))
def test_later_scores_change_nothing(time_ms, other):
    """The leak test: whatever stands in segments that end after the impression, its scores are the same."""
    frame = LIVE.select("item_id", "end_ms", pl.col("score").cast(pl.Float32)).sort("item_id", "end_ms")
    later = pl.when(pl.col("end_ms") > time_ms).then(pl.lit(other, pl.Float32)).otherwise("score").alias("score")
    rows = asked((7, time_ms), (5, time_ms))
    assert lists(LiveScores(frame, 20).at(rows)) == lists(LiveScores(frame.with_columns(later), 20).at(rows))


def test_two_scores_of_one_moment_are_refused(tmp_path):
    twice = table_of(tmp_path / "twice.parquet", pl.concat([LIVE, LIVE[1:2]]))
    with pytest.raises(DataError, match=r"holds two scores of one moment .found: item_id 7, end_ms 60"):
        ScoreLookup.of(twice)


def test_rooms_of_another_type_are_refused(live):
    rows = pl.DataFrame({"item_id": ["7"], "time_ms": [50]})
    with pytest.raises(DataError, match="column 'item_id' has another type"):
        ScoreLookup.of(live).scores_of(rows)


def test_scores_that_are_not_numbers_are_named(tmp_path):
    broken = table_of(tmp_path / "nan.parquet", LIVE.with_columns(score=pl.lit(float("nan"))))
    with pytest.raises(DataError, match="segment 0 of row 0 is NaN or infinite"):
        attach(pl.DataFrame({"item_id": [7], "time_ms": [50]}), broken)
