"""Ids, bags, labels and scores stand in the right row of a batch; only the wanted rows are there."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from ranking.batching import make_batch
from ranking.encoding.feature_encoding import FittedFeatures, RowEncoder
from ranking.features import FeatureConfig, build_spec
from ranking.rows.encoded_rows import EncodedRows, take_jagged
from ranking.rows.impressions import ImpressionSource, ScoreUse, fit_score_scaling
from ranking.rows.stream import RankingStream
from ranking.score_features import NAMES
from ranking.score_lookup import ScoreLookup
from ranking.targets.labels import fit_label
from segrec.records import KEY, DataError, FoldRule, ScoreMeta, ScoreTable, write_score_table


@pytest.fixture(scope="module")
def encoder(click_log):
    return RowEncoder(FittedFeatures.fit(click_log, build_spec(click_log, FeatureConfig())), click_log)


def source_of(dataset, encoder, split="train", **options):
    return ImpressionSource(dataset, encoder, [split], label=fit_label(dataset, "is_click"), **options)


def stream_of(source):
    return RankingStream(source, batch_size=128)


def content(batch):
    return [batch.sparse.values().tolist(), batch.dense.tolist(), batch.labels.tolist()]


def test_only_the_wanted_split(click_log, encoder):
    rows = click_log.interactions(["valid"]).collect()
    source = source_of(click_log, encoder, "valid")
    keys = pl.concat([source.keys(piece) for piece in source.pieces])
    assert keys.select(KEY).equals(rows.select(KEY))
    labels = torch.cat([batch.labels for _, batch in stream_of(source).in_order()])
    assert labels.tolist() == rows["is_click"].to_list()


def test_split_without_rows(make_dataset, encoder, click_log):
    rows = click_log.interactions(["train"]).collect()
    empty = make_dataset(rows, click_log.users(), click_log.items(), flags=["is_click"], context=["tab"])
    with pytest.raises(DataError, match="has no test row"):
        ImpressionSource(empty, encoder, ["test"])


def test_batch_by_hand():
    rows = EncodedRows(
        ids=np.array([[2, 3], [4, 5]], dtype=np.int32),
        bags={"tag": (np.array([7, 8, 9], dtype=np.int32), np.array([0, 1, 3]))},
        dense=np.array([[0.5], [1.5]], dtype=np.float32),
        labels=np.array([0, 1], dtype=np.float32),
        scores=(np.array([0.1, 0.2, 0.3], dtype=np.float32), np.array([0, 3, 3])),
        segments=np.array([3, 2], dtype=np.int32),
    )
    assert make_batch(rows, ("user", "item", "tag"), 2, max_segments=2).weights is None
    weighed = replace(rows, weights=np.array([0.5, 1.5], dtype=np.float32))
    assert make_batch(weighed.take(np.array([1])), ("user", "item", "tag"), 2, max_segments=2).weights.tolist() == [1.5]
    assert EncodedRows.concatenated([weighed, weighed]).weights.tolist() == [0.5, 1.5, 0.5, 1.5]
    batch = make_batch(rows, ("user", "item", "tag"), 2, max_segments=2)
    jagged = batch.sparse.to_dict()
    assert {name: jagged[name].to_dense()[row].tolist() for name, row in (("user", 1), ("item", 0), ("tag", 1))} == {
        "user": [3], "item": [4], "tag": [8, 9],
    }  # fmt: skip
    assert batch.scores.tolist() == [pytest.approx([0.1, 0.2]), [0.0, 0.0]]
    assert batch.segments.tolist() == [2, 2]
    moved = batch.to(torch.device("cpu"))
    assert content(moved) == content(batch)
    assert moved.segments.tolist() == [2, 2]


def test_jagged_rows_are_taken_in_any_order():
    values, offsets = take_jagged((np.array([1, 2, 3]), np.array([0, 2, 2, 3])), np.array([2, 0, 1, 0]))
    assert values.tolist() == [3, 1, 2, 1, 2]
    assert offsets.tolist() == [0, 1, 3, 3, 5]


@pytest.fixture(scope="module")
def scores(click_log, tmp_path_factory):
    """Scores for nine rows in ten; two segments: .2 and .6."""
    rows = click_log.interactions().select(KEY).collect().with_row_index("row").filter(pl.col("row") % 10 > 0)
    frame = rows.select(*KEY, scores=pl.lit(pl.Series([[0.2, 0.6]], dtype=pl.List(pl.Float32))).first())
    meta = ScoreMeta(
        form="personal", kind="stay_probability", encoder="e", encoder_hash="h", dataset_fingerprint="f" * 64,
        segment_ms=5000, trained_until_ms=1, fitted_on=["train"], folds=FoldRule(folds=2),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("scores") / "scores.parquet"
    write_score_table(path, [frame], meta)
    return ScoreTable.open(path)


def test_score_features_join_by_key_and_are_scaled(click_log, encoder, scores):
    use = ScoreUse(ScoreLookup.of(scores), features=True, weights=True)
    source = source_of(click_log, encoder, piece_rows=150, scores=use, with_segments=True)
    scaling = fit_score_scaling(source)
    mean_at = list(NAMES).index("mean")
    assert scaling[mean_at] == (pytest.approx(0.4), 1.0)  # all rows alike: no spread
    [first, *_] = source.dense_names[len(encoder.fitted.dense_names) :]
    assert first == "score_curve_0"
    batch = next(batch for _, batch in stream_of(source).in_order())
    unscaled = batch.dense[:, len(encoder.fitted.dense_names) + mean_at]
    assert unscaled[:11].tolist() == pytest.approx([0.0] + [0.4] * 9 + [0.0])
    missing = batch.dense[:, len(encoder.fitted.dense_names) + 16 + mean_at]
    assert missing[:11].tolist() == [1.0] + [0.0] * 9 + [1.0]
    assert batch.scores[1, :3].tolist() == pytest.approx([0.2, 0.6, 0.0])
    assert batch.segments[1] == 2
    duration = click_log.interactions(["train"]).select("duration_ms").first().collect().item()
    assert batch.segments[0] == -(-duration // 5000)


def test_no_train_row_has_scores(click_log, encoder, scores, tmp_path):
    write_score_table(tmp_path / "far.parquet", [scores.frame().collect().with_columns(time_ms=pl.lit(1))], scores.meta)
    use = ScoreUse(ScoreLookup.of(ScoreTable.open(tmp_path / "far.parquet")), features=True, weights=False)
    with pytest.raises(DataError, match="hold no row of the train split"):
        fit_score_scaling(source_of(click_log, encoder, scores=use))
