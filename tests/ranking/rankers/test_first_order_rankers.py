"""Wide & Deep, DeepFM and DIFM: parts by hand, and whole models against deepctr-torch with copied weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.batching import make_batch
from ranking.layers import WEIGHT_COLUMNS, FieldAttention, IdFields, RankerInputs, pairwise_interactions
from ranking.layers.feature_embedding import one_table_each
from ranking.rankers import find_ranker
from ranking.rows.encoded_rows import EncodedRows
from segrec.records import ConfigError

NAMES = ("user", "item", "author")
ROWS = 9


def build(name, dense=0, extra=0, **settings):
    config = find_ranker(name).config(**{"embedding_dim": 4, "table_init_std": 0.5, "dropout": 0.0, **settings})
    tables = one_table_each(NAMES, [ROWS] * 3, config.table_template())
    torch.manual_seed(0)
    return find_ranker(name).build(config, RankerInputs(tables, NAMES, dense, extra), "cpu").eval()


def row(weights, vectors, rest=()):
    """An embedded row x: each field's vector, then its weight in every weight column."""
    parts = [[*vector, *([weight] * WEIGHT_COLUMNS)] for weight, vector in zip(weights, vectors, strict=True)]
    return torch.tensor([[value for part in parts for value in part] + list(rest)])


def quiet(ranker, *parts):
    """The named parts' weights at 0."""
    with torch.no_grad():
        for part in parts:
            for parameter in getattr(ranker, part).parameters():
                parameter.zero_()


VECTORS = [[1.0, 0, 2, 0], [3.0, 1, 0, 0], [0, 0, 1.0, 0]]


