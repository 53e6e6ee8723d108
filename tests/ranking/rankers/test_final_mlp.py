"""FinalMLP: gates and fusion by hand, against fuxictr with copied weights; bad settings are named."""

import math

import numpy as np
import pytest
import torch

from ranking.layers import RankerInputs
from ranking.layers.feature_embedding import one_table_each
from ranking.rankers import find_ranker
from segrec.records import ConfigError

NAMES = ("user", "item", "tag")


def build(dense=1, extra=0, **values):
    config = find_ranker("final_mlp").config(**{"embedding_dim": 4, "dropout": 0.0, **values})
    tables = one_table_each(NAMES, [9] * 3, config.table_template())
    torch.manual_seed(0)
    return find_ranker("final_mlp").build(config, RankerInputs(tables, NAMES, dense, extra), "cpu").eval()


def zeroed(ranker):
    with torch.no_grad():
        for parameter in ranker.parameters():
            parameter.zero_()
    return ranker


def test_fusion_by_hand():
    ranker = build(first_mlp=(4,), second_mlp=(2,), heads=2)
    with torch.no_grad():
        ranker.form.copy_(torch.tensor([[[1.0], [10.0]], [[2.0], [0.5]]]))
    # head 1: (1 * 1 + 2 * 10) * 5 = 105; head 2: (3 * 2 + 4 * .5) * 6 = 48
    found = ranker.product(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[5.0, 6.0]]))
    assert found.tolist() == [[153.0]]


def test_whole_model_by_hand():
    ranker = zeroed(build(first_mlp=(1,), second_mlp=(1,), gate_mlp=()))
    with torch.no_grad():
        ranker.first_gate.out.bias[0] = math.log(3)  # 2 * 3/4 = 1.5 on the first column, 1 elsewhere
        ranker.first.layers[0].weight[0, [0, 1]] = 1.0
        ranker.second.layers[0].weight[0, 12] = 1.0
        ranker.form.fill_(2.0)
        ranker.head.weight.copy_(torch.tensor([[1.0, 10.0, 100.0]]))
        ranker.head.bias.fill_(0.25)
    x = torch.zeros(1, 13)
    x[0, 0], x[0, 1], x[0, 12] = 2.0, 4.0, 3.0
    # o_1 = 1.5 * 2 + 4 = 7, o_2 = 3; 7 * 2 * 3 + 70 + 300 + .25
    assert ranker.logits(x).item() == pytest.approx(412.25)


def test_gate_listens_to_its_context_only():
    ranker, x = build(first_context=("tag", "user")), torch.randn(1, 13)
    gate = ranker.first_gate(x) / x
    for column in range(13):
        moved = x.clone()
        moved[0, column] += 1.0
        changed = not torch.allclose(ranker.first_gate(moved) / moved, gate, atol=1e-6)
        assert changed == (column in {0, 1, 2, 3, 8, 9, 10, 11})
        assert torch.allclose(ranker.second_gate(moved) / moved, ranker.second_gate(x) / x, atol=1e-6)


def test_gates_start_around_one_and_can_be_left_out():
    gates = build().first_gate(torch.ones(1, 13))
    assert ((gates > 0.5) & (gates < 1.5)).all()
    x = torch.randn(2, 13)
    plain = build(gate_mlp=None)
    assert torch.equal(plain.first_gate(x), x)
    assert torch.isfinite(plain.logits(x)).all()


def test_a_position_reaches_both_streams():
    ranker, x = build(extra=2, first_context=("user",)), torch.randn(1, 15)
    moved = x.clone()
    moved[:, -1] += 3.0
    for stream, gate in ((ranker.first, ranker.first_gate), (ranker.second, ranker.second_gate)):
        assert not torch.equal(stream(gate(x)), stream(gate(moved)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"heads": 5}, "first_mlp ends 64 wide, which cannot be cut into 5 heads"),
        ({"heads": 4, "second_mlp": [6]}, "second_mlp ends 6 wide, which cannot be cut into 4 heads"),
        ({"second_mlp": []}, "field 'second_mlp'"),
        ({"gate_mlp": None, "second_context": ["user_id"]}, "first_context and second_context are for gates"),
        ({"context": ["user_id"]}, "unknown field 'context'"),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(ConfigError, match=message) as raised:
        find_ranker("final_mlp").config.checked(values)
    assert "\n" not in str(raised.value)


def test_unknown_context_names_the_known_fields():
    with pytest.raises(ConfigError, match=r"^second_context: 'usr' is no id or bag of this ranker .found: user, item"):
        build(second_context=("usr",))


@pytest.fixture
def fuxictr():
    pytest.importorskip("fuxictr.pytorch.layers", reason="fuxictr is not installed (extra: bench)")
    return pytest.importorskip("model_zoo.LongCTR.FinalMLP.FinalMLP", reason="fuxictr's model_zoo is not installed")


def test_fusion_same_as_fuxictr(fuxictr):
    theirs = fuxictr.InteractionAggregation(6, 9, num_heads=3)
    ours = build(first_mlp=(6,), second_mlp=(9,), heads=3)
    with torch.no_grad():
        theirs.w_xy.copy_(torch.randn_like(theirs.w_xy))
        ours.form.copy_(theirs.w_xy.view(3, 2, 3))
        ours.head.weight.copy_(torch.cat([torch.ones(1, 1), theirs.w_x.weight, theirs.w_y.weight], dim=1))
        ours.head.bias.copy_(theirs.w_x.bias + theirs.w_y.bias)
        x, y = torch.randn(5, 6), torch.randn(5, 9)
        found = ours.head(torch.cat([ours.product(x, y), x, y], dim=1))
        np.testing.assert_allclose(found.numpy(), theirs(x, y).numpy(), atol=1e-5)


def test_gates_same_as_fuxictr(fuxictr):
    theirs, ours = fuxictr.FeatureSelection(None, 13, 4, [8]), build(gate_mlp=(8,))
    x = torch.randn(5, 13)
    with torch.no_grad():
        pairs = (
            (ours.first_gate, theirs.fs1_ctx_bias, theirs.fs1_gate.mlp),
            (ours.second_gate, theirs.fs2_ctx_bias, theirs.fs2_gate.mlp),
        )
        for mine, context, gate in pairs:
            context.copy_(torch.randn(1, 4))
            mine.bias.copy_(context[0])
            mine.mlp.layers[0].load_state_dict(gate[0].state_dict())
            mine.out.load_state_dict(gate[2].state_dict())
        for mine, other in zip((ours.first_gate(x), ours.second_gate(x)), theirs(None, x), strict=True):
            np.testing.assert_allclose(mine.numpy(), other.numpy(), atol=1e-5)


def test_named_features_are_checked_without_data():
    """What a run asks before it fits anything."""
    config = find_ranker("final_mlp").config(first_context=("user",), second_context=("item", "usr"))
    config.check_features(["user", "item", "usr"])
    with pytest.raises(ConfigError, match=r"^second_context: 'usr' is no id or bag of this ranker .found: user"):
        config.check_features(["user", "item"])
    find_ranker("dcn_v2").config().check_features([])
