"""Sequences of the spec: what past events can show, what is refused, and codes shared with the ids."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from ranking.encoding.feature_encoding import FittedFeatures, RowEncoder
from ranking.encoding.feature_spec import FeatureSpec, HistoryConfig, IdFeature, SequenceFeature
from ranking.features import FeatureConfig, build_spec
from ranking.rankers.config import HISTORY_LENGTH, with_history
from ranking.rows.segment_rows import write_segment_rows
from segrec.records import ConfigError, DataError
from segrec.tables import IdSettings

HOUR = 3_600_000
ROWS = pl.DataFrame(
    {
        "user_id": [1, 1, 2, 1, 1, 1], "item_id": [10, 11, 10, 12, 77, 10], "author_id": [5, None, 5, 6, 8, 5],
        "time_ms": [0, HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR, 5 * HOUR],
        "duration_ms": [5000, 9000, 5000, 9000, 5000, 5000],
        "watch_ms": [100, 9000, 200, 300, 9, 9], "split": ["train", "train", "train", "train", "valid", "test"],
        "is_click": [0, 1, 0, 1, 1, 1], "tab": [1, 2, 1, 1, 2, 2], "share": [0.25, 0.5, 0.75, 0.1, 0.2, 0.3],
    }
)  # fmt: skip
USERS = pl.DataFrame({"user_id": [1, 2], "level": ["a", "b"], "fans": [3.5, 9000.25]})
ITEMS = pl.DataFrame(
    {"item_id": [10, 11, 12], "tag": [[3, 4], [4], [3]], "kind": ["x", "y", None], "vector": [[0.1], [0.2], [0.3]]}
)


@pytest.fixture
def dataset(make_dataset):
    return make_dataset(ROWS, USERS, ITEMS, flags=["is_click"], context=["tab", "share"])


def spec_of(dataset, **history):
    return build_spec(dataset, FeatureConfig.checked({"history": history, "min_count": 1}))


def histories(dataset, spec):
    """The sequences of all rows, in the log's order, by name."""
    encoder = RowEncoder(FittedFeatures.fit(dataset, spec), dataset)
    rows = encoder.encode(dataset.interactions().collect())
    found = {}
    for sequence in spec.sequences:
        values, offsets = rows.bag(sequence.name)
        found[sequence.name] = [part.tolist() for part in np.split(values, offsets[1:-1])]
    return found


def test_off_unless_asked_for(dataset):
    assert build_spec(dataset, FeatureConfig()).sequences == ()
    assert spec_of(dataset, length=0).sequences == ()


def test_item_and_author_as_far_as_they_are_features(dataset):
    assert spec_of(dataset, length=3).sequences == (
        SequenceFeature(name="past_item_id", column="item_id", id_feature="item_id"),
        SequenceFeature(name="past_author_id", column="author_id", id_feature="author_id"),
    )
    config = FeatureConfig.checked({"history": {"length": 3}, "without": ["author_id"]})
    assert [sequence.name for sequence in build_spec(dataset, config).sequences] == ["past_item_id"]


def test_readers_switch_them_on_and_settings_decide():
    assert with_history(FeatureConfig()).history.length == HISTORY_LENGTH
    assert with_history(FeatureConfig(), 7).history.length == 7
    off = FeatureConfig(history=HistoryConfig(length=0, events="is_click"))
    assert with_history(off).history == HistoryConfig(length=0, events="is_click")


def test_codes_are_those_of_the_ids(dataset):
    # train items 10, 11, 12 -> 2, 3, 4; 77 is unseen; train authors 5, 6 -> 2, 3; item 11's author is missing
    assert histories(dataset, spec_of(dataset, length=10)) == {
        "past_item_id": [[], [2], [], [2, 3], [2, 3, 4], [2, 3, 4, 1]],
        "past_author_id": [[], [2], [], [2, 0], [2, 0, 3], [2, 0, 3, 1]],
    }


def test_other_columns_of_the_impression_and_the_item(dataset):
    spec = spec_of(dataset, length=2, columns=["tab", "kind", "hour", "duration"], events="is_click")
    # clicked before the last row: item 11 at hour 1, item 12 at hour 3, item 77 at hour 4
    assert {name: rows[-1] for name, rows in histories(dataset, spec).items()} == {
        "past_tab": [2, 3],  # tabs 1, 2 -> 2, 3
        "past_kind": [0, 0],  # item 12 has no kind, item 77 no row among the items
        "past_hour": [5, 1],  # train hours 0, 1, 2, 3 -> 2 .. 5; no train row has hour 4
        "past_duration": [3, 2],  # 9,000 ms lies above the one edge at 5,000
    }
    assert histories(dataset, spec)["past_kind"][3] == [3]


def test_hashed_ids_are_hashed_in_the_past_too(dataset):
    spec = spec_of(dataset, length=1, columns=["item_id"])
    hashed = tuple(
        feature.model_copy(update={"coding": IdSettings(ids="hash", rows=50)}) if feature.name == "item_id" else feature
        for feature in spec.ids
    )
    spec = spec.model_copy(update={"ids": hashed})
    rows = RowEncoder(FittedFeatures.fit(dataset, spec), dataset).encode(dataset.interactions().collect())
    item = dict(zip(ROWS["item_id"], rows.ids[[feature.name for feature in spec.ids].index("item_id")], strict=True))
    assert histories(dataset, spec)["past_item_id"] == [[], [item[10]], [], [item[11]], [item[12]], [item[77]]]


