"""SegRec by hand: weights over valid segments, logits a segment, both entries, nothing from beyond the end."""

import numpy as np
import pytest
import torch

from ranking.batching import RankingBatch, make_batch
from ranking.layers import RankerInputs, SequenceInput
from ranking.layers.feature_embedding import one_table_each, with_sequences
from ranking.rankers import RANKERS, ScoresConfig, SegmentWeighting, find_ranker
from ranking.rows.encoded_rows import EncodedRows

FEATURES = ("user_id", "item_id")
LENGTHS = [3, 1, 2]
PAST = np.array([0, 2, 2, 3])


def batch() -> RankingBatch:
    rows = EncodedRows(
        ids=np.array([[2, 3, 4], [5, 2, 3]], dtype=np.int32),
        bags={"past": (np.array([3, 4, 2], dtype=np.int32), PAST)},
        dense=np.ones((3, 1), dtype=np.float32),
        labels=np.array([0, 1, 1], dtype=np.float32),
        scores=(np.array([0.1, 0.9, 0.4, 0.7], dtype=np.float32), np.array([0, 3, 4, 4])),
        segments=np.array(LENGTHS, dtype=np.int32),
    )  # fmt: skip
    return make_batch(rows, (*FEATURES, "past"), 3, max_segments=4)


def wrapped(name="dcn_v2", **scores):
    config = find_ranker(name).config(scores=ScoresConfig(use="weights", max_segments=4, position_width=2, **scores))
    inputs = RankerInputs(
        one_table_each(FEATURES, [6, 6], config.table_template().model_copy(update={"init_std": 0.5})), FEATURES, 1,
        extra_width=2 if config.scores.enter == "input" else 0,
    )  # fmt: skip
    inputs = with_sequences(inputs, [SequenceInput("past", "item_id")], in_order=find_ranker(name).reads_histories)
    torch.manual_seed(0)
    return SegmentWeighting(config.scores, find_ranker(name).build(config, inputs, "cpu")).eval()


def stirred(model):
    """Position parts away from their start, so that segments differ."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def valid_of(given):
    return torch.arange(given.scores.shape[1])[None] < given.segments[:, None]


def test_segrec_weights_by_hand():
    given = batch()
    weights = wrapped(temperature=0.5).weights(given.scores, valid_of(given))
    exact = np.exp([0.2, 1.8, 0.8])
    assert weights[0].tolist() == pytest.approx(list(exact / exact.sum()))
    assert weights[1].tolist() == [1.0, 0.0, 0.0]
    assert weights[2].tolist() == [0.5, 0.5, 0.0]  # no scores: uniform over its two segments


def test_segsum_and_segadjust_weights():
    given = batch()
    assert wrapped(weighting="segsum").weights(given.scores, valid_of(given)).sum(dim=1).tolist() == LENGTHS
    adjust = wrapped(weighting="segadjust")
    with torch.no_grad():
        adjust.adjust.copy_(torch.tensor([1.0, 2.0, 3.0, 9.0]))
    assert adjust.weights(given.scores, valid_of(given)).tolist() == [[1, 2, 3], [1, 0, 0], [1, 2, 0]]


@pytest.mark.parametrize("name", sorted(RANKERS))
def test_starts_as_the_plain_ranker(name):
    model, given = wrapped(name), batch()
    assert torch.allclose(model(given), model.backbone(given), atol=1e-6)


@pytest.mark.parametrize("name", sorted(RANKERS))
@pytest.mark.parametrize("enter", ["head", "input"])
@pytest.mark.parametrize("weighting", ["segrec", "segsum", "segadjust"])
def test_equals_the_sum_written_out(name, enter, weighting):
    model, given = stirred(wrapped(name, enter=enter, weighting=weighting)), batch()
    weights = model.weights(given.scores, valid_of(given))
    x = model.backbone.embed(given)
    for row, length in enumerate(LENGTHS):
        expected = 0.0
        for segment in range(length):
            position = model.positions.weight[segment]
            if enter == "input":
                logit = model.backbone.logits(torch.cat([x[row], position]))
            else:
                turned = model.turn(position)
                head = model.backbone.head
                logit = model.backbone.hidden(x[row]) @ (head.weight[0] + turned[:-1]) + head.bias[0] + turned[-1]
            expected += weights[row, segment] * logit
        assert model(given)[row].item() == pytest.approx(expected.item(), abs=5e-5, rel=5e-5)


@pytest.mark.parametrize("enter", ["head", "input"])
def test_beyond_the_end_nothing_counts(enter):
    model, given = stirred(wrapped(enter=enter)), batch()
    before = model(given)
    given.scores[1, 1:] = 99.0
    with torch.no_grad():
        model.positions.weight[2:] += 5.0
    after = model(given)
    assert torch.equal(after[1:], before[1:])
    assert after[0] != before[0]


def test_gradients_reach_positions_and_backbone():
    for enter in ("head", "input"):
        model = stirred(wrapped(enter=enter)).train()
        model(batch()).sum().backward()
        assert model.positions.weight.grad[:3].abs().sum() > 0
        assert model.positions.weight.grad[3].tolist() == [0.0, 0.0]
        assert model.backbone.head.weight.grad.abs().sum() > 0
