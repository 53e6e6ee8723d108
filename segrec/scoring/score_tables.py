"""Score tables: written from a frozen encoder, with everything that a ranker must know of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from segrec.encoders.encoder import LiveEncoder, SkipEncoder
from segrec.encoders.encoder_runs import thaw
from segrec.freezing import FrozenEncoder
from segrec.records import DatasetFolder, FoldRule, RunFolder, ScoreMeta, ScoreTable, write_score_table
from segrec.records.score_table import ScoreKind
from segrec.scoring.batch import check_grid, score_frame, scored_chunks
from segrec.scoring.cross_fitting import cross_fitted_chunks
from segrec.scoring.live_tables import live_score_frame
from segrec.segments.rooms import Rooms
from segrec.segments.views import check_views


@dataclass(frozen=True)
class _Scores:
    """What goes into a table: rows in pieces, and what they mean."""

    form: Literal["personal", "live"]
    kind: ScoreKind
    frames: Iterator[pl.DataFrame]


def write_scores(run: RunFolder, dataset: DatasetFolder, out: Path, cross_fit: int | None = None) -> ScoreTable:
    """Scores every row of `dataset` with duration_ms > 0, or every segment of its live rooms, as the encoder's kind is.

    With `cross_fit`, train rows (the segments of train rooms) are scored out of fold.

    :raises DataError: a damaged run, an encoder of the other kind, another grid, or too few train rows for the folds.
    """
    frozen = FrozenEncoder.open(run.frozen)
    scores = _scores(frozen, dataset, cross_fit)
    own = frozen.meta.dataset_fingerprint == dataset.meta.fingerprint
    meta = ScoreMeta(
        form=scores.form,
        kind=scores.kind,
        encoder=frozen.meta.model,
        encoder_hash=frozen.hash,
        dataset_fingerprint=dataset.meta.fingerprint,
        segment_ms=dataset.meta.segment_ms,
        trained_until_ms=frozen.meta.trained_until_ms,
        fitted_on=frozen.meta.fitted_on if own else None,
        folds=None if cross_fit is None else FoldRule(folds=cross_fit, by="time"),
    )
    write_score_table(out, scores.frames, meta)
    return ScoreTable.open(out)


def _scores(frozen: FrozenEncoder, dataset: DatasetFolder, cross_fit: int | None) -> _Scores:
    encoder = thaw(frozen)
    if isinstance(encoder, LiveEncoder):
        rooms = Rooms.of(dataset)
        check_grid(frozen, dataset)
        return _Scores("live", "relevance", iter([live_score_frame(encoder, frozen, rooms, cross_fit)]))
    if not isinstance(encoder, SkipEncoder):
        raise TypeError(f"{frozen.meta.model} scores neither views nor live rooms")
    check_views(dataset)
    check_grid(frozen, dataset)
    if cross_fit is None:
        chunks = scored_chunks(encoder, dataset)
    else:
        chunks = cross_fitted_chunks(encoder, frozen, dataset, cross_fit)
    kind: ScoreKind = "stay_probability" if encoder.calibrated else "relevance"
    return _Scores("personal", kind, (score_frame(views, predicted) for views, predicted in chunks))
