"""Batches made from a feature spec alone: valid codes, dense values, histories and scores, for checks and timings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from ranking.batching import RankingBatch
from ranking.encoding.feature_encoding import FittedFeatures
from segrec.tables import MISSING

_BAG = 4
"Ids of a made bag, at most."


def made_batch(
    features: FittedFeatures,
    rows: int,
    *,
    dense_width: int,
    max_segments: int | None,
    seed: int = 0,
    events: int | None = None,
) -> RankingBatch:
    """`rows` rows without labels: codes uniform over each table, missing and unseen ones too, the rest normal.

    :param max_segments: None = a ranker that weighs no segments.
    :param events: past events of every row; None = any number up to the history's length.
    """
    rng = np.random.default_rng(seed)
    ones = np.ones(rows, dtype=np.int64)
    past = rng.integers(0, (features.spec.history.length or 0) + 1, rows) if events is None else ones * events
    sizes, lengths = [], []
    for feature in features.spec.ids:
        sizes.append(features.rows_of(feature.name))
        lengths.append(ones)
    for bag in features.spec.bags:
        sizes.append(features.rows_of(bag.name))
        lengths.append(rng.integers(0, _BAG + 1, rows))
    for sequence in features.spec.sequences:
        sizes.append(features.rows_of(sequence.id_feature))
        lengths.append(past)
    codes = [rng.integers(MISSING, size, count.sum()) for size, count in zip(sizes, lengths, strict=True)]
    scores, segments = _made_segments(rng, rows, max_segments)
    return RankingBatch(
        sparse=KeyedJaggedTensor(
            keys=list(features.spec.sparse_names),
            values=torch.from_numpy(np.concatenate(codes)),
            lengths=torch.from_numpy(np.concatenate(lengths).astype(np.int32)),
            stride=rows,
        ),
        dense=torch.from_numpy(rng.normal(size=(rows, dense_width)).astype(np.float32)),
        labels=torch.zeros(0),
        global_rows=rows,
        scores=scores,
        segments=segments,
    )


def _made_segments(
    rng: np.random.Generator, rows: int, max_segments: int | None
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Scores (B, max_segments), 0 beyond a row's segments, and segments (B,) >= 1."""
    if max_segments is None:
        return None, None
    segments: npt.NDArray[np.int64] = rng.integers(1, max_segments + 1, rows)
    inside = np.arange(max_segments)[None] < segments[:, None]
    scores = (rng.random((rows, max_segments)) * inside).astype(np.float32)
    return torch.from_numpy(scores), torch.from_numpy(segments)
