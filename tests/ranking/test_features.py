"""Which columns become which features, and what is refused."""

import polars as pl
import pytest

from ranking.encoding.feature_spec import BagFeature, DenseFeature, FeatureSpec, IdFeature
from ranking.features import FeatureConfig, build_spec
from segrec.records import ConfigError, DataError

ROWS = pl.DataFrame(
    {
        "user_id": [1, 2, 1, 2], "item_id": [10, 11, 11, 10], "author_id": [5, 5, 5, 5],
        "time_ms": [0, 3_600_000, 7_200_000, 90_000_000], "duration_ms": [5000, 9000, 9000, 5000],
        "watch_ms": [100, 9000, 200, 300], "split": ["train", "train", "valid", "test"], "is_click": [0, 1, 0, 1],
        "comment_ms": [0, 4, 0, 1], "tab": [1, 2, 1, 1], "page": ["a", "a", "a", "a"],
    }
)  # fmt: skip
USERS = pl.DataFrame(
    {"user_id": [1, 2], "age_range": ["(1,9]", "(9,99]"], "fans": [3.5, 9000.25], "onehot_feat0": [0, 1]}
)
ITEMS = pl.DataFrame(
    {
        "item_id": [10, 11], "tag": ["3,4", "4"], "upload_dt": ["2022-04-08", "2022-04-09"], "topics": [[1, 2], [2]],
        "vector": [[0.1], [0.2]], "month_average_show_cnt": [3.0, 9.0], "kind": ["x", "x"],
    }
)  # fmt: skip


@pytest.fixture
def dataset(make_dataset):
    return make_dataset(ROWS, USERS, ITEMS, flags=["is_click"], context=["tab", "page"])


def test_columns_become_features_by_type(dataset):
    spec = build_spec(dataset, FeatureConfig(min_count=1))
    assert [feature.name for feature in spec.ids] == [
        "user_id", "item_id", "author_id", "hour", "duration", "tab", "age_range", "onehot_feat0",
    ]  # fmt: skip
    assert spec.bags == (BagFeature(name="tag", column="tag"), BagFeature(name="topics", column="topics"))
    assert spec.dense == (
        DenseFeature(name="log_duration", column="duration_ms", transform="log1p", missing="reject"),
        DenseFeature(name="fans", column="fans", side="user"),
        DenseFeature(name="upload_dt_age", column="upload_dt", side="item", transform="log_age_days"),
    )


def test_outcomes_constants_and_month_averages_stay_out(dataset):
    names = {feature.name for feature in build_spec(dataset, FeatureConfig()).all}
    assert names.isdisjoint({"watch_ms", "is_click", "comment_ms", "page", "kind", "vector", "month_average_show_cnt"})


def test_only_and_without(dataset):
    spec = build_spec(dataset, FeatureConfig(only=("user_id", "tab", "log_duration"), without=("tab",)))
    assert [feature.name for feature in spec.all] == ["user_id", "log_duration"]


def test_policy_of_one_feature(dataset):
    spec = build_spec(
        dataset, FeatureConfig(missing={"tab": "reject"}, unseen={"item_id": "reject", "topics": "reject"})
    )
    assert {feature.name: feature.missing for feature in spec.ids}["tab"] == "reject"
    assert [feature.name for feature in spec.coded if feature.unseen == "reject"] == ["item_id", "topics"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"only": ["watch_ms", "user_id"]}, "feature 'watch_ms' is the row's own outcome; .*features.allow_leaks"),
        ({"only": ["is_click"]}, "feature 'is_click' is the row's own outcome"),
        ({"only": ["month_average_show_cnt"]}, "average over the whole month, future included"),
        (
            {"only": ["usr_id"]},
            "features.only names 'usr_id', which the dataset does not offer .found: user_id, item_id",
        ),
        ({"without": ["nothing"]}, "features.without names 'nothing'"),
        ({"missing": {"nobody": "reject"}}, "features.missing names 'nobody'"),
        ({"unseen": {"nobody": "reject"}}, "features.unseen names 'nobody'"),
        ({"unseen": {"fans": "reject"}}, "features.unseen names 'fans', a number: every value of it has a place"),
        ({"unseen": {"duration": "reject"}}, "features.unseen names 'duration', a number"),
        ({"allow_leaks": ["made_up"]}, "features.allow_leaks names 'made_up'"),
        ({"only": ["log_duration"]}, "no id feature is left"),
    ],
)
def test_bad_features(dataset, config, message):
    with pytest.raises(DataError, match=message):
        build_spec(dataset, FeatureConfig.checked(config))


def test_dense_columns_as_ids_too(dataset):
    spec = build_spec(dataset, FeatureConfig(dense_buckets=4, without=("duration",)))
    made = [feature for feature in spec.ids if feature.name.endswith("_bucket")]
    assert made == [  # not the date
        IdFeature(name="log_duration_bucket", column="duration_ms", buckets=4),
        IdFeature(name="fans_bucket", column="fans", side="user", buckets=4),
    ]
    names = {feature.name for feature in build_spec(dataset, FeatureConfig(dense_buckets=4)).ids}
    assert "log_duration_bucket" not in names  # the duration has its buckets already
    assert len(spec.dense) == 3  # and they stay what they are


def test_leaks_asked_for_by_name(dataset):
    spec = build_spec(dataset, FeatureConfig(allow_leaks=("comment_ms", "month_average_show_cnt")))
    assert spec.dense[-2:] == (
        DenseFeature(name="comment_ms", column="comment_ms"),
        DenseFeature(name="month_average_show_cnt", column="month_average_show_cnt", side="item"),
    )


def test_many_valued_numbers_are_dense_but_ids_stay_ids(make_dataset):
    users = pl.DataFrame({"user_id": range(20), "followers": [2**k for k in range(20)], "city_id": range(20)})
    rows = ROWS.with_columns(user_id=pl.Series([0, 1, 2, 3]))
    spec = build_spec(make_dataset(rows, users, flags=["is_click"]), FeatureConfig(max_categories=10))
    assert DenseFeature(name="followers", column="followers", side="user", transform="log1p") in spec.dense
    assert IdFeature(name="city_id", column="city_id", side="user") in spec.ids


def test_spec_survives_yaml(dataset, tmp_path):
    spec = build_spec(dataset, FeatureConfig())
    (tmp_path / "spec.yaml").write_text(spec.to_yaml())
    assert FeatureSpec.of(tmp_path / "spec.yaml") == spec


def test_unknown_setting_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown field 'min_cuont' .known: only, without"):
        FeatureConfig.checked({"min_cuont": 2})
