"""DCN-Mix: the mixture beside or before the MLP, by hand; bad settings are named."""

import math

import pytest
import torch

from ranking.layers import RankerInputs
from ranking.layers.feature_embedding import one_table_each
from ranking.rankers import find_ranker
from segrec.records import ConfigError


def build(extra=0, **values):
    config = find_ranker("dcn_mix").config(embedding_dim=4, dropout=0.0, **values)
    tables = one_table_each(["user"], [9], config.table_template())
    torch.manual_seed(0)
    return find_ranker("dcn_mix").build(config, RankerInputs(tables, ("user",), 1, extra), "cpu").eval()


def test_by_hand():
    ranker = build(cross_layers=1, experts=1, expert_rank=1, mlp=(1,))
    with torch.no_grad():
        for parameter in (*ranker.cross.parameters(), *ranker.mlp.parameters(), *ranker.head.parameters()):
            parameter.zero_()
        ranker.cross.down[0].weight[0, 4] = 1.0
        ranker.cross.core[0].fill_(2.0)
        ranker.cross.up[0].weight[0, 0] = 3.0
        ranker.mlp.layers[0].weight[0, 1] = 1.0
        ranker.head.weight[0, [0, 5]] = torch.tensor([1.0, 10.0])
        ranker.head.bias.fill_(0.25)
    # cross_0 = 2 * 3 tanh(2 tanh .5) + 2; mlp = relu(7)
    expected = 6 * math.tanh(2 * math.tanh(0.5)) + 2 + 70 + 0.25
    assert ranker.logits(torch.tensor([[2.0, 7.0, 0.0, 0.0, 0.5]])).item() == pytest.approx(expected, rel=1e-6)


def test_stacked_runs_the_mlp_on_the_crossed_row():
    ranker, x = build(structure="stacked", mlp=(3,)), torch.randn(2, 5)
    assert torch.equal(ranker.hidden(x), ranker.mlp(ranker.cross(x)))


def test_a_position_meets_every_column_in_the_crosses():
    ranker, x = build(extra=2, mlp=()), torch.randn(1, 7)
    moved = x.clone()
    moved[:, -1] += 1.0
    assert (ranker.hidden(x) != ranker.hidden(moved)).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"experts": 0}, "field 'experts': Input should be greater than 0"),
        ({"expert_rank": 0}, "field 'expert_rank': Input should be greater than 0"),
        ({"cross_rank": 8}, "unknown field 'cross_rank'"),
        ({"structure": "serial"}, "field 'structure': Input should be 'parallel' or 'stacked'"),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(ConfigError, match=message) as raised:
        find_ranker("dcn_mix").config.checked(values)
    assert "\n" not in str(raised.value)