def test_stored_with_the_run(dataset, tmp_path):
    spec = spec_of(dataset, length=4, events="is_click", max_age_days=0.5)
    fitted = FittedFeatures.fit(dataset, spec)
    fitted.save(tmp_path / "features")
    again = FittedFeatures.load(tmp_path / "features")
    assert again.spec == spec
    assert again.spec.history == HistoryConfig(length=4, events="is_click", max_age_days=0.5)
    frame = dataset.interactions().collect()
    before, after = (RowEncoder(one, dataset).encode(frame).bag("past_item_id") for one in (fitted, again))
    assert before[0].tolist() == after[0].tolist()


def test_a_spec_of_an_older_run_has_no_histories():
    old = FeatureSpec.checked({"ids": [{"name": "item_id", "column": "item_id"}]})
    assert (old.sequences, old.history.length) == ((), None)


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (
            {"columns": ["itm_id"]},
            r"columns names 'itm_id', which is no feature of this run .found: item_id, author_id",
        ),
        ({"columns": ["tag"]}, "columns names 'tag', which is no id but a bag or a number"),
        ({"columns": ["fans"]}, "columns names 'fans', which is no id but a bag or a number"),
        ({"columns": ["user_id"]}, "names 'user_id', which is the user's own, the same at every event"),
        ({"columns": ["level"]}, "names 'level', which is the user's own"),
        ({"columns": []}, "past events show nothing"),
        (
            {"events": "is_liked"},
            r"events names 'is_liked', which is no flag of the log .found: is_click; expected: all",
        ),
    ],
)
def test_what_cannot_be_a_history(dataset, history, message):
    with pytest.raises(DataError, match=message):
        spec_of(dataset, **{"length": 5, **history})


def test_fractions_in_buckets_cannot_be_looked_up_by_value(dataset):
    config = {"history": {"length": 5, "columns": ["share_bucket"]}, "dense_buckets": 2, "max_categories": 2}
    with pytest.raises(DataError, match="'share_bucket', which is a fraction cut into buckets"):
        build_spec(dataset, FeatureConfig.checked(config))


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({"length": -1}, "field 'history.length'"),
        ({"max_age_days": 0}, "field 'history.max_age_days'"),
        ({"lenght": 5}, r"unknown field 'history.lenght' .known: length, columns, events, max_age_days"),
    ],
)
def test_settings_out_of_range(history, message):
    with pytest.raises(ConfigError, match=message):
        FeatureConfig.checked({"history": history})


def test_rows_without_users(live_dataset, tmp_path):
    segments = write_segment_rows(live_dataset, tmp_path, rate="lvtr", shift=0, leak=False)
    with pytest.raises(DataError, match="has rows without user_id, and a history is a user's; choose"):
        spec_of(segments, length=5)
    assert spec_of(segments, length=0).sequences == ()


def test_live_impressions_have_histories_though_rooms_have_no_duration(live_dataset):
    spec = spec_of(live_dataset, length=5)
    assert [sequence.name for sequence in spec.sequences] == ["past_item_id", "past_author_id"]
    in_order = live_dataset.interactions().collect()
    found = histories(live_dataset, spec)["past_item_id"]
    rows = list(in_order.select("user_id", "time_ms", "watch_ms").iter_rows())
    assert [len(past) for past in found] == [
        min(5, sum(user == other and time + watch < now for other, time, watch in rows)) for user, now, _ in rows
    ]
    assert any(found)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"only": ["user_id", "vector"]},
            r"features.only names 'vector', a column of List\(Float64\): a feature is one",
        ),
        ({"without": ["vector"]}, r"features.without names 'vector', a column of List\(Float64\)"),
        (
            {"allow_leaks": ["marks"]},
            r"'marks' is one value a row, and column 'marks' holds several .found: List\(Int64\)",
        ),
        ({"history": {"length": 3, "columns": ["vector"]}}, "columns names 'vector', which is no feature of this run"),
    ],
)
def test_several_values_where_one_is_expected(make_dataset, config, message):
    rows = ROWS.with_columns(marks=pl.lit(pl.Series([[1, 2]])).first())
    with pytest.raises(DataError, match=message):
        build_spec(make_dataset(rows, USERS, ITEMS, flags=["is_click"]), FeatureConfig.checked(config))


@pytest.mark.parametrize("lists", [[[1, 2]], [["a", "b"]], [[0.5]]])
def test_a_run_meets_a_dataset_with_lists_in_a_scalar_column(make_dataset, dataset, lists):
    fitted = FittedFeatures.fit(dataset, build_spec(dataset, FeatureConfig()))
    changed = make_dataset(ROWS.with_columns(tab=pl.lit(pl.Series(lists)).first()), USERS, ITEMS, name="lists")
    with pytest.raises(
        DataError, match=r"feature 'tab' is one value a row, and column 'tab' holds several .found: List"
    ):
        RowEncoder(fitted, changed)
    with pytest.raises(DataError, match="feature 'tab' is one value a row"):
        FittedFeatures.fit(changed, FeatureSpec(ids=(IdFeature(name="tab", column="tab"),)))


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (
            {"name": "a", "column": "nowhere"},
            "interactions lack column 'nowhere', a feature of this run .found: user_id",
        ),
        ({"name": "a", "column": "nowhere", "side": "user"}, "users lack column 'nowhere'"),
        (
            {"name": "a", "column": "vector", "side": "item"},
            "feature 'a' is one value a row, and column 'vector' holds",
        ),
    ],
)
def test_a_spec_written_by_hand(dataset, feature, message):
    with pytest.raises(DataError, match=message):
        FittedFeatures.fit(dataset, FeatureSpec(ids=(IdFeature.checked(feature),)))
