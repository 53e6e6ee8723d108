"""Labels by hand; medians of watch ratios come from train alone."""

import polars as pl
import pytest

from ranking.targets.labels import EffectiveViewLabel, FlagLabel, StoredLabel, fit_label
from segrec.records import ConfigError, DataError

ROWS = pl.DataFrame(
    {
        "user_id": range(8), "item_id": range(8), "time_ms": range(8),
        # train: two durations with ratios .1 .2 .3 (median .2) and .5 .7 (median .6)
        "duration_ms": [1000, 1000, 1000, 2000, 2000, 1000, 2000, 9000],
        "watch_ms": [100, 200, 300, 1000, 1400, 250, 1250, 1],
        "split": ["train"] * 5 + ["valid", "valid", "test"],
        "is_click": [0, 1, 0, 1, 0, 0, 1, 1], "stay": [0, 7, 0, 0, 0, 0, 0, 0], "never": [0] * 8,
    }
)  # fmt: skip


@pytest.fixture
def dataset(make_dataset):
    return make_dataset(ROWS, flags=["is_click", "stay", "never"])


def test_flag(dataset):
    label = fit_label(dataset, "is_click")
    assert label == FlagLabel(name="is_click", rate=0.4)
    assert label.values(ROWS).tolist() == [0, 1, 0, 1, 0, 0, 1, 1]


def test_effective_view_by_hand(dataset):
    label = fit_label(dataset, "effective_view")
    assert isinstance(label, EffectiveViewLabel)
    assert label.edges_ms == (1000.0,)
    assert label.medians == pytest.approx((0.2, 0.6))
    assert label.rate == pytest.approx(2 / 5)  # a ratio equal to the median is not above it
    # valid: .25 > .2, .625 > .6; test: 9000 ms falls into the upper bucket, .0001 < .6
    assert label.values(ROWS).tolist() == [0, 0, 1, 0, 1, 1, 1, 0]


def test_valid_and_test_rows_change_nothing(make_dataset):
    other = ROWS.with_columns(watch_ms=pl.when(pl.col("split") == "train").then("watch_ms").otherwise(1))
    assert fit_label(make_dataset(ROWS, name="one"), "effective_view") == fit_label(
        make_dataset(other, name="two"), "effective_view"
    )


def test_label_survives_yaml(dataset, tmp_path):
    for name in ("is_click", "effective_view"):
        label = fit_label(dataset, name)
        (tmp_path / "label.yaml").write_text(StoredLabel(label=label).to_yaml())
        assert StoredLabel.load(tmp_path / "label.yaml") == label


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "is_clik",
            ConfigError,
            "label 'is_clik' is not in .*flags: is_click, stay, never; always there: effective_view",
        ),
        ("stay", DataError, "label 'stay' is neither 0 nor 1 in 1 rows"),
        ("never", DataError, "label 'never' has one value only in the train rows .found: mean 0.0"),
    ],
)
def test_bad_labels(dataset, name, error, message):
    with pytest.raises(error, match=message):
        fit_label(dataset, name)
