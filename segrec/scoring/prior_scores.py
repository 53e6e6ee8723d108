"""Score tables of counted priors and boosted trees: what a ranker gains from scores that no network made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from segrec.encoders.boosted_hazard import BoostedHazard
from segrec.encoders.encoder import SkipEncoder, Withheld
from segrec.encoders.prediction import SkipModel
from segrec.encoders.priors import PRIORS
from segrec.records import ConfigError, DatasetFolder, FoldRule, ScoreMeta, ScoreTable, scan_parquet, write_score_table
from segrec.scoring.batch import score_frame
from segrec.scoring.cross_fitting import model_of_rows, time_blocks_of
from segrec.segments.views import check_views, skip_views_of, with_grid

_COUNTED = {prior.name: prior for prior in PRIORS}
NAMES = (*_COUNTED, BoostedHazard.name)


def write_prior_scores(name: str, dataset: DatasetFolder, out: Path, cross_fit: int | None = None) -> ScoreTable:
    """Stay probabilities of prior `name` for every row of `dataset` with duration_ms > 0.

    Fitted on the train views; its strength is chosen on the valid views. With `cross_fit`, train rows are scored by
    fits that did not see their block of time.

    :raises ConfigError: an unknown prior, or LightGBM is not installed.
    :raises DataError: live rooms, or too few train rows for the folds.
    """
    if name not in NAMES:
        raise ConfigError(f"unknown prior {name!r} (known: {', '.join(NAMES)})")
    check_views(dataset)
    blocks = [] if cross_fit is None else time_blocks_of(dataset, cross_fit)
    whole, *refits = [_fitted(name, dataset, withheld) for withheld in (None, *blocks)]
    meta = ScoreMeta(
        form="personal",
        kind="stay_probability",
        encoder=name,
        encoder_hash=hashlib.sha256(f"{name} {dataset.meta.fingerprint}".encode()).hexdigest(),
        dataset_fingerprint=dataset.meta.fingerprint,
        segment_ms=dataset.meta.segment_ms,
        trained_until_ms=SkipEncoder.trained_until(dataset),
        fitted_on=["train"],
        folds=None if cross_fit is None else FoldRule(folds=cross_fit, by="time"),
    )
    write_score_table(out, _frames(dataset, [whole, *refits], blocks), meta)
    return ScoreTable.open(out)


def _fitted(name: str, dataset: DatasetFolder, withheld: Withheld | None) -> SkipModel:
    train, valid = skip_views_of(dataset, ["train"]), skip_views_of(dataset, ["valid"])
    seen = train if withheld is None else train.filter(withheld.kept())
    if name == BoostedHazard.name:
        return BoostedHazard.fit(seen, valid, dataset)
    return _COUNTED[name].fit(seen, valid)


def _frames(dataset: DatasetFolder, models: Sequence[SkipModel], blocks: Sequence[Withheld]) -> Iterator[pl.DataFrame]:
    for file in dataset.interaction_files():
        rows = with_grid(scan_parquet([file]).filter(pl.col("duration_ms") > 0), dataset).collect()
        chosen = model_of_rows(rows["time_ms"].to_numpy(), rows["split"], blocks)
        for number in np.unique(chosen):
            part = rows.filter(pl.Series(chosen == number))
            yield score_frame(part, models[number].predict(part))
