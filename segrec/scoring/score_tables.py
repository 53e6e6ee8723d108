"""Score tables: written from a frozen encoder, with everything that a ranker must know of them."""

from __future__ import annotations

from pathlib import Path

from segrec.encoders.encoder_runs import thaw_skip
from segrec.freezing import FrozenEncoder
from segrec.records import DatasetFolder, FoldRule, RunFolder, ScoreMeta, ScoreTable, write_score_table
from segrec.scoring.batch import check_grid, score_frame, scored_chunks
from segrec.scoring.cross_fitting import cross_fitted_chunks


def write_scores(run: RunFolder, dataset: DatasetFolder, out: Path, cross_fit: int | None = None) -> ScoreTable:
    """Scores every row of `dataset` with duration_ms > 0; with `cross_fit`, train rows out of fold.

    :raises DataError: a damaged run, another grid, or too few train rows for the folds.
    """
    frozen = FrozenEncoder.open(run.frozen)
    check_grid(frozen, dataset)
    encoder = thaw_skip(frozen)
    chunks = scored_chunks(encoder, dataset) if cross_fit is None else cross_fitted_chunks(frozen, dataset, cross_fit)
    own = frozen.meta.dataset_fingerprint == dataset.meta.fingerprint
    meta = ScoreMeta(
        form="personal",
        kind="stay_probability" if encoder.calibrated else "relevance",
        encoder=frozen.meta.model,
        encoder_hash=frozen.hash,
        dataset_fingerprint=dataset.meta.fingerprint,
        segment_ms=dataset.meta.segment_ms,
        trained_until_ms=frozen.meta.trained_until_ms,
        fitted_on=frozen.meta.fitted_on if own else None,
        folds=None if cross_fit is None else FoldRule(folds=cross_fit, by="time"),
    )
    write_score_table(out, (score_frame(views, predicted) for views, predicted in chunks), meta)
    return ScoreTable.open(out)
