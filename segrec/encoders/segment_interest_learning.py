"""Fitting the segment-interest network: its rows, loss, optimizer and validation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn

from segrec.encoders.encoder import Withheld
from segrec.encoders.prediction import ExitPrediction, RankPrediction, SkipPrediction
from segrec.encoders.segment_interest_config import SegmentInterestConfig
from segrec.fitting import ArrayStream
from segrec.fitting.one_cycle import OneCycleAdamW
from segrec.losses.hazard import hazard_loss
from segrec.losses.intra_video import intra_video_loss
from segrec.losses.pointwise import watched_loss
from segrec.metrics.skip_ranking import masked_skip
from segrec.records import DataError, DatasetFolder, skip_views
from segrec.segments.batching import SegmentBatch, ViewTable, batches_in_order
from segrec.segments.views import check_views, with_grid

SCORING_BATCH = 4096


def known_rows(dataset: DatasetFolder, withheld: Withheld | None) -> pl.DataFrame:
    """Train and valid impressions with their grid, in time order, without those withheld.

    :raises DataError: a dataset of live rooms.
    """
    check_views(dataset)
    rows = dataset.interactions(["train", "valid"]).filter(pl.col("duration_ms") > 0)
    if withheld is not None:
        rows = rows.filter(withheld.kept())
    return with_grid(rows, dataset).sort("time_ms", maintain_order=True).collect()


def views_of(rows: pl.DataFrame, split: str, dataset: DatasetFolder) -> pl.DataFrame:
    """The skip-task rows of one split.

    :raises DataError: there is none.
    """
    views = rows.filter(skip_views() & (pl.col("split") == split))
    if views.is_empty():
        raise DataError(
            dataset.path, f"has no {split} view to fit on", expected="rows with watch_ms > 0 and 0 < duration < 200 s",
            fix="read it again with another split",
        )  # fmt: skip
    return views


def vectors_of(config: SegmentInterestConfig, dataset: DatasetFolder) -> str | None:
    """Which vectors an encoder uses on this dataset; None: ids only.

    :raises DataError: modalities "visual" on a dataset without such vectors.
    """
    if config.modalities == "id":
        return None
    if config.vectors in dataset.vector_names():
        return config.vectors
    if config.modalities == "visual":
        dataset.vectors(config.vectors)
    return None


def batch_loss(scores_T: Tensor, batch: SegmentBatch, config: SegmentInterestConfig) -> Tensor:
    """The configured loss of a batch's scores; the log-odds of an exit are minus the scores."""
    parts = (batch.view_T, batch.position_T, batch.lengths_B, batch.exits_B)
    if config.loss == "hazard":
        return hazard_loss(-scores_T, *parts)
    if config.loss == "bce":
        return watched_loss(scores_T, *parts)
    return intra_video_loss(scores_T, *parts, scope=config.loss_scope)


@torch.no_grad()
def predict_table(
    network: nn.Module, table: ViewTable, config: SegmentInterestConfig, slots: int, device: torch.device
) -> SkipPrediction:
    """(V, slots) predictions of a table's views, in their order; `network` must be in evaluation mode."""
    found = np.full((len(table), slots), np.inf, np.float32)
    for batch in batches_in_order(table, SCORING_BATCH, slots if config.padded else None):
        scores = network(batch.to(device)).cpu().numpy()
        found[batch.rows_B.numpy()[batch.view_T.numpy()], batch.position_T.numpy()] = scores
    lengths = table.lengths.astype(np.int32)
    if config.calibrated:
        return ExitPrediction.from_logits(-found, lengths)
    return RankPrediction(found, lengths)


def training_stream(
    table: ViewTable, config: SegmentInterestConfig, slots: int, device: torch.device
) -> ArrayStream[SegmentBatch]:
    """Shuffled batches; for the attention body of neighbouring lengths, so that a batch has few groups."""
    padding = slots if config.padded else None
    return ArrayStream(
        len(table),
        lambda rows: table.batch(rows, padding, reached=config.reached_only).to(device),
        batch_size=config.batch_size,
        seed=config.seed,
        groups=_length_groups(table, config.batch_size) if config.body == "attention" and not config.padded else None,
    )


def _length_groups(table: ViewTable, batch_size: int) -> npt.NDArray[np.int64]:
    """(V,) up to 8 groups of about equal size, short views to long ones."""
    groups = min(8, max(len(table) // batch_size, 1))
    order = np.empty(len(table), np.int64)
    order[np.argsort(table.lengths, kind="stable")] = np.arange(len(table))
    return order * groups // max(len(table), 1)


def dense_optimizer(module: nn.Module, config: SegmentInterestConfig, steps: int) -> torch.optim.Optimizer:
    """AdamW over everything but the tables, which have theirs inside; `steps` = of the whole fit."""
    dense = [parameter for name, parameter in module.named_parameters() if "embedding_bags" not in name]
    if config.schedule == "one_cycle":
        return OneCycleAdamW(dense, config.learning_rate, weight_decay=config.weight_decay, steps=steps)
    return torch.optim.AdamW(dense, lr=config.learning_rate, weight_decay=config.weight_decay)


def measures(predicted: SkipPrediction, exits: npt.NDArray[np.int64]) -> dict[str, float]:
    """NLL (nats a view; exit distributions only) and NDCG@5 among the video's own segments (skipped views)."""
    ranks, _ = masked_skip(predicted.skip_scores(), predicted.lengths, exits)
    found = {"NDCG@5": float(ranks.ndcg(5).mean()) if len(ranks.ties) else 0.0}
    if isinstance(predicted, ExitPrediction):
        found["NLL"] = float(-predicted.log_likelihood(exits).astype(np.float64).mean())
    return found
