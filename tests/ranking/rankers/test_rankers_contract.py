"""What every ranker keeps to, and DCN-V2 and logistic regression by hand."""

import numpy as np
import pytest
import torch

from ranking.batching import make_batch
from ranking.layers import RankerInputs, SequenceInput
from ranking.layers.feature_embedding import one_table_each, with_sequences
from ranking.rankers import RANKERS, RankerEntry, ScoresConfig, SegmentWeighting, find_ranker
from ranking.rankers.multi_task import TaskHead, TasksConfig
from ranking.rows.encoded_rows import EncodedRows
from segrec.records import ConfigError

IDS = ("user_id", "item_id")
FEATURES = (*IDS, "tag")
PAST = SequenceInput("past_item_id", "item_id")
MISSING, UNSEEN = 0, 1


def jagged(rows):
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return np.array([code for row in rows for code in row], dtype=np.int32), offsets


def rows_of(count, seed=0, past=(0, 4)):
    """Random rows; so many past events each: at least, below."""
    rng = np.random.default_rng(seed)
    return EncodedRows(
        ids=rng.integers(0, 9, (2, count)).astype(np.int32),
        bags={
            "tag": jagged([rng.integers(0, 9, rng.integers(1, 4)) for _ in range(count)]),
            PAST.name: jagged([rng.integers(0, 9, rng.integers(*past)) for _ in range(count)]),
        },
        dense=rng.normal(size=(count, 3)).astype(np.float32),
        labels=(rng.random(count) < 0.5).astype(np.float32),
    )


def batch_of(rows):
    return make_batch(rows, (*FEATURES, PAST.name), rows.rows, max_segments=40)


def inputs_of(name, config, dense=3, extra=0):
    plain = RankerInputs(one_table_each(FEATURES, [9, 9, 9], config.table_template()), FEATURES, dense, extra)
    return with_sequences(plain, [PAST], in_order=find_ranker(name).reads_histories)


def build(name, extra=0, **settings):
    entry = find_ranker(name)
    config = entry.config(**{"embedding_dim": 4, "table_init_std": 0.5, **settings})
    torch.manual_seed(0)
    return entry.build(config, inputs_of(name, config, extra=extra), "cpu").eval()


