"""Score features by hand, on jagged rows, and attached to other people's tables."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ranking.score_features import NAMES, VALUES, attach, score_features, with_indicators
from ranking.score_lookup import jagged_of
from segrec.records import ConfigError, DataError, FoldRule, ScoreMeta, ScoreTable, write_score_table

STAY = "stay_probability"


def features_of(rows, kind=STAY):
    return score_features(jagged_of(pl.Series(rows, dtype=pl.List(pl.Float32))), kind)


def by_name(rows, kind=STAY):
    return dict(zip(VALUES, features_of(rows, kind).T, strict=True))


def test_summaries_by_hand():
    found = by_name([[0.5, 1.0, 0.0], [0.25]])
    assert found["mean"] == pytest.approx([0.5, 0.25])
    assert found["max"] == pytest.approx([1.0, 0.25])
    assert found["min"] == pytest.approx([0.0, 0.25])
    assert found["first"] == pytest.approx([0.5, 0.25])
    assert found["last"] == pytest.approx([0.0, 0.25])
    assert found["peak_position"] == pytest.approx([1.5 / 3, 0.5])
    assert found["spread"] == pytest.approx([(1 / 6) ** 0.5, 0.0])


def test_curve_is_linear_between_centres_and_flat_beyond():
    curve = features_of([[0.0, 1.0]])[0, :8]
    # centres of two segments at .25 and .75; points at 1/16, 3/16 ... 15/16
    assert curve == pytest.approx([0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    assert features_of([list(np.linspace(0, 0.7, 8))])[0, :8] == pytest.approx(np.linspace(0, 0.7, 8))
    assert features_of([[0.3]])[0, :8] == pytest.approx([0.3] * 8)


def test_expected_watched_share_by_hand():
    # segment 1: reached by all, half leave in its middle: (1 + .5) / 2 = .75; segment 2: reached by .5: .375
    assert by_name([[0.5, 0.5]])["watched_share"] == pytest.approx([(0.75 + 0.375) / 2])
    assert by_name([[1.0, 1.0, 1.0]])["watched_share"] == pytest.approx([1.0])
    assert by_name([[0.0, 1.0]])["watched_share"] == pytest.approx([0.25])
    assert np.isnan(by_name([[0.5, 0.5]], "relevance")["watched_share"]).all()


def test_first_of_equal_peaks():
    assert by_name([[0.1, 0.9, 0.9, 0.2]])["peak_position"] == pytest.approx([1.5 / 4])


def test_rows_without_scores_are_missing_and_others_stay_in_place():
    found = features_of([None, [0.5], [], [0.5]])
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == pytest.approx(found[3])
    dense = with_indicators(found)
    assert dense.shape == (4, 32)
    assert len(NAMES) == 32
    assert dense[0].tolist() == [0.0] * 16 + [1.0] * 16
    assert dense[1, 16:].tolist() == [0.0] * 16


def test_relevance_may_be_any_number():
    found = by_name([[-3.0, 5.0]], "relevance")
    assert (found["min"], found["max"]) == (pytest.approx([-3.0]), pytest.approx([5.0]))


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([[0.1], [0.2, float("nan")]], STAY, r"segment 1 of row 1 is NaN or infinite .found: nan"),
        ([[0.1, float("inf")]], "relevance", r"segment 1 of row 0 is NaN or infinite"),
        ([None, [], [1.5]], STAY, r"segment 0 of row 2 is no probability .found: 1.5"),
    ],
)
def test_bad_scores(rows, kind, message):
    with pytest.raises(DataError, match=message):
        features_of(rows, kind)


@given(st.lists(st.lists(st.floats(0, 1, width=32), max_size=45), min_size=1, max_size=12))
def test_jagged_rows_equal_each_row_alone(rows):
    together = features_of(rows)
    for row, expected in zip(rows, together, strict=True):
        assert features_of([row])[0] == pytest.approx(expected, nan_ok=True, abs=1e-6)
    full = ~np.isnan(together[:, 0])
    assert full.tolist() == [len(row) > 0 for row in rows]
    assert ((together[full] >= -1e-6) & (together[full] <= 1 + 1e-6)).all()


PERSONAL = pl.DataFrame(
    {"user_id": [1, 2], "item_id": [10, 10], "time_ms": [100, 200], "scores": [[0.5, 0.5], [1.0]]},
    schema_overrides={"scores": pl.List(pl.Float32)},
)
CONTENT = pl.DataFrame({"item_id": [10, 10, 11], "segment": [1, 0, 0], "score": [0.2, 0.8, 0.4]})


def table(path, frame, **changes):
    meta = {
        "form": "personal", "kind": STAY, "encoder": "e", "encoder_hash": "h", "dataset_fingerprint": "f" * 64,
        "segment_ms": 5000, "trained_until_ms": 1, "fitted_on": ["train"], "folds": FoldRule(folds=2), **changes,
    }  # fmt: skip
    write_score_table(path, [frame], ScoreMeta.model_validate(meta))
    return ScoreTable.open(path)


@pytest.fixture
def personal(tmp_path):
    return table(tmp_path / "scores.parquet", PERSONAL)


ROWS = {"user_id": [2, 1, 3], "item_id": [10, 10, 10], "time_ms": [200, 100, 100]}
SHARES = [1.0, 0.5625, 0.0]
MISSING = [0.0, 0.0, 1.0]


def test_attach_to_polars(personal):
    out = attach(pl.DataFrame(ROWS), personal)
    assert out.columns == [*ROWS, *(f"score_{name}" for name in NAMES)]
    assert out["score_watched_share"].to_list() == pytest.approx(SHARES)
    assert out["score_watched_share_missing"].to_list() == MISSING


def test_attach_to_pandas_keeps_the_index(personal):
    out = attach(pd.DataFrame(ROWS, index=[7, 8, 9]), personal, prefix="s_")
    assert out.index.tolist() == [7, 8, 9]
    assert out["s_watched_share"].tolist() == pytest.approx(SHARES)
    assert out["s_mean_missing"].tolist() == MISSING


def test_attach_to_tensors(personal):
    out = attach({name: torch.tensor(values) for name, values in ROWS.items()}, personal)
    assert out["score_watched_share"].dtype == torch.float32
    assert out["score_watched_share"].tolist() == pytest.approx(SHARES)


def test_attach_content_scores_by_item(tmp_path):
    content = table(tmp_path / "content.parquet", CONTENT, form="content", kind="relevance")
    out = attach(pl.DataFrame({"item_id": [11, 10, 12]}), content)
    assert out["score_first"].to_list() == pytest.approx([0.4, 0.8, 0.0])
    assert out["score_last"].to_list() == pytest.approx([0.4, 0.2, 0.0])
    assert out["score_first_missing"].to_list() == MISSING
    assert out["score_watched_share_missing"].to_list() == [1.0] * 3


def test_repeated_keys_in_the_table_do_not_multiply_rows(tmp_path):
    twice = table(tmp_path / "twice.parquet", pl.concat([PERSONAL, PERSONAL]))
    assert attach(pl.DataFrame(ROWS), twice).height == 3


def test_attach_warns_of_in_sample_scores(tmp_path):
    leaky = table(tmp_path / "leaky.parquet", PERSONAL, folds=None)
    with pytest.warns(UserWarning, match="use `segrec score --cross-fit K`"):
        attach(pl.DataFrame(ROWS), leaky)


def test_attach_refuses_scores_of_another_dataset(personal, click_log, tmp_path):
    attach(pl.DataFrame(ROWS), personal, dataset=click_log)
    other = table(tmp_path / "other.parquet", PERSONAL, dataset_fingerprint="0" * 64)
    with pytest.raises(DataError, match="scores belong to another dataset"):
        attach(pl.DataFrame(ROWS), other, dataset=click_log)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (
            pl.DataFrame({"user_id": [1], "item_id": [10]}),
            ConfigError,
            "column 'time_ms' is missing .found: user_id, item_id",
        ),
        ([1, 2], ConfigError, "rows is a list .expected: polars or pandas frame, or a dict of tensors"),
        (
            pl.DataFrame({"user_id": ["a"], "item_id": [10], "time_ms": [100]}),
            DataError,
            "column 'user_id' has another type",
        ),
        (
            pl.DataFrame({"user_id": [77], "item_id": [10], "time_ms": [100]}),
            DataError,
            "has scores for none of these rows",
        ),
    ],
)
def test_bad_rows(personal, rows, error, message):
    with pytest.raises(error, match=message):
        attach(rows, personal)
