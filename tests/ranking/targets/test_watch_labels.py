"""Watch time and watch share by hand, and several labels as one."""

import math

import numpy as np
import polars as pl
import pytest

from ranking.targets.labels import JointLabel, StoredLabel, fit_label, fit_labels, label_names, note_of, tasks_of
from ranking.targets.watch_labels import WatchShareLabel, WatchTimeLabel
from segrec.records import ConfigError, DataError

ROWS = pl.DataFrame(
    {
        "user_id": range(7), "item_id": range(7), "time_ms": range(7),
        "duration_ms": [1000, 2000, 4000, 1000, 0, 2000, 2000],
        "watch_ms": [500, 4000, 0, None, 1500, 9000, 250],
        "split": ["train"] * 5 + ["valid", "test"],
        "is_click": [1, 0, 1, None, None, 1, 0], "none": [None] * 7,
    },
    schema_overrides={"none": pl.Int8},
)  # fmt: skip


@pytest.fixture
def dataset(make_dataset):
    return make_dataset(ROWS, flags=["is_click"])


def test_watch_time_by_hand(dataset):
    label = fit_label(dataset, "watch_time")
    assert isinstance(label, WatchTimeLabel)
    assert label.cap_ms == 4000  # the 99.9% quantile of train's four views
    assert label.mean == pytest.approx(1.5)
    assert label.rate == pytest.approx((0.5 / 2 + 4 / 5.5 + 0 + 0.5) / 4)
    assert label.unknown == {"train": 1}
    known = ROWS.filter(label.known())
    assert label.values(known).tolist() == [0.5, 4.0, 0.0, 1.5, 4.0, 0.25]
    assert label.shares(label.values(known)).tolist() == pytest.approx([0.25, 8 / 11, 0, 0.5, 8 / 11, 1 / 7])
    assert label.answers(np.array([0.0, math.log(2)])).tolist() == pytest.approx([1.5, 3.0])
    assert label.start == 0.5


def test_watch_share_by_hand(dataset):
    label = fit_label(dataset, "watch_share")
    assert isinstance(label, WatchShareLabel)
    assert label.rate == label.mean == label.start == pytest.approx((0.5 + 1 + 0) / 3)  # no duration: no share
    assert label.unknown == {"train": 2}
    assert label.values(ROWS.filter(label.known())).tolist() == [0.5, 1.0, 0.0, 1.0, 0.125]
    assert label.answers(np.array([0.0])).tolist() == [0.5]


def test_valid_and_test_rows_change_nothing(make_dataset):
    other = ROWS.with_columns(watch_ms=pl.when(pl.col("split") == "train").then("watch_ms").otherwise(7))
    for name in ("watch_time", "watch_share"):
        one, two = (make_dataset(rows, name=f"{name}{place}") for place, rows in enumerate((ROWS, other)))
        assert fit_label(one, name) == fit_label(two, name)


def test_joint_values_are_nan_where_unknown(dataset):
    label = fit_labels(dataset, ["is_click", "watch_time", "watch_share"])
    assert isinstance(label, JointLabel)
    assert label.name == "is_click+watch_time+watch_share"
    assert label.columns == ("is_click", "watch_ms", "duration_ms")
    assert ROWS.select(label.known()).to_series().to_list() == [True, True, True, False, True, True, True]
    nan = math.nan
    expected = [[1, 0.5, 0.5], [0, 4, 1], [1, 0, 0], [nan] * 3, [nan, 1.5, nan], [1, 4, 1], [0, 0.25, 0.125]]
    np.testing.assert_array_equal(label.values(ROWS), np.array(expected, dtype=np.float32))
    answers = label.answers(np.zeros((2, 3)))
    assert answers.tolist() == [[0.5, pytest.approx(1.5), 0.5]] * 2
    assert note_of(label) == (
        "rows whose is_click is not known were left out: 2 train; rows whose watch_time is not known were left out: "
        "1 train; rows whose watch_share is not known were left out: 2 train; each stays for the labels that it has"
    )


@pytest.mark.parametrize("names", [["watch_time"], ["watch_share"], ["is_click", "watch_time"]])
def test_labels_survive_yaml(dataset, tmp_path, names):
    label = fit_labels(dataset, names)
    (tmp_path / "label.yaml").write_text(StoredLabel(label=label).to_yaml())
    assert StoredLabel.load(tmp_path / "label.yaml") == label
    assert tuple(task.name for task in tasks_of(label)) == tuple(names)


def test_labels_of_older_runs_are_read(tmp_path):
    file = tmp_path / "label.yaml"
    file.write_text("label:\n  kind: flag\n  name: is_click\n  rate: 0.25\n  unknown: {}\n")
    label = StoredLabel.load(file)
    assert (label.name, label.rate, tasks_of(label)) == ("is_click", 0.25, (label,))


def test_names_may_be_joined():
    assert label_names(["a+b", "c"]) == ("a", "b", "c")
    with pytest.raises(ConfigError, match="label 'a' was given twice"):
        label_names(["a+b", "a"])
    with pytest.raises(ConfigError, match="no label was given"):
        label_names([])


@pytest.mark.parametrize(
    ("changes", "name", "message"),
    [
        ({"watch_ms": pl.lit(0)}, "watch_time", "label 'watch_time' is 0 or missing in all train rows"),
        ({"watch_ms": pl.lit(None, pl.Int64)}, "watch_time", "label 'watch_time' is 0 or missing in all train rows"),
        ({"watch_ms": pl.lit(9000)}, "watch_share", r"label 'watch_share' has one value only .*found: mean 1.0"),
        ({"duration_ms": pl.lit(0)}, "watch_share", r"label 'watch_share' has one value only .*found: mean None"),
    ],
)
def test_labels_without_information(make_dataset, changes, name, message):
    with pytest.raises(DataError, match=message):
        fit_label(make_dataset(ROWS.with_columns(**changes), flags=["is_click"]), name)


def test_live_rooms_have_watch_times_but_no_shares(live_dataset):
    assert fit_label(live_dataset, "watch_time").mean > 0
    with pytest.raises(DataError, match=r"label watch_share needs durations, and live rooms have none.*watch_time"):
        fit_label(live_dataset, "watch_share")