def stirred(ranker):
    """Weights away from their start, where some are 0."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in ranker.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return ranker


def plain(name, **settings):
    """A ranker without histories."""
    entry = find_ranker(name)
    config = entry.config(embedding_dim=4, table_init_std=0.5, **settings)
    tables = one_table_each(FEATURES, [9, 9, 9], config.table_template())
    return entry.build(config, RankerInputs(tables, FEATURES, dense_width=3), "cpu").eval()


@pytest.fixture(params=sorted(RANKERS))
def name(request):
    return request.param


def test_default_config_survives_yaml(name, tmp_path):
    config = find_ranker(name).config()
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert find_ranker(name).config.of(tmp_path / "config.yaml") == config


def test_a_batch_of_one_equals_its_row_in_a_larger_batch(name):
    ranker, rows = build(name), rows_of(7)
    together = ranker(batch_of(rows))
    alone = torch.cat([ranker(batch_of(rows.take(np.array([place])))) for place in range(7)])
    assert together.shape == (7,)
    assert torch.allclose(alone, together, atol=1e-6)


def test_permuted_rows_give_permuted_logits(name):
    ranker, rows, order = build(name), rows_of(7), np.array([3, 0, 6, 1, 2, 5, 4])
    assert torch.allclose(ranker(batch_of(rows.take(order))), ranker(batch_of(rows))[order], atol=1e-6)


def test_missing_and_unseen_ids_have_logits_of_their_own(name):
    """Also among past events: without, missing, unseen and known ones differ."""
    ranker = build(name)
    rows = EncodedRows(
        ids=np.array([[MISSING, UNSEEN, 2, 2, 2, 2, 2], [5] * 7], dtype=np.int32),
        bags={"tag": jagged([[3]] * 7), PAST.name: jagged([[], [], [], [MISSING], [UNSEEN], [4], [4, 6]])},
        dense=np.zeros((7, 3), dtype=np.float32),
    )
    logits = ranker(batch_of(rows))
    assert torch.isfinite(logits).all()
    assert len(set(logits.tolist())) == 7


def test_saved_and_loaded_predicts_the_same(name):
    ranker, batch = build(name), batch_of(rows_of(5))
    other = build(name)
    with torch.no_grad():
        for weight in other.state_dict().values():
            weight.add_(0.1)
    assert not torch.allclose(other(batch), ranker(batch))
    other.load_state_dict(ranker.state_dict())
    assert torch.equal(other(batch), ranker(batch))


def test_extra_columns_widen_the_input_and_segments_are_one_more_axis(name):
    ranker, batch = stirred(build(name, extra=2)), batch_of(rows_of(4))
    x = torch.cat([ranker.embed(batch)[:, None].expand(4, 5, -1), torch.randn(4, 5, 2)], dim=2)
    logits = ranker.logits(x)
    for segment in range(5):
        assert torch.allclose(logits[:, segment], ranker.logits(x[:, segment]), atol=1e-6)
    assert logits.std(dim=1).min() > 0


@pytest.mark.parametrize(
    "rows", [rows_of(6), rows_of(1, past=(2, 3)), rows_of(3, past=(0, 1)), rows_of(1, past=(0, 1))]
)
def test_a_training_step_is_finite(name, rows):
    """With histories, a batch of one, nobody with a past, one row without a past."""
    ranker, batch = build(name).train(), batch_of(rows)
    logits = ranker(batch)
    total = logits.sum() + (0.0 if ranker.auxiliary is None else ranker.auxiliary)
    total.backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(weight.grad).all() for weight in ranker.parameters() if weight.grad is not None)


def test_gradients_reach_every_weight(name):
    ranker = stirred(build(name))
    logits = ranker.train()(batch_of(rows_of(64)))
    total = logits.square().sum() + (0.0 if ranker.auxiliary is None else ranker.auxiliary)
    total.backward()
    silent = [
        key for key, weight in ranker.named_parameters() if weight.grad is None or not weight.grad.abs().sum() > 0
    ]
    assert silent == []


def test_every_table_has_a_spec(name):
    ranker = build(name)
    tables = [key.split(".")[-2] for key in ranker.state_dict() if ".embedding" in key]
    assert sorted(tables) == sorted(spec.name for spec in ranker.specs)


def test_bf16_is_near(name):
    ranker, batch = build(name), batch_of(rows_of(64))
    exact = ranker(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough = ranker(batch)
        total = ranker.train()(batch).float().sum() + (0.0 if ranker.auxiliary is None else ranker.auxiliary)
    total.backward()
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.02 * max(1.0, exact.abs().max().item())
    assert all(torch.isfinite(weight.grad).all() for weight in ranker.parameters() if weight.grad is not None)


@pytest.mark.parametrize("enter", ["head", "input"])
def test_segments_are_weighted_on_it(name, enter):
    scores = ScoresConfig(use="weights", enter=enter, max_segments=4, position_width=2)
    backbone = build(name, extra=2 if enter == "input" else 0)
    model, rows = SegmentWeighting(scores, backbone), rows_of(4)
    batch = batch_of(rows)
    batch.scores, batch.segments = torch.randn(4, 4), torch.tensor([1, 4, 2, 3])
    stirred(model).eval()
    exact = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(batch)
    assert (rough - exact).abs().max() < 0.05 * max(1.0, exact.abs().max().item())
    logits = model.train()(batch)
    (logits.sum() + (0.0 if backbone.auxiliary is None else backbone.auxiliary)).backward()
    assert torch.isfinite(logits).all()
    assert backbone.head.weight.grad.abs().sum() > 0


def test_rankers_without_dense_columns(name):
    entry = find_ranker(name)
    config = entry.config(embedding_dim=4, table_init_std=0.5)
    ranker = entry.build(config, inputs_of(name, config, dense=0), "cpu").eval()
    rows = rows_of(3)
    rows = EncodedRows(ids=rows.ids, bags=rows.bags, dense=np.zeros((3, 0), dtype=np.float32), labels=rows.labels)
    assert torch.isfinite(ranker(batch_of(rows))).all()


def test_dcn_v2_by_hand():
    ranker = plain("dcn_v2", cross_layers=1, mlp=(2,), dropout=0.0)
    x = torch.zeros(1, 15)
    x[0, 0], x[0, 1] = 2.0, 3.0
    with torch.no_grad():
        ranker.cross.up[0].weight.zero_()
        ranker.cross.up[0].weight[0, 1] = 1.0
        ranker.cross.up[0].bias.zero_()
        ranker.mlp.layers[0].weight.zero_()
        ranker.mlp.layers[0].weight[1, 0] = 4.0
        ranker.mlp.layers[0].bias.copy_(torch.tensor([-1.0, 1.0]))
        ranker.head.weight.zero_()
        ranker.head.weight[0, [0, 16]] = torch.tensor([1.0, 10.0])
        ranker.head.bias.fill_(0.25)
    # cross_0 = 2 * 3 + 2 = 8; relu(4 * 2 + 1) = 9; logit = 8 + 90 + .25
    assert ranker.logits(x).tolist() == [98.25]


def test_stacked_runs_the_mlp_on_the_crossed_row():
    ranker = plain("dcn_v2", structure="stacked", mlp=(4,), dropout=0.0)
    x = torch.randn(2, 15)
    assert torch.equal(ranker.hidden(x), ranker.mlp(ranker.cross(x)))
    assert ranker.head.in_features == 4


def test_without_an_mlp_only_crosses_are_left():
    ranker = plain("dcn_v2", mlp=())
    x = torch.randn(2, 15)
    assert torch.equal(ranker.hidden(x), ranker.cross(x))


def test_logistic_regression_by_hand():
    ranker = plain("logistic_regression")
    with torch.no_grad():
        for number, table in enumerate(ranker.embedding.tables.embedding_bags.values()):
            for row in range(9):
                table.weight[row] = row * 10.0**number
        ranker.head.weight[0, 1:] = torch.tensor([0.5, 0.0, 0.0])
        ranker.head.bias.fill_(-1.0)
    rows = EncodedRows(
        ids=np.array([[2], [3]], dtype=np.int32), bags={"tag": (np.array([4, 6], dtype=np.int32), np.array([0, 2]))},
        dense=np.array([[8.0, 1.0, 1.0]], dtype=np.float32), labels=np.zeros(1, dtype=np.float32),
    )  # fmt: skip
    # 2 + 30 + mean(400, 600) + .5 * 8 - 1
    assert ranker(make_batch(rows, FEATURES, 1, max_segments=40)).tolist() == [535.0]


def test_unknown_ranker_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown ranker 'dcn' .known: .*dcn_v2, deep_fm, dien, "):
        find_ranker("dcn")


def test_third_party_rankers_come_by_entry_point(monkeypatch):
    class Point:
        name = "theirs"

        def __init__(self, value):
            self.value = value

        def load(self):
            return self.value

    monkeypatch.setattr("ranking.rankers.entry_points", lambda group: [Point(RANKERS["dcn_v2"])])
    assert isinstance(find_ranker("theirs"), RankerEntry)
    monkeypatch.setattr("ranking.rankers.entry_points", lambda group: [Point(3)])
    with pytest.raises(ConfigError, match="ranker 'theirs': its entry point holds a int, expected a RankerEntry"):
        find_ranker("theirs")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"embedding_dim": 6}, "field 'embedding_dim': Input should be a multiple of 4"),
        ({"dropout": 1.0}, "field 'dropout'"),
        ({"cros_layers": 2}, "unknown field 'cros_layers'"),
        ({"scores": {"use": "weight"}}, "field 'scores.use': Input should be 'features', 'weights', 'both' or 'none'"),
        ({"scores": {"temp": 2}}, "unknown field 'scores.temp' .known: use, weighting"),
        ({"structure": "serial"}, "field 'structure': Input should be 'parallel' or 'stacked'"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(ConfigError, match=message):
        find_ranker("dcn_v2").config.checked(values)


@pytest.mark.parametrize("head", ["shared_bottom", "mmoe"])
def test_several_labels_keep_the_contract(name, head):
    """A batch of one, permuted rows, and weights saved and loaded, with three logits a row."""

    def three():
        ranker = build(name)
        ranker.head = TaskHead(TasksConfig(head=head, tower_mlp=(5,)), ranker.head, 3)
        return ranker.eval()

    ranker, rows, order = three(), rows_of(7), np.array([3, 0, 6, 1, 2, 5, 4])
    stirred(ranker.head)
    together = ranker(batch_of(rows))
    assert together.shape == (7, 3)
    alone = torch.cat([ranker(batch_of(rows.take(np.array([place])))) for place in range(7)])
    assert torch.allclose(alone, together, atol=1e-5, rtol=1e-5)
    assert torch.allclose(ranker(batch_of(rows.take(order))), together[order], atol=1e-5, rtol=1e-5)
    other = three()
    assert not torch.equal(other(batch_of(rows)), together)
    other.load_state_dict(ranker.state_dict())
    assert torch.equal(other(batch_of(rows)), together)
