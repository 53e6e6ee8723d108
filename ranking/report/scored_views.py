"""Views with a score a segment: from the score table a run used, or from its frozen encoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.report.gathering import RunRecord
from segrec.encoders.prediction import ExitPrediction
from segrec.records import KEY, DatasetFolder, ScoreTable, Split
from segrec.records.score_table import ScoreKind
from segrec.segments.views import skip_views_of

MOST_VIEWS = 20_000
"Distributions are drawn from at most this many views, spread evenly over the split."


@dataclass(frozen=True)
class ScoredViews:
    """Skip-task views (columns of `skip_views_of`) with `scores`, a list of n_segments floats, in time order."""

    views: pl.DataFrame
    kind: ScoreKind
    split: Split
    of_all: int
    "Skip-task views of that split, before the even choice."

    def stay(self) -> npt.NDArray[np.float64]:
        """(B, S) scores, padded with 1 (no exit there)."""
        lengths = self.views["n_segments"].to_numpy()
        padded = np.ones((len(lengths), int(lengths.max())))
        flat = self.views["scores"].explode().to_numpy()
        padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat
        return padded

    def exits(self) -> ExitPrediction:
        """Where the views end, by scores of kind stay_probability."""
        hazards = np.clip(1.0 - self.stay(), 0.0, 1.0)
        return ExitPrediction.from_hazards(hazards, self.views["n_segments"].to_numpy())


def scored_views(run: RunRecord, split: Split = "test") -> ScoredViews | None:
    """Test views with the run's scores; None where the dataset or the scores are not at hand, or no row is scored."""
    if run.dataset is None or not run.dataset.meta.rows.get(split):
        return None
    views = skip_views_of(run.dataset, [split])
    chosen = views.gather_every(max(1, -(-views.height // MOST_VIEWS)))
    if run.scores is not None:
        scored, kind = _from_table(chosen, run.scores), run.scores.meta.kind
    elif run.meta.kind == "encoder" and run.folder.frozen.is_dir():
        scored, kind = _from_encoder(chosen, run, run.dataset)
    else:
        return None
    whole = scored.filter(pl.col("scores").list.len() >= pl.col("n_segments")).with_columns(
        scores=pl.col("scores").list.head(pl.col("n_segments"))
    )
    return ScoredViews(whole, kind, split, views.height) if whole.height else None


def _from_table(views: pl.DataFrame, table: ScoreTable) -> pl.DataFrame:
    if table.meta.form == "content":
        lists = table.frame().sort("item_id", "segment").group_by("item_id").agg(scores=pl.col("score"))
        return views.join(lists.collect(), on="item_id", how="inner", maintain_order="left")
    keys = views.lazy().select(KEY).unique()
    wanted = table.frame().select(*KEY, "scores").join(keys, on=list(KEY), how="semi").unique(list(KEY), keep="any")
    return views.join(wanted.collect(), on=list(KEY), how="inner", maintain_order="left")


def _from_encoder(views: pl.DataFrame, run: RunRecord, dataset: DatasetFolder) -> tuple[pl.DataFrame, ScoreKind]:
    from segrec.freezing import FrozenEncoder
    from segrec.scoring.batch import score_views

    prediction = score_views(FrozenEncoder.open(run.folder.frozen), dataset, views)
    exits = isinstance(prediction, ExitPrediction)
    values = prediction.stay() if isinstance(prediction, ExitPrediction) else prediction.scores
    inside = np.arange(values.shape[1]) < prediction.lengths[:, None]
    lists = pl.DataFrame({"row": np.nonzero(inside)[0], "scores": values[inside].astype(np.float32)})
    scores = lists.group_by("row", maintain_order=True).agg("scores")["scores"]
    return views.with_columns(scores), "stay_probability" if exits else "relevance"
