"""What every ranker keeps to, and DCN-V2 and logistic regression by hand."""

import numpy as np
import pytest
import torch

from ranking.batching import make_batch
from ranking.encoded_rows import EncodedRows
from ranking.layers import RankerInputs
from ranking.layers.feature_embedding import one_table_each
from ranking.rankers import RANKERS, RankerEntry, find_ranker
from segrec.records import ConfigError

NAMES = ("user", "item", "tag")


def rows_of(count, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 4, count)
    return EncodedRows(
        ids=rng.integers(0, 9, (2, count)).astype(np.int32),
        bags={"tag": (rng.integers(0, 9, lengths.sum()).astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]))},
        dense=rng.normal(size=(count, 3)).astype(np.float32),
        labels=(rng.random(count) < 0.5).astype(np.float32),
    )


def batch_of(rows):
    return make_batch(rows, NAMES, rows.rows, max_segments=40)


def build(name, extra=0, **settings):
    entry = find_ranker(name)
    config = entry.config(embedding_dim=4, table_init_std=0.5, **settings)
    inputs = RankerInputs(
        one_table_each(NAMES, [9, 9, 9], config.table_template()), NAMES, dense_width=3, extra_width=extra
    )
    torch.manual_seed(0)
    return entry.build(config, inputs, "cpu").eval()


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
    ranker, rows = build(name), rows_of(3)
    rows.ids[0] = [0, 1, 2]
    rows.ids[1] = 5
    rows = EncodedRows(ids=rows.ids, bags={"tag": (np.array([3, 3, 3], dtype=np.int32), np.arange(4))},
                       dense=np.zeros((3, 3), dtype=np.float32), labels=rows.labels)  # fmt: skip
    logits = ranker(batch_of(rows))
    assert torch.isfinite(logits).all()
    assert len(set(logits.tolist())) == 3


def test_saved_and_loaded_predicts_the_same(name):
    ranker, batch = build(name), batch_of(rows_of(5))
    torch.manual_seed(9)
    other = build(name, seed=5)
    other.load_state_dict(ranker.state_dict())
    assert torch.equal(other(batch), ranker(batch))


def test_extra_columns_widen_the_input(name):
    ranker, batch = build(name, extra=2), batch_of(rows_of(4))
    x = torch.cat([ranker.embed(batch), torch.randn(4, 2)], dim=1)
    assert torch.isfinite(ranker.logits(x)).all()
    assert ranker.logits(x[:, None].expand(4, 5, -1)).shape == (4, 5)


def test_dcn_v2_by_hand():
    ranker = build("dcn_v2", cross_layers=1, mlp=(2,), dropout=0.0)
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
    ranker = build("dcn_v2", structure="stacked", mlp=(4,), dropout=0.0)
    x = torch.randn(2, 15)
    assert torch.equal(ranker.hidden(x), ranker.mlp(ranker.cross(x)))
    assert ranker.head.in_features == 4


def test_without_an_mlp_only_crosses_are_left():
    ranker = build("dcn_v2", mlp=())
    x = torch.randn(2, 15)
    assert torch.equal(ranker.hidden(x), ranker.cross(x))


def test_logistic_regression_by_hand():
    ranker = build("logistic_regression")
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
    assert ranker(batch_of(rows)).tolist() == [535.0]


def test_unknown_ranker_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown ranker 'dcn' .known: .*dcn_v2, deep_fm, difm, "):
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
