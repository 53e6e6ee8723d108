"""Score tables of priors: every row, by hand on valid and test, train rows by fits that did not see them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from ranking.cli import build_app
from segrec.encoders.exit_table import POSITION_STRENGTH
from segrec.encoders.priors import LengthPositionPrior, PositionPrior
from segrec.records import ConfigError, DataError, DatasetFolder
from segrec.scoring.cross_fitting import time_blocks_of
from segrec.scoring.prior_scores import write_prior_scores
from segrec.segments.views import skip_views_of
from segrec.testing.live_dataset import make_live_dataset

KEY = ["user_id", "item_id", "time_ms"]


def test_position_prior_by_hand(interest_dataset: DatasetFolder, small_log: pl.DataFrame, tmp_path: Path) -> None:
    """stay_0 = 1 - (exits in segment 0 + k h) / (views + k), h = the overall hazard; the same for every row."""
    table = write_prior_scores("position", interest_dataset, tmp_path / "p.parquet")
    found = table.frame().collect()
    assert found.height == small_log.height
    train = skip_views_of(interest_dataset, ["train"])
    exits = train.filter(pl.col("exit_segment") < pl.col("n_segments"))
    reached = train.select(pl.min_horizontal(pl.col("exit_segment") + 1, "n_segments").sum()).item()
    overall = (exits.height + 1) / (reached + 2)
    first = exits.filter(pl.col("exit_segment") == 0).height
    stayed = 1 - (first + POSITION_STRENGTH * overall) / (train.height + POSITION_STRENGTH)
    assert found["scores"].list.first().to_numpy() == pytest.approx(stayed, abs=1e-6)
    assert (table.meta.kind, table.meta.encoder, table.meta.fitted_on) == ("stay_probability", "position", ["train"])
    assert "cross-fit" in str(table.leak_warning())


def test_train_rows_are_scored_by_fits_that_did_not_see_them(interest_dataset: DatasetFolder, tmp_path: Path) -> None:
    table = write_prior_scores("length_position", interest_dataset, tmp_path / "p.parquet", cross_fit=3)
    assert table.leak_warning() is None
    train, valid = skip_views_of(interest_dataset, ["train"]), skip_views_of(interest_dataset, ["valid"])
    found = table.frame().collect()
    for block in time_blocks_of(interest_dataset, 3):
        hidden = pl.col("time_ms").is_between(block.from_ms, block.to_ms, closed="left")
        prior, asked = LengthPositionPrior.fit(train.filter(~hidden), valid), train.filter(hidden)
        wanted = prior.predict(asked).stay()
        scores = asked.select(KEY).join(found, on=KEY, how="left", maintain_order="left")["scores"]
        assert [row[0] for row in scores.to_list()] == pytest.approx(wanted[:, 0].tolist(), abs=1e-6)
    later = valid.select(KEY).join(found, on=KEY, how="left", maintain_order="left")["scores"]
    whole = LengthPositionPrior.fit(train, valid).predict(valid).stay()
    assert [row[0] for row in later.to_list()] == pytest.approx(whole[:, 0].tolist(), abs=1e-6)


def test_without_folds_all_rows_have_one_fit(interest_dataset: DatasetFolder, tmp_path: Path) -> None:
    table = write_prior_scores("position", interest_dataset, tmp_path / "p.parquet")
    prior = PositionPrior.fit(skip_views_of(interest_dataset, ["train"]))
    test = skip_views_of(interest_dataset, ["test"])
    scores = test.select(KEY).join(table.frame().collect(), on=KEY, how="left", maintain_order="left")["scores"]
    assert scores[0].to_list() == pytest.approx(prior.predict(test).stay()[0, : len(scores[0])].tolist(), abs=1e-6)


def test_refusals(interest_dataset: DatasetFolder, tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    with pytest.raises(ConfigError, match=r"unknown prior 'sasrec' .known: random, position, .*lightgbm_hazard"):
        write_prior_scores("sasrec", interest_dataset, out)
    with pytest.raises(ConfigError, match="--cross-fit needs at least 2 folds"):
        write_prior_scores("item", interest_dataset, out, cross_fit=1)
    with pytest.raises(DataError, match="holds live rooms"):
        write_prior_scores("item", make_live_dataset(tmp_path / "live", rooms=6, segments=4, width=4), out)
    assert not out.exists()


def test_command(interest_dataset: DatasetFolder, tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    words = ["score", "--prior", "user_shrunk", str(interest_dataset.path), "--cross-fit", "2", "--out", str(out)]
    done = CliRunner().invoke(build_app(), words, catch_exceptions=False)
    assert "stay_probability by user_shrunk" in done.stdout
    with pytest.raises(ConfigError, match="two sources of scores"):
        CliRunner().invoke(build_app(), [*words, "--overwrite", "--import", "x.csv"], catch_exceptions=False)
