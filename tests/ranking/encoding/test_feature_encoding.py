"""Codes and numbers worked out by hand; what missing and unseen become; nothing from valid or test gets in."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking.encoding.column_values import quantile_edges
from ranking.encoding.feature_encoding import FittedFeatures, RowEncoder
from ranking.encoding.feature_spec import BagFeature, DenseFeature, FeatureSpec, IdFeature
from segrec.records import DataError
from segrec.tables import IdSettings

HOUR = 3_600_000
ROWS = pl.DataFrame(
    {
        "user_id": [1, 2, 1, 9], "item_id": [10, 11, 10, 99], "author_id": [5, None, 5, 7],
        "time_ms": [0, HOUR, 2 * HOUR, 50 * HOUR], "duration_ms": [1000, 3000, 1000, 8000],
        "watch_ms": [1, 1, 1, 1], "split": ["train", "train", "train", "test"],
    }
)  # fmt: skip
USERS = pl.DataFrame({"user_id": [1, 2, 9], "level": ["a", None, "z"], "fans": [1.0, 3.0, None]})
ITEMS = pl.DataFrame({"item_id": [10, 11], "tag": ["7,8", None], "since": ["1969-12-30", None]})
SPEC = FeatureSpec(
    ids=(
        IdFeature(name="user_id", column="user_id", min_count=2),
        IdFeature(name="author_id", column="author_id"),
        IdFeature(name="hour", column="hour"),
        IdFeature(name="duration", column="duration_ms", buckets=2),
        IdFeature(name="level", column="level", side="user"),
    ),
    bags=(BagFeature(name="tag", column="tag"),),
    dense=(
        DenseFeature(name="fans", column="fans", side="user"),
        DenseFeature(name="log_duration", column="duration_ms", transform="log1p", missing="reject"),
        DenseFeature(name="age", column="since", side="item", transform="log_age_days"),
    ),
)


@pytest.fixture
def dataset(make_dataset):
    return make_dataset(ROWS, USERS, ITEMS)


@pytest.fixture
def fitted(dataset):
    return FittedFeatures.fit(dataset, SPEC)


def encoded(fitted, dataset):
    return RowEncoder(fitted, dataset).encode(dataset.interactions().collect())


def test_codes_by_hand(fitted, dataset):
    rows = encoded(fitted, dataset)
    assert rows.ids.tolist() == [
        [2, 1, 2, 1],  # user 2 occurs once, under min_count: unseen; 9 is only in test
        [2, 0, 2, 1],  # a null author is missing, not unseen
        [2, 3, 4, 4],  # hours 0, 1, 2; the test row is at hour 50 % 24 = 2
        [2, 3, 2, 3],  # one edge at 1000, which belongs below it
        [2, 0, 2, 1],  # user 2 has no level, user 9's was not in train
    ]
    values, offsets = rows.bags["tag"]
    assert values.tolist() == [2, 3, 0, 2, 3, 0]  # no tag, and an item without side features: the missing id
    assert offsets.tolist() == [0, 2, 3, 5, 6]


def test_dense_by_hand(fitted, dataset):
    rows = encoded(fitted, dataset)
    assert fitted.dense_names == ["fans", "log_duration", "age", "fans_missing", "age_missing"]
    # fans of train users 1 and 3: mean 2, deviation sqrt(2)
    assert rows.dense[:, 0] == pytest.approx([-1 / 2**0.5, 1 / 2**0.5, -1 / 2**0.5, 0.0])
    assert rows.dense[:, 3].tolist() == [0, 0, 0, 1]
    logs = np.log1p([1000, 3000, 1000])
    assert rows.dense[:3, 1] == pytest.approx((logs - logs.mean()) / logs.std(ddof=1), rel=1e-5)
    # two days old in both train rows that have a date: no spread, so scaled by 1
    assert rows.dense[:, 2] == pytest.approx([0, 0, 0, 0], abs=1e-6)
    assert rows.dense[:, 4].tolist() == [0, 1, 0, 1]


def test_age_counts_days_from_the_columns_date(fitted, dataset):
    assert fitted.scaling["age"] == (pytest.approx(np.log1p(2)), 1.0)


def test_sizes_hold_missing_unseen_and_known(fitted):
    assert {name: fitted.rows_of(name) for name in ("user_id", "author_id", "duration", "tag")} == {
        "user_id": 3, "author_id": 3, "duration": 4, "tag": 4,
    }  # fmt: skip


def test_seen_holds_rare_ids_too(fitted):
    assert fitted.seen["user_id"].ids.to_list() == [1, 2]
    assert fitted.seen["item_id"].ids.to_list() == [10, 11]


def test_stored_and_loaded_encodes_the_same(fitted, dataset, tmp_path):
    fitted.save(tmp_path / "features")
    again = encoded(FittedFeatures.load(tmp_path / "features"), dataset)
    before = encoded(fitted, dataset)
    assert (again.ids == before.ids).all()
    assert (again.dense == before.dense).all()
    assert (again.bags["tag"][0] == before.bags["tag"][0]).all()


def test_reject_names_the_row(make_dataset):
    spec = FeatureSpec(ids=(IdFeature(name="author_id", column="author_id", missing="reject"),))
    dataset = make_dataset(ROWS, USERS, ITEMS)
    with pytest.raises(
        DataError,
        match=f"'author_id' is missing and its policy is 'reject' .found: user_id 2, item_id 11, time_ms {HOUR}",
    ):
        encoded(FittedFeatures.fit(dataset, spec), dataset)


@pytest.mark.parametrize(
    ("feature", "row"),
    [
        (IdFeature(name="user_id", column="user_id", unseen="reject"), "user_id 9, item_id 99"),
        (IdFeature(name="author_id", column="author_id", unseen="reject"), "user_id 9, item_id 99"),
        (IdFeature(name="user_id", column="user_id", unseen="reject", min_count=2), "user_id 2, item_id 11"),
        (IdFeature(name="level", column="level", side="user", unseen="reject"), "user_id 9, item_id 99"),
        (BagFeature(name="tag", column="tag", unseen="reject", min_count=9), "user_id 1, item_id 10"),
    ],
)
def test_unseen_ids_may_be_refused(make_dataset, feature, row):
    dataset = make_dataset(ROWS, USERS, ITEMS)
    ids = (feature,) if isinstance(feature, IdFeature) else SPEC.ids
    spec = FeatureSpec(ids=ids, bags=(feature,) if isinstance(feature, BagFeature) else ())
    message = f"'{feature.name}' holds an id that train did not; its policy is 'reject' .found: {row}"
    with pytest.raises(DataError, match=message):
        encoded(FittedFeatures.fit(dataset, spec), dataset)


def test_known_and_missing_ids_are_not_refused(make_dataset):
    dataset = make_dataset(ROWS.filter(pl.col("split") == "train"), USERS, ITEMS)
    refusing = tuple(feature.model_copy(update={"unseen": "reject"}) for feature in SPEC.ids[1:3])
    assert encoded(FittedFeatures.fit(dataset, FeatureSpec(ids=refusing)), dataset).ids[0].tolist() == [2, 0, 2]


def test_a_table_that_takes_any_id_refuses_none(make_dataset):
    hashed = IdFeature(name="user_id", column="user_id", unseen="reject", coding=IdSettings(ids="hash", rows=10))
    with pytest.raises(DataError, match=r"'user_id' refuses unseen ids, and its table takes any .found: ids=hash"):
        FittedFeatures.fit(make_dataset(ROWS, USERS, ITEMS), FeatureSpec(ids=(hashed,)))


def test_nan_is_missing_and_infinity_is_refused(make_dataset):
    spec = FeatureSpec(
        ids=(IdFeature(name="user_id", column="user_id"),),
        dense=(DenseFeature(name="fans", column="fans", side="user"),),
    )
    nan = make_dataset(ROWS, USERS.with_columns(fans=pl.Series([1.0, float("nan"), 3.0])), ITEMS)
    rows = encoded(FittedFeatures.fit(nan, spec), nan)
    assert rows.dense[:, 1].tolist() == [0, 1, 0, 0]
    infinite = make_dataset(ROWS, USERS.with_columns(fans=pl.Series([1.0, 2.0, float("inf")])), ITEMS, name="infinite")
    with pytest.raises(DataError, match="'fans' is infinite in row 2"):
        encoded(FittedFeatures.fit(infinite, spec), infinite)


def test_another_dataset_must_have_the_columns(fitted, make_dataset):
    bare = make_dataset(ROWS, name="bare")
    with pytest.raises(DataError, match=r"has no users.parquet, but this run uses 'level' of it"):
        RowEncoder(fitted, bare)
    fewer = make_dataset(ROWS, USERS.drop("level"), ITEMS, name="fewer")
    with pytest.raises(DataError, match="users lack column 'level'"):
        RowEncoder(fitted, fewer)
    no_author = make_dataset(ROWS.drop("author_id"), USERS, ITEMS, name="no_author")
    with pytest.raises(DataError, match="interactions lack column 'author_id'"):
        RowEncoder(fitted, no_author)


def test_no_train_row(make_dataset):
    with pytest.raises(DataError, match="has no train row"):
        FittedFeatures.fit(make_dataset(ROWS.with_columns(split=pl.lit("test")), USERS, ITEMS), SPEC)


def test_damaged_files_are_named(fitted, tmp_path):
    fitted.save(tmp_path / "features")
    (tmp_path / "features" / "scaling.json").write_text("{")
    with pytest.raises(DataError, match=r"scaling.json: cannot be read"):
        FittedFeatures.load(tmp_path / "features")


@pytest.mark.parametrize(
    ("values", "counts", "buckets", "edges"),
    [
        ([1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1], 2, (2.0,)),
        ([1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1], 4, (1.0, 2.0, 3.0)),
        ([1.0, 5.0], [9, 1], 4, (1.0,)),  # nine tenths are one value
        ([1.0, 5.0], [1, 9], 4, ()),  # every quartile is 5, the largest value: one bucket
        ([], [], 4, ()),
    ],
)
def test_quantile_edges(values, counts, buckets, edges):
    assert quantile_edges(np.array(values), np.array(counts), buckets) == edges


@given(
    st.lists(
        st.tuples(st.integers(-5, 60), st.integers(1, 9)), min_size=1, max_size=30, unique_by=lambda pair: pair[0]
    ),
    st.integers(1, 12),
)
def test_edges_ascend_and_leave_no_bucket_empty(pairs, buckets):
    pairs = sorted(pairs)
    values, counts = np.array([float(value) for value, _ in pairs]), np.array([count for _, count in pairs])
    edges = quantile_edges(values, counts, buckets)
    assert len(edges) < buckets or not edges
    assert list(edges) == sorted(set(edges))
    assert len(set(np.searchsorted(edges, values, side="left"))) == len(edges) + 1
