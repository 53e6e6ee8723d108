"""Score tables: written in streams, opened with their papers, refused where they would lie."""

from __future__ import annotations

import polars as pl
import pytest

from segrec.records import (
    DataError,
    DatasetFolder,
    DatasetMeta,
    FoldRule,
    ScoreMeta,
    ScoreTable,
    SplitRule,
    write_score_table,
)

META = ScoreMeta(
    form="personal", kind="stay_probability", encoder="segment_interest", encoder_hash="e", dataset_fingerprint="f",
    segment_ms=5000, trained_until_ms=20, fitted_on=["train"],
)  # fmt: skip


def _personal(user, scores):
    return pl.DataFrame({"user_id": [user], "item_id": [1], "time_ms": [2], "scores": [scores], "more": [0]})


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "data"
    (folder / "interactions" / "day=1970-01-01").mkdir(parents=True)
    frame = pl.DataFrame({"time_ms": [10, 20, 30], "split": ["train", "valid", "test"]})
    frame.write_parquet(folder / "interactions" / "day=1970-01-01" / "part-00000.parquet")
    meta = DatasetMeta(
        format="table", split=SplitRule(rule="time"), rows={"train": 1, "valid": 1, "test": 1}, licence="", source="",
        fingerprint="f",
    )  # fmt: skip
    return DatasetFolder(folder, meta)


def test_personal_scores_round_trip(tmp_path):
    frames = [_personal(1, [0.5, 0.25]), _personal(2, []), _personal(3, [1.0])]
    assert write_score_table(tmp_path / "s.parquet", iter(frames), META) == 3
    table = ScoreTable.open(tmp_path / "s.parquet")
    assert table.meta == META
    frame = table.frame().collect()
    assert frame.schema["scores"] == pl.List(pl.Float32)
    assert frame.rows() == [(1, 1, 2, [0.5, 0.25]), (2, 1, 2, []), (3, 1, 2, [1.0])]


def test_content_scores_round_trip(tmp_path):
    meta = META.model_copy(update={"form": "content", "folds": FoldRule(folds=3)})
    write_score_table(tmp_path / "s.parquet", [pl.DataFrame({"item_id": ["a"], "segment": [0], "score": [1]})], meta)
    table = ScoreTable.open(str(tmp_path / "s.parquet"))
    assert table.meta == meta
    assert table.frame().collect().rows() == [("a", 0, 1.0)]


def test_no_row_no_file(tmp_path):
    with pytest.raises(DataError, match="no row to score"):
        write_score_table(tmp_path / "s.parquet", iter([]), META)
    assert list(tmp_path.iterdir()) == []


def test_not_a_score_table(tmp_path):
    file = tmp_path / "s.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(file)
    with pytest.raises(DataError, match=r"is not a score table .*bring it in with `segrec score --import`"):
        ScoreTable.open(file)
    file.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        ScoreTable.open(file)


def _check(tmp_path, dataset, tested_on="test", **changes):
    write_score_table(tmp_path / "s.parquet", [_personal(1, [0.5])], META.model_copy(update=changes))
    ScoreTable.open(tmp_path / "s.parquet").check_usable(dataset, tested_on)


def test_usable_scores_pass(tmp_path, dataset):
    _check(tmp_path, dataset)
    _check(tmp_path, dataset, fitted_on=["train", "valid"], trained_until_ms=29)
    _check(tmp_path, dataset, fitted_on=None, trained_until_ms=29)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segment_ms": 3000}, r"another segment grid .found: 3000 ms; expected: 5000 ms"),
        ({"dataset_fingerprint": "g"}, r"belong to another dataset .found: g; expected: f"),
        ({"fitted_on": ["train", "test"]}, "were fitted on the test rows"),
        ({"fitted_on": None, "trained_until_ms": None}, "does not say until when it was trained"),
        ({"fitted_on": None, "trained_until_ms": 30}, "as new as the test rows .*until 30, first test row at 30"),
    ],
)  # fmt: skip
def test_scores_that_would_lie(tmp_path, dataset, changes, message):
    with pytest.raises(DataError, match=message):
        _check(tmp_path, dataset, **changes)


def test_valid_is_measured_on_valid_rows(tmp_path, dataset):
    with pytest.raises(DataError, match="were fitted on the valid rows"):
        _check(tmp_path, dataset, "valid", fitted_on=["train", "valid"])


def test_in_sample_scores_are_told(tmp_path):
    def warning(**changes):
        return ScoreTable(tmp_path, META.model_copy(update=changes)).leak_warning()

    assert "use `segrec score --cross-fit K`" in (warning() or "")
    assert warning(folds=FoldRule(folds=2)) is None
    assert warning(form="content") is None
