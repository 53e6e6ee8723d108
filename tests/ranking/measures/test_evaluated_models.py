"""Runs and files under names that tell them apart, and refusals of what cannot be compared."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ranking.evaluation import Prediction
from ranking.measures.evaluated_models import (
    NamedPath,
    check_distinct,
    common_labels,
    file_predictions,
    model_names,
    run_prediction,
)
from ranking.measures.outcomes import Outcomes
from ranking.rankers import find_ranker
from ranking.targets.labels import fit_label
from ranking.training.ranker_run import train_ranker
from segrec.records import KEY, ConfigError, DataError, DatasetFolder, RunFolder


@pytest.fixture(scope="module")
def runs(click_log, tmp_path_factory) -> dict[str, RunFolder]:
    """Two seeds of one setting, and one of another."""
    folder = tmp_path_factory.mktemp("runs")
    fast = {"device": "cpu", "batch_size": 500, "epochs": 1, "embedding_dim": 4}
    made = {"a": fast, "b": {**fast, "seed": 1}, "wide": {**fast, "embedding_dim": 8}}
    return {
        name: train_ranker(
            "logistic_regression", click_log, folder / name, label="is_click",
            config=find_ranker("logistic_regression").config.checked(values),
        )[0]
        for name, values in made.items()
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "path", "name"),
    [("runs/a", "runs/a", None), ("mine=runs/a", "runs/a", "mine"), ("a=b=c", "b=c", "a"), ("=x", "=x", None)],
)
def test_names_before_paths(text, path, name):
    assert NamedPath.parse(text) == NamedPath(Path(path), name)


def test_an_existing_path_with_an_equals_sign_is_a_path(tmp_path):
    folder = tmp_path / "lr=0.1"
    folder.mkdir()
    assert NamedPath.parse(str(folder)) == NamedPath(folder)


def test_seeds_share_a_name_and_other_settings_do_not(runs):
    assert model_names([runs["a"], runs["b"]]) == ["logistic_regression"] * 2
    assert model_names([runs["a"], runs["wide"]]) == ["logistic_regression (a)", "logistic_regression (wide)"]
    assert model_names([runs["a"], runs["wide"]], [None, "wide"]) == ["logistic_regression", "wide"]


def test_a_runs_prediction_lies_in_the_rows_order(runs, click_log):
    outcomes = Outcomes.of(click_log, common_labels([runs["b"]])[0], "test")
    found = run_prediction(runs["b"], "model", click_log, outcomes)
    assert (found.model, found.seed, len(found.probabilities)) == ("model", 1, len(outcomes.labels))
    assert found.probabilities.min() > 0
    with pytest.raises(DataError, match="was trained on the train rows; evaluate on valid or test"):
        run_prediction(runs["b"], "model", click_log, Outcomes.of(click_log, fit_label(click_log, "is_click"), "train"))


def test_a_run_of_newer_rows_of_another_dataset_is_refused(runs, click_log):
    other = DatasetFolder(click_log.path, click_log.meta.model_copy(update={"fingerprint": "e" * 64}))
    outcomes = Outcomes.of(other, fit_label(other, "is_click"), "test")
    assert len(run_prediction(runs["a"], "m", other, outcomes).probabilities) == len(outcomes.labels)
    newer = RunFolder(runs["a"].path, runs["a"].meta.model_copy(update={"trained_until_ms": 2_000_000_000_000}))
    with pytest.raises(DataError, match="was trained on another dataset, on rows as new as these test rows"):
        run_prediction(newer, "m", other, outcomes)


def test_one_label_for_all(runs):
    liked = RunFolder(runs["b"].path, runs["b"].meta.model_copy(update={"label": "is_like"}))
    with pytest.raises(ConfigError, match="runs of different labels cannot be compared"):
        common_labels([runs["a"], liked])
    with pytest.raises(ConfigError, match="no ranker run given"):
        common_labels([])


def test_files_of_one_name_are_its_seeds(click_log, tmp_path):
    outcomes = Outcomes.of(click_log, fit_label(click_log, "is_click"), "test")
    for name in ("x", "y", "z"):
        outcomes.rows.select(KEY).with_columns(prediction=pl.lit(0.5)).write_parquet(tmp_path / f"{name}.parquet")
    files = [
        NamedPath(tmp_path / "x.parquet", "trees"),
        NamedPath(tmp_path / "y.parquet", "trees"),
        NamedPath(tmp_path / "z.parquet"),
    ]
    found = file_predictions(files, outcomes)
    assert [(one.model, one.seed) for one in found] == [("trees", 0), ("trees", 1), ("z", None)]


def test_the_same_model_and_seed_twice_is_refused():
    one = Prediction("m", [0.5], 0)
    check_distinct([one, Prediction("m", [0.5], 1)])
    with pytest.raises(ConfigError, match="model m, seed 0 was given twice; name one of them: NAME=PATH"):
        check_distinct([one, one])
