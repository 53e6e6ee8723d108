from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from segrec.records import DataError, DatasetFolder, DatasetMeta, SplitRule
from segrec.worlds.oracle import Oracle, share_of_oracle_lift

TRUTH = pl.DataFrame(
    {
        "user_id": [1, 1, 2],
        "item_id": [7, 8, 7],
        "time_ms": [10, 20, 30],
        "interest": [[0.1, 0.2], [0.3], [0.5, 0.6]],
        "hazard": [[0.5, 0.4], [0.25], [0.2, 0.1]],
        "click_probability": [0.9, 0.8, 0.7],
        "long_view_probability": [0.3, 0.2, 0.1],
    }
)


def test_exit_distribution_in_the_order_of_the_views():
    views = TRUTH.select("user_id", "item_id", "time_ms")[[1, 0]]
    prediction = Oracle(TRUTH).predict(views)
    assert prediction.lengths.tolist() == [1, 2]
    assert np.exp(prediction.log_exit) == pytest.approx(np.array([[0.25, 0.0], [0.5, 0.2]]))
    assert np.exp(prediction.log_end) == pytest.approx(np.array([0.75, 0.3]))
    assert Oracle(TRUTH).name == "oracle"


def test_flags_and_interest_in_the_order_of_the_rows():
    rows = TRUTH.select("time_ms", "user_id", "item_id")[[2, 0]]
    assert Oracle(TRUTH).flag_probability(rows, "is_click") == pytest.approx([0.7, 0.9])
    assert Oracle(TRUTH).flag_probability(rows, "long_view") == pytest.approx([0.1, 0.3])
    assert Oracle(TRUTH).interest(rows).to_list() == [[0.5, 0.6], [0.1, 0.2]]


def test_keys_of_another_type_still_meet():
    rows = TRUTH.select(pl.col("user_id", "item_id").cast(pl.String), "time_ms")
    assert Oracle(TRUTH).flag_probability(rows, "is_click") == pytest.approx([0.9, 0.8, 0.7])


def test_no_views():
    assert len(Oracle(TRUTH).predict(TRUTH.clear())) == 0


def test_a_view_of_another_world_is_refused():
    strange = TRUTH.with_columns(time_ms=pl.col("time_ms") + 1)
    with pytest.raises(DataError, match=r"knows nothing of .*\(1, 7, 11\)"):
        Oracle(TRUTH).predict(strange)


def test_views_on_another_grid_are_refused():
    views = TRUTH.with_columns(n_segments=pl.Series([2, 1, 2], dtype=pl.Int32))
    assert len(Oracle(TRUTH).predict(views)) == 3
    with pytest.raises(DataError, match=r"another segment grid than the views \(expected: 5000 ms\)"):
        Oracle(TRUTH).predict(views.with_columns(n_segments=pl.lit(1, pl.Int32)))


def test_a_dataset_without_truth_is_refused(tmp_path):
    meta = DatasetMeta(
        format="table", split=SplitRule(rule="time"), rows={}, licence="none", source="here", fingerprint="0"
    )
    with pytest.raises(DataError, match=r"has no truth\.parquet"):
        Oracle.of(DatasetFolder(tmp_path, meta))


def test_share_of_the_lift_by_hand():
    # NLL (small is good): prior 1.5, oracle 1.1, model 1.3: half of the way. AUC: .70 -> .80, model .78.
    assert share_of_oracle_lift(1.3, 1.5, 1.1) == pytest.approx(0.5)
    assert share_of_oracle_lift(0.78, 0.70, 0.80) == pytest.approx(0.8)
    assert share_of_oracle_lift(1.6, 1.5, 1.1) == pytest.approx(-0.25)
    assert math.isnan(share_of_oracle_lift(1.0, 1.5, 1.5))