def test_pairs_by_hand():
    # <e1, e2> = 3, <e1, e3> = 2, <e2, e3> = 0
    assert pairwise_interactions(torch.tensor(VECTORS)).item() == 5.0
    assert pairwise_interactions(torch.tensor(VECTORS[:1])).item() == 0.0


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31))
def test_pairs_equal_the_double_loop(fields, dim, seed):
    vectors = torch.randn(fields, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = sum(float(vectors[f] @ vectors[g]) for f in range(fields) for g in range(f + 1, fields))
    assert pairwise_interactions(vectors).item() == pytest.approx(expected, abs=1e-9)


def test_a_row_is_cut_into_vectors_weights_and_the_rest():
    fields = build("deep_fm", dense=1, extra=1).fields
    weights, vectors, rest = fields(row([5.0, 6.0, 7.0], VECTORS, [8.0, 9.0]))
    assert (weights.tolist(), vectors.tolist(), rest.tolist()) == ([[5.0, 6.0, 7.0]], [VECTORS], [[8.0, 9.0]])


def test_fields_need_one_width_with_room_for_a_weight():
    template = find_ranker("deep_fm").config(embedding_dim=4).table_template()
    tables = one_table_each(["a", "b"], [3, 3], template)
    other = tables[1].model_copy(update={"dim": 12})
    with pytest.raises(ValueError, match=r"fields need tables of one width above 4 .found: 8, 12"):
        IdFields(RankerInputs((tables[0], other), ("a", "b"), 0))
    with pytest.raises(ValueError, match=r"one width above 4 .found: 4"):
        IdFields(RankerInputs((tables[0].model_copy(update={"dim": 4}),), ("a",), 0))


def test_wide_and_deep_by_hand():
    ranker = build("wide_deep", dense=1, mlp=(1,))
    quiet(ranker, "mlp")
    with torch.no_grad():
        ranker.mlp.layers[0].weight[0, [0, 12]] = torch.tensor([1.0, 10.0])  # the first vector's first value, dense
        ranker.head.weight.copy_(torch.tensor([[1.0, 0.5, 2.0]]))
        ranker.head.bias.fill_(0.25)
    # wide 1 + 2 + 3, dense .5 * 4, deep 2 * relu(1 + 40)
    assert ranker.logits(row([1.0, 2.0, 3.0], VECTORS, [4.0])).tolist() == [6 + 2 + 82 + 0.25]


def test_deep_fm_by_hand():
    ranker = build("deep_fm", dense=1, mlp=(1,))
    quiet(ranker, "mlp")
    with torch.no_grad():
        ranker.mlp.layers[0].bias.fill_(7.0)
        ranker.head.weight.copy_(torch.tensor([[1.0, 1.0, 0.5, 2.0]]))
        ranker.head.bias.fill_(0.25)
    # wide 6, FM 5, dense 2, deep 14
    assert ranker.logits(row([1.0, 2.0, 3.0], VECTORS, [4.0])).tolist() == [6 + 5 + 2 + 14 + 0.25]


def test_difm_by_hand():
    ranker = build("difm", dense=1, mlp=(1,))
    quiet(ranker, "mlp", "attention", "by_vector")
    with torch.no_grad():
        ranker.mlp.layers[0].bias.fill_(1.0)
        ranker.by_bit.weight.copy_(torch.tensor([[2.0], [1.0], [-3.0]]))
        ranker.head.weight.copy_(torch.tensor([[1.0, 1.0, 0.5]]))
        ranker.head.bias.fill_(0.25)
    # m = (2, 1, -3): wide 2 * 1 + 1 * 2 - 3 * 3 = -5; FM 2 * 1 * 3 + 2 * -3 * 2 = -6; dense unweighted: 2
    assert ranker.logits(row([1.0, 2.0, 3.0], VECTORS, [4.0])).tolist() == [-5 - 6 + 2 + 0.25]


def test_field_attention_by_hand():
    attention = FieldAttention(2, 1)
    with torch.no_grad():
        for part in (attention.query, attention.key):
            part.weight.zero_()
        attention.value.weight.copy_(torch.eye(2))
        attention.residual.weight.copy_(torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    # equal weights: the mean (2, -1), then (0, second value) is added, then relu
    assert attention(torch.tensor([[1.0, 4.0], [3.0, -6.0]])).tolist() == [[2.0, 3.0], [2.0, 0.0]]


def test_field_attention_looks_at_the_like_field():
    attention = FieldAttention(2, 1)
    with torch.no_grad():
        for part in (attention.query, attention.key, attention.value):
            part.weight.copy_(torch.eye(2))
        attention.residual.weight.zero_()
    found = attention(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    first = np.exp([1 / 2**0.5, 0.0])
    second = np.exp([0.0, 4 / 2**0.5])
    expected = [[first[0] / first.sum(), 2 * first[1] / first.sum()],
                [second[0] / second.sum(), 2 * second[1] / second.sum()]]  # fmt: skip
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-6)


def test_difm_lets_a_position_change_the_weights():
    ranker = build("difm", dense=1, extra=2)
    with torch.no_grad():
        ranker.head.weight[0, 2:].zero_()  # dense and position out of the sum itself
    x = torch.randn(1, 3 * 8 + 3)
    moved = x.clone()
    moved[:, -2:] += 3.0
    assert ranker.logits(x).item() != ranker.logits(moved).item()
    moved = x.clone()
    moved[:, -3] += 3.0  # the dense column enters linearly alone
    assert ranker.logits(x).item() == ranker.logits(moved).item()


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("difm", {"embedding_dim": 8, "heads": 3}, "embedding_dim 8 cannot be cut into 3 heads"),
        ("difm", {"mlp": []}, "field 'mlp'"),
        ("deep_fm", {"embedding_dim": 6}, "field 'embedding_dim': Input should be a multiple of 4"),
        ("wide_deep", {"crosses": ["a"]}, "unknown field 'crosses'"),
    ],
)
def test_bad_settings_are_named(name, values, message):
    with pytest.raises(ConfigError, match=message):
        find_ranker(name).config.checked(values)


def test_difm_asks_for_bucketed_numbers_unless_told():
    config = find_ranker("difm").config
    assert config().feature_config().dense_buckets == 10
    assert config.checked({"features": {"dense_buckets": 0, "min_count": 3}}).feature_config().dense_buckets == 0
    kept = config.checked({"features": {"min_count": 3}}).feature_config()
    assert (kept.dense_buckets, kept.min_count) == (10, 3)
    assert find_ranker("deep_fm").config().feature_config().dense_buckets is None


def test_attention_needs_fitting_heads():
    with pytest.raises(ValueError, match="dim 6 cannot be cut into 4 heads"):
        FieldAttention(6, 4)


