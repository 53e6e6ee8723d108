"""Boosted hazard: learns what there is, repeats itself, answers any view, and says how to get LightGBM."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segrec.encoders.boosted_hazard import BoostedHazard, BoostedHazardConfig
from segrec.encoders.exit_table import Outcomes
from segrec.encoders.priors import LengthPositionPrior
from segrec.records import ConfigError, DatasetFolder, DatasetMeta, SplitRule

QUICK = BoostedHazardConfig(
    rounds=150, rounds_without_valid=40, patience=20, min_rows_a_leaf=20, learning_rate=0.1, threads=1
)


def made_views(rows: int, seed: int) -> pl.DataFrame:
    """Page 1 loses its viewers fast, page 0 does not; some users leave sooner than others."""
    random = np.random.default_rng(seed)
    tab, users, items = random.integers(0, 2, rows), random.integers(0, 20, rows), random.integers(0, 30, rows)
    lengths = 1 + items % 5
    exits = np.minimum(random.geometric(np.where(tab == 1, 0.6, 0.1) + 0.015 * users) - 1, lengths)
    return pl.DataFrame(
        {
            "user_id": users, "item_id": items, "author_id": items // 3, "time_ms": np.arange(rows) * 1000,
            "duration_ms": lengths * 5000, "tab": tab, "n_segments": lengths, "exit_segment": exits,
        }
    )  # fmt: skip


TRAIN, VALID, TEST = made_views(3000, 0), made_views(600, 1), made_views(800, 2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    meta = DatasetMeta(
        format="table", split=SplitRule(rule="time"), rows={"train": 3000}, context=["tab"],
        licence="-", source="-", fingerprint="-",
    )  # fmt: skip
    return DatasetFolder(tmp_path_factory.mktemp("bare"), meta)


@pytest.fixture(scope="module")
def fitted(dataset: DatasetFolder) -> BoostedHazard:
    return BoostedHazard.fit(TRAIN, VALID, dataset, QUICK)


def nll(model: BoostedHazard | LengthPositionPrior, views: pl.DataFrame) -> float:
    return float(-model.predict(views).log_likelihood(Outcomes.of(views).exits).mean())


def test_it_finds_page_and_user(fitted: BoostedHazard) -> None:
    assert nll(fitted, TEST) < nll(LengthPositionPrior.fit(TRAIN, VALID), TEST) - 0.1
    told = fitted.importance()
    assert told["column"][0] == "tab"
    assert told["gain"].sum() == pytest.approx(1.0)


def test_it_stops_early_on_valid(fitted: BoostedHazard) -> None:
    assert 0 < fitted.booster.best_iteration < 150


def test_outcomes_of_the_predicted_views_are_not_looked_at(fitted: BoostedHazard) -> None:
    hidden = TEST.drop("exit_segment")
    assert (fitted.predict(hidden).log_exit == fitted.predict(TEST).log_exit).all()


def test_the_same_seed_gives_the_same_trees(fitted: BoostedHazard, dataset: DatasetFolder) -> None:
    again = BoostedHazard.fit(TRAIN, VALID, dataset, QUICK)
    assert (again.predict(TEST).log_end == fitted.predict(TEST).log_end).all()


def test_rows_sum_to_one_in_any_order_and_chunk(fitted: BoostedHazard, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fitted.predict(TEST)
    assert np.exp(found.log_exit).sum(axis=1) + np.exp(found.log_end) == pytest.approx(1.0, abs=1e-5)
    monkeypatch.setattr("segrec.encoders.boosted_hazard._VIEWS_AT_ONCE", 31)
    assert (fitted.predict(TEST.reverse()).log_end[::-1] == found.log_end).all()


def test_unseen_ids_longer_videos_and_no_view_are_answered(fitted: BoostedHazard) -> None:
    strange = TEST.head(1).with_columns(user_id=pl.lit(-1), item_id=pl.lit(-1), n_segments=pl.lit(40))
    found = fitted.predict(strange)
    assert found.log_exit.shape == (1, 40)
    assert np.isfinite(found.log_exit).all()
    assert len(fitted.predict(TEST.clear())) == 0


def test_without_valid_views_it_takes_the_given_rounds(dataset: DatasetFolder) -> None:
    found = BoostedHazard.fit(TRAIN, VALID.clear(), dataset, QUICK)
    assert found.booster.current_iteration() == 40


def test_max_views_keeps_the_newest_rows(dataset: DatasetFolder) -> None:
    few = QUICK.model_copy(update={"max_views": 500})
    assert nll(BoostedHazard.fit(TRAIN, VALID, dataset, few), TEST) < nll(LengthPositionPrior.fit(TRAIN), TEST)


def test_missing_lightgbm_is_one_line_with_the_fix(dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ConfigError, match="LightGBM, which is not installed; pip install lightgbm"):
        BoostedHazard.fit(TRAIN, VALID, dataset, QUICK)


@pytest.mark.parametrize(("key", "value"), [("folds", 1), ("feature_share", 0.0), ("rounds", 0), ("leafs", 3)])
def test_bad_settings_are_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key):
        BoostedHazardConfig.checked({key: value})


def test_on_the_real_sample_it_beats_the_shrunk_item_prior(samples: Path, tmp_path: Path) -> None:
    from segrec.datasets import ReadOptions, find_reader, write_dataset
    from segrec.encoders.priors import ItemShrunkPrior
    from segrec.segments.views import skip_views_of
    from segrec.splitting import SplitRequest

    asked = SplitRequest.asked(None, "2022-04-29", "2022-04-30")
    options = ReadOptions.checked({"split": asked, "only": "is_click"})
    read = write_dataset(find_reader("kuairand")(samples / "kuairand_pure_sample", options), tmp_path / "d", options)
    train, valid, test = (skip_views_of(read, [split]) for split in ("train", "valid", "test"))
    trees = BoostedHazard.fit(train, valid, read, BoostedHazardConfig(threads=1, learning_rate=0.1))
    assert nll(trees, test) < ItemShrunkPrior.fit(train, valid).nll(test) - 0.01
