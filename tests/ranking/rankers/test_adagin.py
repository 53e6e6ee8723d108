"""AdaGIN against loops over fields in plain floats; our graph repeats and learns, the released one is random."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.layers import FieldGraph, RankerInputs
from ranking.layers.feature_embedding import one_table_each
from ranking.rankers import find_ranker
from ranking.rankers.adagin import GatedReadout
from segrec.records import ConfigError

NAMES = ("user", "item", "author")


def build(dense=0, extra=0, **settings):
    config = find_ranker("adagin").config(**{"embedding_dim": 4, "dropout": 0.0, "mlp": (5, 3), **settings})
    tables = one_table_each(NAMES, [9] * 3, config.table_template())
    torch.manual_seed(0)
    return find_ranker("adagin").build(config, RankerInputs(tables, NAMES, dense, extra), "cpu").eval()


def leaky(value):
    return value if value > 0 else 0.01 * value


def softmax(values, temperature):
    exact = [math.exp(value / temperature) for value in values]
    return [value / sum(exact) for value in exact]


def dot(left, right):
    return sum(a * b for a, b in zip(left, right, strict=True))


def apply(matrix, vector):
    return [dot(line, vector) for line in matrix]


def adjacency(graph, state):
    edge = graph.edge.weight[0].tolist()
    rows = []
    for place, listening in enumerate(state):
        row = softmax([leaky(dot(edge, [*listening, *heard])) for heard in state], graph.cold_temperature)
        row[place] = 1.0
        rows.append(row)
    return rows


def gates(graph, turned):
    first, _, second = graph.gate
    weights, biases = first.weight.tolist(), first.bias.tolist()
    logits = []
    for vector in turned:
        inner = [max(value + bias, 0.0) for value, bias in zip(apply(weights, vector), biases, strict=True)]
        logits.append(dot(second.weight[0].tolist(), inner))
    return softmax(logits, graph.warm_temperature)


def run_graph(graph, fields, layers):
    state = fields
    for _ in range(layers):
        rows = adjacency(graph, state)
        heard = [[sum(a * h[c] for a, h in zip(row, state, strict=True)) for c in range(len(state[0]))] for row in rows]
        turned = [apply(matrix, vector) for matrix, vector in zip(graph.weight.tolist(), heard, strict=True)]
        state = [
            [leaky(gate * n) + e for n, e in zip(vector, field, strict=True)]
            for gate, vector, field in zip(gates(graph, turned), turned, fields, strict=True)
        ]
    return state


def run_mlp(network, vector):
    mlp, last = network
    for layer in mlp.layers:
        if isinstance(layer, torch.nn.Linear):
            vector = [
                leaky(dot(w, vector) + b) for w, b in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
            ]
    return dot(last.weight[0].tolist(), vector) + last.bias.item()


def run_readout(readout, vector):
    return run_mlp(readout.value, vector) * leaky(run_mlp(readout.gate, vector))


def graph_of(fields, dim, layers, **settings):
    torch.manual_seed(fields + 7 * dim)
    graph = FieldGraph(fields, dim, layers, gate_width=3, **settings).double()
    with torch.no_grad():
        graph.gate[2].weight.mul_(5.0)
    return graph


def test_one_layer_of_two_fields_by_hand():
    graph = FieldGraph(2, 1, 1, gate_width=1)
    with torch.no_grad():
        graph.edge.weight.copy_(torch.tensor([[1.0, 1.0]]))
        graph.weight.copy_(torch.tensor([[[2.0]], [[-1.0]]]))
        graph.gate[0].weight.fill_(1.0)
        graph.gate[0].bias.zero_()
        graph.gate[2].weight.fill_(0.5)
    fields = torch.tensor([[1.0], [3.0]])
    # logits [[2, 4], [4, 6]]: both rows differ by 2, so the earlier weighs 1 / (1 + e^2) = a and the later 1 - a
    a = 1 / (1 + math.exp(2))
    assert graph.adjacency(fields).tolist() == [pytest.approx([1.0, 1 - a]), pytest.approx([a, 1.0])]
    # heard 1 + 3 (1 - a) and a + 3; turned 8 - 6 a and -(3 + a); gate logits 4 - 3 a and 0
    gate = 1 / (1 + math.exp(-(4 - 3 * a)))
    assert graph.gates(torch.tensor([[8 - 6 * a], [-3 - a]])).flatten().tolist() == pytest.approx([gate, 1 - gate])
    expected = [gate * (8 - 6 * a) + 1, -0.01 * (1 - gate) * (3 + a) + 3]
    assert graph(fields).flatten().tolist() == pytest.approx(expected)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.floats(0.2, 2.0), st.integers(0, 2**31))
def test_graph_equals_the_loops(fields, dim, layers, temperature, seed):
    graph = graph_of(fields, dim, layers, cold_temperature=temperature, warm_temperature=1.5)
    given_fields = torch.randn(2, fields, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for out, row in zip(graph(given_fields).tolist(), given_fields.tolist(), strict=True):
        for vector, expected in zip(out, run_graph(graph, row, layers), strict=True):
            assert vector == pytest.approx(expected, abs=1e-9)


def test_the_residual_is_the_input_of_the_graph():
    graph, fields = graph_of(3, 2, 4), torch.randn(3, 2, dtype=torch.float64)
    with torch.no_grad():
        graph.weight.zero_()
    assert torch.equal(graph(fields), fields)


def test_logit_equals_the_loops():
    ranker = build(dense=1, extra=1, layers=2).double()
    x = torch.randn(2, 3 * 4 + 2, dtype=torch.float64)
    for logit, row in zip(ranker.logits(x).tolist(), x.tolist(), strict=True):
        nodes = run_graph(ranker.graph, [row[:4], row[4:8], row[8:12]], 2)
        pairs = [(i, j) for i in range(3) for j in range(i, 3)]
        assert len(pairs) == 6
        products = [[a * b for a, b in zip(nodes[i], nodes[j], strict=True)] for i, j in pairs]
        read = [
            run_readout(ranker.pairs, [value for product in products for value in product]),
            run_readout(ranker.products, [sum(product) for product in products]),
            run_readout(ranker.flat, [*(value for node in nodes for value in node), *row[12:]]),
        ]
        expected = dot(ranker.head.weight[0].tolist(), [*read, *row[12:]]) + ranker.head.bias.item()
        assert logit == pytest.approx(expected, abs=1e-9)


def test_readouts_enter_the_logit_whole_at_first():
    assert build(dense=2).head.weight[0, :3].tolist() == [1.0, 1.0, 1.0]


def test_readout_by_hand():
    readout = GatedReadout(1, (1,), 0.0)
    with torch.no_grad():
        for network, weight in ((readout.value, 2.0), (readout.gate, -1.0)):
            network[0].layers[0].weight.fill_(weight)
            network[1].weight.fill_(10.0)
            network[0].layers[0].bias.zero_()
            network[1].bias.fill_(1.0)
    # value 10 * 6 + 1 = 61; gate leaky(10 * -.03 + 1) = .7
    assert readout(torch.tensor([[3.0]])).item() == pytest.approx(61 * 0.7)


def test_our_graph_repeats_in_training_and_evaluation():
    ranker, x = build(), torch.randn(4, 12)
    torch.manual_seed(1)
    first = ranker.logits(x)
    torch.manual_seed(2)
    assert torch.equal(ranker.logits(x), first)
    assert torch.equal(ranker.train().logits(x), first)


def test_gradients_reach_every_parameter():
    ranker = build(dense=1).train()
    ranker.logits(torch.randn(64, 13)).square().sum().backward()
    silent = [
        name
        for name, parameter in ranker.named_parameters()
        if not name.startswith("embedding") and not parameter.grad.abs().sum() > 0
    ]
    assert silent == []


def test_the_released_graph_is_random_sparse_and_cannot_learn():
    ranker = build(released=True, embedding_dim=8)
    torch.manual_seed(3)
    graph, fields = FieldGraph(11, 8, 3, cold_temperature=0.01, released=True).eval(), torch.randn(200, 11, 8) * 0.01
    drawn = graph.adjacency(fields)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.diagonal(dim1=-2, dim2=-1).min() == 1.0
    # exp underflows 104 below the largest: a neighbour is in if its noise is less than 1.04 below the largest of all
    neighbours = 10 / (1 + 10 * math.exp(-1.04))
    assert drawn.sum(dim=-1).mean().item() == pytest.approx(1 + neighbours, abs=0.1)
    assert not torch.equal(graph.adjacency(fields), drawn)
    ranker.logits(torch.randn(5, 24)).sum().backward()
    assert ranker.graph.edge.weight.grad.abs().sum() == 0.0
    assert ranker.graph.weight.grad.abs().sum() > 0.0


def test_the_released_graph_gives_its_last_layers_input():
    assert FieldGraph(2, 2, 3).steps == 3
    assert FieldGraph(2, 2, 3, released=True).steps == 2
    assert build().graph.cold_temperature == 1.0
    assert build(released=True).graph.cold_temperature == 0.01
    assert build(released=True, cold_temperature=0.5).graph.cold_temperature == 0.5


@pytest.mark.parametrize(("layers", "released", "least"), [(0, False, 1), (1, True, 2)])
def test_a_graph_needs_layers(layers, released, least):
    with pytest.raises(ValueError, match=f"graph of {layers} layers gives back its input; choose {least} or more"):
        FieldGraph(2, 2, layers, released=released)


def test_dense_columns_are_bucketed_unless_told_otherwise():
    config = find_ranker("adagin").config
    assert config().feature_config().dense_buckets == 10
    assert config.checked({"features": {"dense_buckets": 0}}).feature_config().dense_buckets == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layers": 0}, "field 'layers': Input should be greater than 0"),
        ({"layers": 1, "released": True}, "layers must be 2 or more where released is true"),
        ({"cold_temperature": 0}, "field 'cold_temperature': Input should be greater than 0"),
        ({"warm_temperature": -1}, "field 'warm_temperature': Input should be greater than 0"),
        ({"gate_width": 0}, "field 'gate_width'"),
        ({"mlp": []}, "field 'mlp'"),
        ({"dropout": 1.0}, "field 'dropout'"),
        ({"heads": 2}, "unknown field 'heads'"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        find_ranker("adagin").config.checked(values)
    assert "\n" not in str(caught.value)