def test_learning_moves_weight_columns_alike():
    """The mean of four equal columns is one weight: their gradients are equal."""
    ranker = build("deep_fm", dense=1)
    ranker.embedding.tables.zero_grad()
    ranker(batch_of(np.random.default_rng(0), dense=1)).sum().backward()
    for table in ranker.embedding.tables.embedding_bags.values():
        columns = table.weight.grad.to_dense()[:, -WEIGHT_COLUMNS:]
        assert torch.equal(columns, columns[:, :1].expand_as(columns))


def batch_of(generator, dense, count=6):
    rows = EncodedRows(
        ids=generator.integers(0, ROWS, (3, count)).astype(np.int32), bags={},
        dense=generator.normal(size=(count, dense)).astype(np.float32), labels=np.zeros(count, dtype=np.float32),
    )  # fmt: skip
    return make_batch(rows, NAMES, count, max_segments=40)


MLP = (8, 5)


@pytest.fixture
def deepctr():
    models = pytest.importorskip("deepctr_torch.models", reason="deepctr-torch is not installed (extra: bench)")
    inputs = pytest.importorskip("deepctr_torch.inputs")
    columns = [inputs.SparseFeat(name, ROWS, embedding_dim=8) for name in NAMES]
    columns += [inputs.DenseFeat(f"dense_{number}", 1) for number in range(2)]

    def make(name):
        kind = {"wide_deep": models.WDL, "deep_fm": models.DeepFM, "difm": models.DIFM}[name]
        made = kind(columns, columns, dnn_hidden_units=MLP, init_std=0.3, seed=3).eval()
        with torch.no_grad():
            made.out.bias.fill_(0.7)
            for parameter in made.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return made

    return make


def copy_tables_and_wide(ours, theirs):
    """Vectors, first-order weights (into each of their columns), dense weights and the bias."""
    for number, name in enumerate(NAMES):
        table = list(ours.embedding.tables.embedding_bags.values())[number]
        table.weight[:, :8] = theirs.embedding_dict[name].weight
        table.weight[:, 8:] = theirs.linear_model.embedding_dict[name].weight
    terms = 1 if type(ours).__name__ == "WideDeep" else 2
    ours.head.weight[0, terms : terms + 2] = theirs.linear_model.weight[:, 0]
    ours.head.bias.copy_(theirs.out.bias)


def copy_mlp(ours, theirs):
    layers = [layer for layer in ours.layers if isinstance(layer, torch.nn.Linear)]
    for mine, other in zip(layers, theirs.linears, strict=True):
        mine.load_state_dict(other.state_dict())


def copied(name, theirs):
    ours = build(name, dense=2, embedding_dim=8, mlp=MLP)
    with torch.no_grad():
        copy_tables_and_wide(ours, theirs)
        if name != "difm":
            copy_mlp(ours.mlp, theirs.dnn)
            ours.head.weight[0, -MLP[-1] :] = theirs.dnn_linear.weight[0]
            return ours
        copy_mlp(ours.mlp, theirs.bit_wise_net)
        ours.by_vector.load_state_dict(theirs.transform_matrix_P_vec.state_dict())
        ours.by_bit.load_state_dict(theirs.transform_matrix_P_bit.state_dict())
        net = theirs.vector_wise_net
        for part, weight in (
            ("query", net.W_Query), ("key", net.W_key), ("value", net.W_Value), ("residual", net.W_Res),
        ):  # fmt: skip
            getattr(ours.attention, part).weight.copy_(weight.T)
    return ours


@pytest.mark.parametrize("name", ["wide_deep", "deep_fm", "difm"])
def test_same_as_deepctr(name, deepctr):
    theirs = deepctr(name)
    ours, generator = copied(name, theirs), np.random.default_rng(5)
    batch = batch_of(generator, dense=2, count=40)
    codes = torch.stack([batch.sparse.to_dict()[field].values() for field in NAMES], dim=1)
    with torch.no_grad():
        expected = theirs(torch.cat([codes.float(), batch.dense], dim=1))[:, 0]
        assert torch.allclose(torch.sigmoid(ours(batch)), expected, atol=1e-5)
    assert expected.std() > 0.05
