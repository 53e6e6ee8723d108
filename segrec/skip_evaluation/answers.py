"""Who answers in a skip table: priors, boosted trees, a made world's oracle, fitted encoders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from segrec.encoders.boosted_hazard import BoostedHazard, BoostedHazardConfig
from segrec.encoders.exit_table import HazardTable, Outcomes
from segrec.encoders.prediction import ExitPrediction, SkipPrediction
from segrec.encoders.priors import PRIORS, LengthPositionPrior, deterministic_priors
from segrec.encoders.published_priors import BernoulliPrediction, PublishedPrior, published_random
from segrec.records import SPLITS, ConfigError, DataError, DatasetFolder, RunFolder, Split
from segrec.segments.views import check_views, grid_width, skip_views_of
from segrec.worlds.oracle import Oracle


@dataclass(frozen=True)
class Answer:
    """What one model says about the measured views."""

    model: str
    ranking: SkipPrediction | BernoulliPrediction
    distribution: ExitPrediction | None
    "None: ranking protocols only."
    seed: int | None = None
    challenger: bool = False
    "True: compared with the references."


@dataclass(frozen=True)
class SkipSplits:
    """Views of the three splits; `tested` are the measured ones."""

    dataset: DatasetFolder
    train: pl.DataFrame
    valid: pl.DataFrame
    tested: pl.DataFrame
    split: Split

    @classmethod
    def of(cls, dataset: DatasetFolder, split: str) -> SkipSplits:
        """Views of train, valid and `split`.

        :raises ConfigError: no such split.
        :raises DataError: live rooms, or no view to learn from or to measure.
        """
        check_views(dataset)
        tested = next((name for name in SPLITS if name == split), None)
        if tested is None:
            raise ConfigError(f"unknown split {split!r} (known: {', '.join(SPLITS)})")
        asked: tuple[Split, ...] = ("train", "valid", tested)
        views = {name: skip_views_of(dataset, [name]) for name in asked}
        for name in ("train", tested):
            if views[name].is_empty():
                raise DataError(
                    dataset.path, f"has no view in split {name!r}", expected="watch_ms > 0, 0 < duration_ms < 200000",
                    fix="read the dataset with another split",
                )  # fmt: skip
        return cls(dataset, views["train"], views["valid"], views[tested], tested)

    @cached_property
    def outcomes(self) -> Outcomes:
        """Where the measured views ended."""
        return Outcomes.of(self.tested)

    @property
    def width(self) -> int:
        """Slots of the grid."""
        return grid_width(self.dataset.meta.segment_ms)

    @property
    def tuning(self) -> pl.DataFrame | None:
        """Views to choose settings on; None where the dataset has no valid split."""
        return None if self.valid.is_empty() else self.valid


def known_priors(names: Sequence[str]) -> frozenset[str]:
    """`names` as a set.

    :raises ConfigError: one is no deterministic prior.
    """
    known = [prior.name for prior in PRIORS]
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown prior {name!r} (known: {', '.join(known)})")
    return frozenset(names)


def deterministic_answers(splits: SkipSplits) -> Iterator[Answer]:
    """The deterministic priors, weakest first."""
    for prior in deterministic_priors(splits.train, splits.tuning):
        predicted = prior.predict(splits.tested)
        distribution = predicted if isinstance(predicted, ExitPrediction) else None
        yield Answer(prior.name, predicted, distribution)


def published_answers(splits: SkipSplits) -> Iterator[Answer]:
    """The priors "as published": random over all slots; shares by position, user, item, drawn 0/1 or ranked."""
    fitted_on = pl.concat([splits.train, splits.valid]) if splits.split != "valid" else splits.train
    yield Answer("random:published", published_random(splits.tested, splits.width), None)
    for key in (None, "user_id", "item_id"):
        prior = PublishedPrior.fit(fitted_on, splits.width, key)
        yield Answer(f"{prior.name}:bernoulli", prior.bernoulli(splits.tested), None)
        yield Answer(f"{prior.name}:static", prior.static(splits.tested), None)


def trees_answer(splits: SkipSplits, config: BoostedHazardConfig | None = None) -> Answer:
    """The boosted hazard model.

    :raises ConfigError: LightGBM is not installed.
    """
    predicted = BoostedHazard.fit(splits.train, splits.valid, splits.dataset, config).predict(splits.tested)
    return Answer(BoostedHazard.name, predicted, predicted, challenger=True)


def oracle_answer(splits: SkipSplits) -> Answer | None:
    """The truth of a made world; None for real data."""
    if splits.dataset.truth() is None:
        return None
    oracle = Oracle.of(splits.dataset)
    predicted = oracle.predict(splits.tested)
    return Answer(oracle.name, predicted, predicted)


def run_answer(folder: Path, splits: SkipSplits) -> Answer:
    """A fitted encoder's answer; an order without probabilities is calibrated on valid for the exit protocol.

    :raises DataError: not an encoder run, of another dataset, or fitted on the measured split.
    """
    from segrec.freezing import FrozenEncoder
    from segrec.scoring.batch import score_views

    run = RunFolder.open(folder, kind="encoder")
    frozen = FrozenEncoder.open(run.frozen)
    if frozen.meta.dataset_fingerprint != splits.dataset.meta.fingerprint:
        raise DataError(
            folder, "was fitted on another dataset", found=frozen.meta.dataset_fingerprint[:12],
            expected=splits.dataset.meta.fingerprint[:12], fix="pass the dataset folder it was fitted on",
        )  # fmt: skip
    if splits.split in frozen.meta.fitted_on:
        raise DataError(folder, f"was fitted on the {splits.split} rows", fix="measure it on another --split")
    ranking = score_views(frozen, splits.dataset, splits.tested)
    if isinstance(ranking, ExitPrediction):
        return Answer(run.meta.model, ranking, ranking, run.meta.seed, challenger=True)
    distribution = None
    if splits.tuning is not None:
        valid = score_views(frozen, splits.dataset, splits.valid)
        assert not isinstance(valid, ExitPrediction)
        distribution = ranking.calibrate(valid, splits.valid, _prior_table(splits))
    return Answer(run.meta.model, ranking, distribution, run.meta.seed, challenger=True)


def _prior_table(splits: SkipSplits) -> HazardTable:
    return LengthPositionPrior.fit(splits.train, splits.tuning).table
