"""Score tables: streams equal one pass, every row has its scores, train rows out of fold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segrec.encoders import find_encoder
from segrec.encoders.encoder_runs import fit_encoder, thaw
from segrec.encoders.prediction import ExitPrediction, RankPrediction
from segrec.freezing import FrozenEncoder
from segrec.records import ConfigError, DataError, DatasetFolder, RunFolder, ScoreTable
from segrec.scoring.batch import chunks_with_past, score_frame, score_views
from segrec.scoring.cross_fitting import time_blocks_of
from segrec.scoring.score_tables import write_scores
from segrec.segments.views import skip_views_of

SMALL = ("epochs=2", "batch_size=64", "width=16", "min_count=2", "device=cpu")


def run_on(dataset: DatasetFolder, out: Path, *sets: str) -> RunFolder:
    config = find_encoder("segment_interest").Config.of(sets=[*SMALL, *sets])
    return fit_encoder("segment_interest", config, dataset, out)[0]


@pytest.fixture(scope="module")
def run(interest_dataset: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_on(interest_dataset, tmp_path_factory.mktemp("runs") / "hazard")


@pytest.fixture(scope="module")
def scored(run: RunFolder, interest_dataset: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> ScoreTable:
    return write_scores(run, interest_dataset, tmp_path_factory.mktemp("scores") / "scores.parquet")


def test_every_row_is_scored_on_its_grid(scored: ScoreTable, small_log: pl.DataFrame) -> None:
    """Rows with watch_ms = 0 and videos of 200 s and more too; one score a segment, 40 at most."""
    found = scored.frame().collect()
    assert found.height == small_log.height
    joined = found.join(small_log, on=["user_id", "item_id", "time_ms"], how="inner")
    assert joined.height == small_log.height
    expected = (joined["duration_ms"] / 5000).ceil().clip(upper_bound=40)
    assert joined["scores"].list.len().cast(pl.Float64).equals(expected.cast(pl.Float64), check_names=False)
    values = joined["scores"].explode()
    assert values.is_between(0, 1).all()


def test_table_says_where_it_comes_from(scored: ScoreTable, run: RunFolder, small_log: pl.DataFrame) -> None:
    meta = scored.meta
    train = small_log.filter(pl.col("split") == "train")
    assert (meta.kind, meta.encoder, meta.folds) == ("stay_probability", "segment_interest:hazard", None)
    assert meta.encoder_hash == FrozenEncoder.open(run.frozen).hash
    assert meta.trained_until_ms == train["time_ms"].max()
    assert meta.fitted_on == ["train"]
    assert "use `segrec score --cross-fit K`" in str(scored.leak_warning())


def test_streamed_scores_equal_those_in_memory(
    scored: ScoreTable, run: RunFolder, interest_dataset: DatasetFolder
) -> None:
    views = skip_views_of(interest_dataset, ["valid", "test"])
    predicted = score_views(FrozenEncoder.open(run.frozen), interest_dataset, views)
    assert isinstance(predicted, ExitPrediction)
    wanted = score_frame(views, predicted)
    found = wanted.drop("scores").join(scored.frame().collect(), on=["user_id", "item_id", "time_ms"], how="left")
    for one, other in zip(found["scores"].to_list(), wanted["scores"].to_list(), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("chunk_rows", [1, 7, 1000])
def test_chunks_do_not_change_a_score(run: RunFolder, interest_dataset: DatasetFolder, chunk_rows: int) -> None:
    encoder = thaw(FrozenEncoder.open(run.frozen))
    surroundings = encoder.surroundings(interest_dataset)
    parts = []
    for number, (views, log) in enumerate(chunks_with_past(interest_dataset, encoder, chunk_rows)):
        if chunk_rows > 1 or number % 40 == 0:
            parts.append((views, encoder.predict(views, log, surroundings)))
    whole = next(chunks_with_past(interest_dataset, encoder, 10**9))
    assert sum(views.height for views, _ in parts) in (480, 12)
    assert whole[0]["time_ms"].is_sorted()
    asked = pl.concat([views for views, _ in parts])
    again = score_views(FrozenEncoder.open(run.frozen), interest_dataset, asked)
    found = np.concatenate([predicted.skip_scores() for _, predicted in parts])
    assert found == pytest.approx(again.skip_scores(), rel=1e-4, abs=1e-5)


def test_ranking_variants_give_relevance(interest_dataset: DatasetFolder, tmp_path: Path) -> None:
    run = run_on(interest_dataset, tmp_path / "paper", "variant=paper", "layers=1")
    table = write_scores(run, interest_dataset, tmp_path / "scores.parquet")
    assert (table.meta.kind, table.meta.encoder) == ("relevance", "segment_interest:paper")
    views = skip_views_of(interest_dataset, ["test"])
    assert isinstance(score_views(FrozenEncoder.open(run.frozen), interest_dataset, views), RankPrediction)


def test_another_grid_is_refused(
    run: RunFolder, make_interest_dataset: Callable[..., DatasetFolder], small_log: pl.DataFrame
) -> None:
    dataset = make_interest_dataset(small_log)
    file = dataset.path / "dataset.json"
    file.write_text(file.read_text().replace('"segment_ms": 5000', '"segment_ms": 4000'))
    other = DatasetFolder.open(dataset.path)
    with pytest.raises(DataError, match=r"cut into other segments .*found: 4000 ms; expected: 5000 ms"):
        score_views(FrozenEncoder.open(run.frozen), other, skip_views_of(other, ["test"]))


def test_time_blocks_cover_the_train_rows_once(interest_dataset: DatasetFolder, small_log: pl.DataFrame) -> None:
    blocks = time_blocks_of(interest_dataset, 3)
    train = small_log.filter(pl.col("split") == "train")
    inside = [train.filter(~block.kept()).height for block in blocks]
    assert sum(inside) == train.height
    assert max(inside) - min(inside) <= 1
    assert small_log.filter(pl.col("split") != "train", *(~block.kept() for block in blocks)).is_empty()


@pytest.mark.parametrize(("folds", "error"), [(1, ConfigError), (10**6, DataError)])
def test_bad_folds(interest_dataset: DatasetFolder, folds: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="fold"):
        time_blocks_of(interest_dataset, folds)


def test_cross_fitted_scores(
    run: RunFolder, scored: ScoreTable, interest_dataset: DatasetFolder, tmp_path: Path, small_log: pl.DataFrame
) -> None:
    """Valid and test rows as by the full encoder, train rows otherwise; the table says so."""
    table = write_scores(run, interest_dataset, tmp_path / "folds.parquet", cross_fit=2)
    assert table.meta.folds is not None
    assert table.leak_warning() is None
    key = ["user_id", "item_id", "time_ms"]
    both = (
        scored.frame().join(table.frame(), on=key, suffix="_folds").join(small_log.lazy().select(*key, "split"), on=key)
    ).collect()
    assert both.height == small_log.height
    train = pl.col("split") == "train"
    same = both.filter(~train)
    for one, other in zip(same["scores"].to_list(), same["scores_folds"].to_list(), strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    changed = both.filter(train)
    assert (changed["scores"] != changed["scores_folds"]).mean() > 0.9


def test_a_cross_fitted_score_does_not_know_its_own_label(
    make_interest_dataset: Callable[..., DatasetFolder], small_log: pl.DataFrame, run: RunFolder, tmp_path: Path
) -> None:
    """One train row's outcome is turned round: its own score stays bit by bit, some others' change."""
    row = 100
    turned = small_log.with_row_index().with_columns(
        watch_ms=pl.when(pl.col("index") == row)
        .then(pl.when(pl.col("watch_ms") > 4000).then(1).otherwise(pl.col("duration_ms")))
        .otherwise("watch_ms")
    )
    assert turned["watch_ms"][row] != small_log["watch_ms"][row]
    frames = []
    for name, log in (("as-it-was", small_log), ("turned", turned.drop("index"))):
        dataset = make_interest_dataset(log, name)
        table = write_scores(run, dataset, tmp_path / f"{name}.parquet", cross_fit=2)
        frames.append(table.frame().collect().sort("time_ms"))
    assert frames[0]["scores"][row].to_list() == frames[1]["scores"][row].to_list()
    assert frames[0].filter(frames[0]["scores"] != frames[1]["scores"]).height > 0


def test_a_run_of_another_dataset_cannot_be_cross_fitted(
    run: RunFolder, make_interest_dataset: Callable[..., DatasetFolder], small_log: pl.DataFrame, tmp_path: Path
) -> None:
    dataset = make_interest_dataset(small_log)
    file = dataset.path / "dataset.json"
    file.write_text(file.read_text().replace("f" * 64, "e" * 64))
    other = DatasetFolder.open(dataset.path)
    with pytest.raises(DataError, match="was fitted on another dataset"):
        write_scores(run, other, tmp_path / "scores.parquet", cross_fit=2)
    assert not (tmp_path / "scores.parquet").exists()
    assert write_scores(run, other, tmp_path / "plain.parquet").meta.fitted_on is None
