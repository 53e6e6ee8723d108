"""`segrec evaluate skip` end to end on a made world: priors, trees, oracle, runs of two seeds, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from ranking.cli import build_app
from segrec.encoders.prediction import ExitPrediction, RankPrediction, SkipPrediction
from segrec.encoders.priors import ItemShrunkPrior, RandomPrior
from segrec.records import DatasetFolder, MetricRow, RunMeta, SegrecError, read_metric_rows, write_run_meta
from segrec.segments.views import skip_views_of
from segrec.skip_evaluation import SkipSplits, oracle_answer, run_answer

PUBLISHED = {
    "random:published",
    *(f"{k}:{how}" for k in ("position", "user", "item") for how in ("bernoulli", "static")),
}
PRIORS = {"random", "position", "length_position", "user", "item", "user_shrunk", "item_shrunk"}


def evaluate(*arguments: str | Path) -> str:
    """The command's output; SegrecError as the command line turns it into exit code 2."""
    done = CliRunner().invoke(build_app(), ["evaluate", "skip", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def measured(small_world: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[MetricRow]]:
    out = tmp_path_factory.mktemp("out") / "skip.json"
    told = evaluate(small_world.path, "--out", out, "--threads", "1", "--prior", "user_shrunk")
    return told, read_metric_rows(out)


def test_all_baselines_stand_in_the_table(measured: tuple[str, list[MetricRow]]) -> None:
    told, rows = measured
    models = {row.model for row in rows}
    assert models == PUBLISHED | PRIORS | {"lightgbm_hazard", "oracle", "observed"}
    assert {row.protocol for row in rows} == {"masked_skip", "slots40", "exit"}
    assert {"all", "warm"} <= {row.cohort for row in rows}
    for model in PRIORS | PUBLISHED:
        assert model in told


def test_the_oracle_is_best_and_chance_is_worst(measured: tuple[str, list[MetricRow]]) -> None:
    nll = {row.model: row.value for row in measured[1] if (row.metric, row.cohort, row.versus) == ("NLL", "all", None)}
    assert min(nll, key=lambda model: nll[model]) == "oracle"
    assert nll["length_position"] < nll["random"]
    shares = [row for row in measured[1] if row.metric == "oracle_share_NLL" and row.cohort == "all"]
    assert all(row.value < 1 for row in shares)


def test_a_judged_prior_gets_differences_and_a_verdict(measured: tuple[str, list[MetricRow]]) -> None:
    told, rows = measured
    versus = {row.versus for row in rows if row.model == "user_shrunk"}
    assert versus == {None, "item_shrunk", "lightgbm_hazard"}
    assert "user_shrunk: " in told
    assert "NLL - item_shrunk = " in told


def test_random_under_slots40_is_one_in_forty(measured: tuple[str, list[MetricRow]]) -> None:
    (row,) = [
        row
        for row in measured[1]
        if (row.model, row.metric, row.protocol, row.cohort) == ("random:published", "HR@1", "slots40", "all")
    ]
    assert row.value == pytest.approx(1 / 40)


def test_without_lightgbm_it_says_why_and_goes_on(
    small_world: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    told = evaluate(small_world.path, "--out", tmp_path / "o.json", "--cohort", "all", "--prior", "user_shrunk")
    assert "without lightgbm_hazard: lightgbm_hazard needs LightGBM" in told
    assert "user_shrunk: undecided" in told or "user_shrunk: does not count" in told
    assert {row.cohort for row in read_metric_rows(tmp_path / "o.json")} == {"all"}


class FakeEncoder:
    """Stands for frozen encoders: runs 1 and 2 give distributions near the item prior's, run 3 only an order."""

    def __init__(self, dataset: DatasetFolder) -> None:
        train = skip_views_of(dataset, ["train"])
        self.prior = ItemShrunkPrior.fit(train)

    def scores(self, frozen: SimpleNamespace, dataset: DatasetFolder, views: pl.DataFrame) -> SkipPrediction:
        found = self.prior.predict(views)
        if frozen.seed == 3:
            return RankPrediction(np.where(np.isfinite(found.log_exit), -found.log_exit, 0.0), found.lengths)
        noise = np.random.default_rng(frozen.seed).normal(0, 0.05, found.log_exit.shape)
        stay = np.clip(found.stay().astype(np.float64), 0.001, 0.999)
        return ExitPrediction.from_logits(np.log((1 - stay) / stay) + noise, found.lengths)


@pytest.fixture
def runs(small_world: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    fake, fingerprint = FakeEncoder(small_world), small_world.meta.fingerprint

    def opened(folder: Path) -> SimpleNamespace:
        seed = json.loads((folder.parent / "run.json").read_text())["seed"]
        splits = ["train", "test"] if seed == 4 else ["train"]
        known = "another" if seed == 5 else fingerprint
        return SimpleNamespace(seed=seed, meta=SimpleNamespace(dataset_fingerprint=known, fitted_on=splits))

    monkeypatch.setattr("segrec.freezing.FrozenEncoder.open", opened)
    monkeypatch.setattr("segrec.scoring.batch.score_views", fake.scores)
    folders = []
    for seed in (1, 2, 3, 4, 5):
        folder = tmp_path / f"run{seed}"
        folder.mkdir()
        name = "order" if seed == 3 else "fake"
        meta = RunMeta(kind="encoder", name=name, seed=seed, dataset="-", dataset_fingerprint=fingerprint)
        write_run_meta(folder, meta)
        folders.append(folder)
    return folders


def test_runs_of_one_model_are_averaged_and_compared(
    small_world: DatasetFolder, runs: list[Path], tmp_path: Path
) -> None:
    told = evaluate(*runs[:3], small_world.path, "--out", tmp_path / "o.json", "--cohort", "all", "--no-trees")
    rows = read_metric_rows(tmp_path / "o.json")
    nll = {(row.model, row.seed, row.versus): row.value for row in rows if row.metric == "NLL"}
    assert nll["fake", None, None] == pytest.approx((nll["fake", 1, None] + nll["fake", 2, None]) / 2)
    assert ("fake", None, "item_shrunk") in nll
    assert ("order", 3, None) in nll, "an order is calibrated on valid"
    assert "fake - item_shrunk" in told
    assert told.count("not measured") == 2, "no trees, so nothing is decided against them"


def test_a_calibrated_order_keeps_its_ranking(small_world: DatasetFolder, runs: list[Path]) -> None:
    splits = SkipSplits.of(small_world, "test")
    found = run_answer(runs[2], splits)
    assert isinstance(found.ranking, RankPrediction)
    assert found.distribution is not None
    nll = -found.distribution.log_likelihood(splits.outcomes.exits).mean()
    assert nll < RandomPrior.fit(splits.train).nll(splits.tested) - 0.2


def test_a_run_of_another_dataset_or_fitted_on_the_tested_rows_is_refused(
    small_world: DatasetFolder, runs: list[Path]
) -> None:
    splits = SkipSplits.of(small_world, "test")
    with pytest.raises(SegrecError, match=r"run4: was fitted on the test rows; measure it on another --split"):
        run_answer(runs[3], splits)
    with pytest.raises(SegrecError, match=r"run5: was fitted on another dataset \(found: another; expected: "):
        run_answer(runs[4], splits)


def test_real_data_have_no_oracle(small_world: DatasetFolder, tmp_path: Path) -> None:
    splits = SkipSplits.of(DatasetFolder(small_world.path, small_world.meta), "valid")
    assert oracle_answer(splits) is not None
    bare = SkipSplits(DatasetFolder(tmp_path, small_world.meta), splits.train, splits.valid, splits.tested, "valid")
    assert oracle_answer(bare) is None


BAD = {
    "unknown split": (["--split", "future"], "unknown split 'future' \\(known: train, valid, test\\)"),
    "unknown cohort": (["--cohort", "lukewarm"], "unknown cohort 'lukewarm' \\(known: all, warm, cold\\)"),
    "unknown prior": (
        ["--prior", "moon"],
        "unknown prior 'moon' \\(known: random, position, ",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_use_is_one_line_and_writes_nothing(case: str, small_world: DatasetFolder, tmp_path: Path) -> None:
    arguments, message = BAD[case]
    with pytest.raises(SegrecError, match=message):
        evaluate(small_world.path, "--out", tmp_path / "o.json", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_dataset_or_no_run_is_named(small_world: DatasetFolder, tmp_path: Path) -> None:
    with pytest.raises(SegrecError, match="is not a dataset folder"):
        evaluate(tmp_path, "--out", tmp_path / "o.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SegrecError, match="is not a run folder"):
        run_answer(tmp_path / "empty", SkipSplits.of(small_world, "test"))


def test_a_dataset_without_views_to_measure_is_refused(small_world: DatasetFolder, tmp_path: Path) -> None:
    empty = tmp_path / "d"
    (empty / "interactions" / "day=1").mkdir(parents=True)
    rows = small_world.interactions(["train"]).collect().with_columns(watch_ms=pl.lit(0))
    rows.write_parquet(empty / "interactions" / "day=1" / "part.parquet")
    (empty / "dataset.json").write_text(small_world.meta.model_dump_json())
    with pytest.raises(SegrecError, match="has no view in split 'train'"):
        SkipSplits.of(DatasetFolder.open(empty), "test")
