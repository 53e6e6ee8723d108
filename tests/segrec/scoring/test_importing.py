"""Somebody else's scores: good ones become a table, bad ones one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from segrec.records import ConfigError, DataError, DatasetFolder, ScoreTable
from segrec.scoring.importing import ImportRequest, import_scores
from segrec.segments.views import with_grid

KEY = ["user_id", "item_id", "time_ms"]


@pytest.fixture(scope="module")
def given(interest_dataset: DatasetFolder) -> pl.DataFrame:
    """Scores 0, .1, .2 ... for each row."""
    rows = with_grid(interest_dataset.interactions(), interest_dataset).collect()
    scores = [[place / 100 for place in range(length)] for length in rows["n_segments"]]
    return rows.select(*KEY).with_columns(scores=pl.Series(scores, dtype=pl.List(pl.Float64)))


def bring(dataset: DatasetFolder, given: pl.DataFrame, folder: Path, kind: str = "relevance") -> tuple[ScoreTable, str]:
    file = folder / "given.parquet"
    given.write_parquet(file)
    return import_scores(ImportRequest.of(file, "2022-01-11", kind), dataset, folder / "scores.parquet")


def test_scores_come_back(interest_dataset: DatasetFolder, given: pl.DataFrame, tmp_path: Path) -> None:
    table, note = bring(interest_dataset, given, tmp_path, "stay_probability")
    assert note == "rows with scores: train 100.0%, valid 100.0%, test 100.0%"
    assert (table.meta.encoder, table.meta.kind, table.meta.fitted_on) == ("imported", "stay_probability", None)
    assert table.meta.trained_until_ms == 1_641_945_599_999  # 2022-01-11T23:59:59.999Z
    found = given.join(table.frame().collect(), on=KEY, how="left")
    assert found["scores"].cast(pl.List(pl.Float32)).equals(found["scores_right"], check_names=False)


def test_csv_with_lists_as_text(interest_dataset: DatasetFolder, given: pl.DataFrame, tmp_path: Path) -> None:
    file = tmp_path / "given.csv"
    text = ["[" + ", ".join(map(str, scores)) + "]" for scores in given["scores"].to_list()]
    given.with_columns(scores=pl.Series(text)).write_csv(file)
    request = ImportRequest.of(file, "2022-01-11", "relevance")
    table, _ = import_scores(request, interest_dataset, tmp_path / "scores.parquet")
    assert table.frame().collect()["scores"].list.sum().sum() == pytest.approx(given["scores"].list.sum().sum())


def test_part_of_the_rows_is_told(interest_dataset: DatasetFolder, given: pl.DataFrame, tmp_path: Path) -> None:
    _, note = bring(interest_dataset, given.gather_every(2), tmp_path)
    assert "train 5" in note or "train 4" in note


def test_a_key_that_the_log_holds_twice_may_have_two_rows(
    make_interest_dataset: Callable[..., DatasetFolder], small_log: pl.DataFrame, given: pl.DataFrame, tmp_path: Path
) -> None:
    dataset = make_interest_dataset(pl.concat([small_log, small_log[:1].with_columns(tab=pl.lit(9, pl.Int16))]))
    table, _ = bring(dataset, pl.concat([given, given[:1]]), tmp_path)
    assert table.frame().collect().height == given.height + 1


def scores_of(row: int, value: list[float | None]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def change(given: pl.DataFrame) -> pl.DataFrame:
        listed = given["scores"].to_list()
        listed[row] = value if len(value) != 1 else value * len(listed[row])
        return given.with_columns(scores=pl.Series(listed, dtype=pl.List(pl.Float64)))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: given.drop("scores"), "column 'scores' is missing"),
        (lambda given: given.rename({"item_id": "video"}), "column 'item_id' is missing"),
        (lambda given: given.with_columns(user_id=pl.lit("u")), "has values of another type"),
        (lambda given: given.with_columns(scores=pl.lit(1.0)), "has values of another type"),
        (scores_of(2, [float("nan")]), "row 3 has a NaN or infinite score"),
        (scores_of(2, [float("inf")]), "row 3 has a NaN or infinite score"),
        (scores_of(2, [None]), "row 3 has a missing score"),
        (scores_of(2, [7.0]), r"row 3 has a stay probability outside \[0, 1\]"),
        (scores_of(2, [0.1] * 99), "row 3 has another number of scores than its video has segments .*found: 99"),
        (lambda given: given.with_columns(time_ms=pl.col("time_ms") + 1), "is not in the dataset"),
        (lambda given: pl.concat([given, given[:1]]), "row 481 .* not that often"),
        (lambda given: given[:10], "scores no row of the valid split"),
    ],
)
def test_bad_scores_are_one_line_and_leave_nothing(
    interest_dataset: DatasetFolder,
    given: pl.DataFrame,
    tmp_path: Path,
    change: Callable[[pl.DataFrame], pl.DataFrame],
    message: str,
) -> None:
    with pytest.raises(DataError, match=message) as refused:
        bring(interest_dataset, change(given), tmp_path, "stay_probability")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "scores.parquet").exists()


def test_an_unreadable_file(interest_dataset: DatasetFolder, tmp_path: Path) -> None:
    file = tmp_path / "given.parquet"
    file.write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match="cannot be read"):
        import_scores(ImportRequest.of(file, "2022-01-11", "relevance"), interest_dataset, tmp_path / "out.parquet")


@pytest.mark.parametrize(
    ("until", "kind", "folds", "message"),
    [
        (None, "relevance", None, "--import needs --trained-until"),
        ("yesterday", "relevance", None, "'yesterday' is not a date"),
        ("2022-01-01", "probability", None, "--kind 'probability' is unknown .*relevance, stay_probability|known: "),
        ("2022-01-01", "relevance", 3, "--cross-fit .* cannot go with --import"),
    ],
)
def test_bad_requests(until: str | None, kind: str, folds: int | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImportRequest.of(Path("given.parquet"), until, kind, folds)
