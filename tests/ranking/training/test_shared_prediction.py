"""Pieces are shared out evenly, and answers come back in the stream's order with labels and weights."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ranking.encoding.feature_encoding import FittedFeatures, RowEncoder
from ranking.features import FeatureConfig, build_spec
from ranking.rows.impressions import ImpressionSource
from ranking.rows.stream import RankingStream
from ranking.targets.labels import fit_label
from ranking.training.shared_prediction import predicted, shares

CPU = torch.device("cpu")


def test_largest_pieces_first_to_the_emptiest_process():
    assert shares([5, 1, 4, 3], 2) == [[0, 1], [2, 3]]  # 5 | 4, then 3 joins the 4, then 1 joins the 5
    assert shares([7], 3) == [[0], [], []]
    assert shares([], 2) == [[], []]


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(1, 6))
def test_every_piece_has_one_process(rows, processes):
    taken = shares(rows, processes)
    assert sorted(place for places in taken for place in places) == list(range(len(rows)))
    loads = [sum(rows[place] for place in places) for places in taken]
    assert max(loads) - min(loads) <= max(rows, default=0)


@pytest.fixture(scope="module")
def stream_of(click_log):
    encoder = RowEncoder(FittedFeatures.fit(click_log, build_spec(click_log, FeatureConfig())), click_log)

    def make(*, labelled=True):
        label = fit_label(click_log, "is_click") if labelled else None
        source = ImpressionSource(click_log, encoder, ["valid", "test"], label=label, piece_rows=100)
        return RankingStream(source, batch_size=64)

    return make


def first_dense(batch):
    return batch.dense[:, 0]


@pytest.mark.parametrize("sharded", [True, False])
def test_answers_lie_in_the_order_of_rows(stream_of, sharded):
    stream = stream_of()
    found = predicted(first_dense, stream, CPU, sharded=sharded)
    batches = [batch for _, batch in stream.in_order()]
    assert np.array_equal(found.logits, torch.cat([batch.dense[:, 0] for batch in batches]).double().numpy())
    assert np.array_equal(found.labels, torch.cat([batch.labels for batch in batches]).numpy())
    assert found.labels.tolist() == stream.keys()["label"].to_list()
    assert (found.weights == 1).all()
    assert found.probabilities == pytest.approx(1 / (1 + np.exp(-found.logits)))


def test_without_labels_they_are_unknown(stream_of):
    found = predicted(first_dense, stream_of(labelled=False), CPU, sharded=False)
    assert np.isnan(found.labels).all()
    assert len(found.labels) == len(found.logits)


def test_several_answers_a_row(stream_of):
    found = predicted(lambda batch: batch.dense[:, :2], stream_of(labelled=False), CPU, sharded=False)
    assert found.logits.shape == found.labels.shape == (len(found.weights), 2)
