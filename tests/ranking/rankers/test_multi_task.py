"""Heads of several labels: by hand, against deepctr-torch and torch-rechub with copied weights, and under SegRec."""

import numpy as np
import pytest
import torch
from torch import nn

from ranking.batching import make_batch
from ranking.layers import RankerInputs
from ranking.layers.feature_embedding import one_table_each
from ranking.rankers import ScoresConfig, SegmentWeighting, find_ranker
from ranking.rankers.multi_task import TaskHead, TasksConfig
from ranking.rows.encoded_rows import EncodedRows
from segrec.records import ConfigError

HEADS = ["shared_bottom", "mmoe"]


def head_of(width=3, tasks=2, **settings):
    torch.manual_seed(0)
    return TaskHead(TasksConfig(**{"dropout": 0.0, **settings}), nn.Linear(width, 1), tasks).eval()


def set_weights(layer, weight, bias=None):
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))


def test_shared_bottom_by_hand():
    head = head_of(width=2, tower_mlp=(2,))
    set_weights(head.towers[0].layers[0], [[1.0, 0.0], [0.0, -1.0]], [0.0, 0.0])
    set_weights(head.towers[1].layers[0], [[1.0, 1.0], [0.0, 0.0]], [0.5, 2.0])
    set_weights(head, [[1.0, 10.0], [2.0, 1.0]], [0.25, -1.0])
    # tower 1: relu(3, -4) = (3, 0); tower 2: relu(7.5, 2) = (7.5, 2)
    assert head(torch.tensor([[3.0, 4.0]])).tolist() == [[3.25, 16.0]]


def test_mmoe_by_hand():
    head = head_of(width=2, head="mmoe", experts=2, expert_mlp=(1,), tower_mlp=())
    set_weights(head.experts[0].layers[0], [[1.0, 0.0]], [0.0])
    set_weights(head.experts[1].layers[0], [[0.0, 2.0]], [1.0])
    set_weights(head.gates[0], [[0.0, 0.0], [0.0, 0.0]])
    set_weights(head.gates[1], [[np.log(3) / 3, 0.0], [0.0, 0.0]])
    set_weights(head, [[2.0], [4.0]], [0.0, 1.0])
    # experts 3 and 9; gates (1/2, 1/2) and (3/4, 1/4)
    assert head(torch.tensor([[3.0, 4.0]])).tolist() == [[12.0, pytest.approx(4 * (2.25 + 2.25) + 1, rel=1e-6)]]


def test_one_task_without_a_tower_is_the_rankers_own_head():
    single = nn.Linear(5, 1)
    head, hidden = TaskHead(TasksConfig(tower_mlp=()), single, 1), torch.randn(4, 5)
    with torch.no_grad():
        head.bias.copy_(single.bias)
    assert torch.allclose(head(hidden), single(hidden), atol=1e-6)


def test_linear_towers_start_at_the_rankers_weights_others_do_not():
    single = nn.Linear(5, 1)
    assert torch.equal(TaskHead(TasksConfig(tower_mlp=()), single, 3).weight, single.weight.expand(3, 5))
    assert TaskHead(TasksConfig(tower_mlp=(7,)), single, 3).weight.shape == (3, 7)
    assert TaskHead(TasksConfig(head="mmoe", tower_mlp=(), expert_mlp=(5,)), single, 3).weight.std() > 0


@pytest.mark.parametrize("head", HEADS)
def test_leading_dimensions_are_kept_and_gradients_reach_every_weight(head):
    made = head_of(head=head, tasks=3).train()
    hidden = torch.randn(2, 4, 3)
    logits = made(hidden)
    assert logits.shape == (2, 4, 3)
    assert torch.allclose(made(hidden[1, 2]), logits[1, 2], atol=1e-6)
    logits.square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in made.parameters())


def test_a_task_moves_only_its_own_tower_and_gate():
    head = head_of(head="mmoe", tasks=2).train()
    head(torch.randn(6, 3))[:, 0].sum().backward()
    assert head.gates[1].weight.grad is None or not head.gates[1].weight.grad.abs().sum()
    assert not any(weight.grad is not None and weight.grad.abs().sum() for weight in head.towers[1].parameters())
    assert head.gates[0].weight.grad.abs().sum() > 0


def copy_mlp(mlp, linears):
    for ours, theirs in zip([layer for layer in mlp.layers if isinstance(layer, nn.Linear)], linears, strict=True):
        ours.load_state_dict(theirs.state_dict())


@pytest.mark.parametrize("head", HEADS)
def test_equals_deepctr_torch(head):
    multitask = pytest.importorskip("deepctr_torch.models.multitask")
    inputs = pytest.importorskip("deepctr_torch.inputs")
    columns = [inputs.DenseFeat("x", 6)]
    given = {"dnn_feature_columns": columns, "tower_dnn_hidden_units": (4,), "init_std": 0.5}
    if head == "mmoe":
        theirs = multitask.MMOE(num_experts=3, expert_dnn_hidden_units=(5,), gate_dnn_hidden_units=(), **given)
    else:
        theirs = multitask.SharedBottom(bottom_dnn_hidden_units=(6,), **given)
    ours = head_of(6, head=head, experts=3, expert_mlp=(5,), tower_mlp=(4,))
    with torch.no_grad():
        for task in range(2):
            copy_mlp(ours.towers[task], theirs.tower_dnn[task].linears)
            ours.weight[task] = theirs.tower_dnn_final_layer[task].weight[0]
            ours.bias[task] = theirs.out[task].bias[0]
            if head == "mmoe":
                ours.gates[task].load_state_dict(theirs.gate_dnn_final_layer[task].state_dict())
        for place, expert in enumerate(ours.experts):
            copy_mlp(expert, theirs.expert_dnn[place].linears)
    x = torch.randn(7, 6)
    hidden = x if head == "mmoe" else theirs.bottom_dnn(x)
    assert torch.allclose(torch.sigmoid(ours(hidden)), theirs.eval()(x), atol=1e-5)


def test_mmoe_equals_torch_rechub():
    """Its batch norm stands at its start: x / sqrt(1 + eps), taken into the weights here."""
    rechub = pytest.importorskip("torch_rechub.models.multi_task")
    features = pytest.importorskip("torch_rechub.basic.features")
    dense = [features.DenseFeature(f"x{place}") for place in range(6)]
    torch.manual_seed(3)
    theirs = rechub.MMOE(dense, ["classification"] * 2, 3, {"dims": [5]}, [{"dims": [4]}] * 2).eval()
    ours = head_of(6, head="mmoe", experts=3, expert_mlp=(5,), tower_mlp=(4,))

    def fold(mine, mlp):
        shrunk = (1 + mlp.mlp[1].eps) ** -0.5
        set_weights(mine.layers[0], (mlp.mlp[0].weight * shrunk).tolist(), (mlp.mlp[0].bias * shrunk).tolist())

    for place, expert in enumerate(theirs.experts):
        fold(ours.experts[place], expert)
    with torch.no_grad():
        for task, tower in enumerate(theirs.towers):
            fold(ours.towers[task], tower)
            ours.weight[task], ours.bias[task] = tower.mlp[-1].weight[0], tower.mlp[-1].bias[0]
            gate = theirs.gates[task].mlp
            shrunk = (1 + gate[1].eps) ** -0.5
            ours.gates[task].weight.copy_(gate[0].weight * shrunk)
            gate[0].bias.zero_()
    x = torch.randn(7, 6)
    given = {f"x{place}": x[:, place] for place in range(6)}
    assert torch.allclose(torch.sigmoid(ours(x)), theirs(given), atol=1e-5)


LENGTHS = [3, 1, 2]


def segments():
    rows = EncodedRows(
        ids=np.array([[2, 3, 4]], dtype=np.int32), bags={}, dense=np.ones((3, 1), dtype=np.float32),
        labels=np.zeros((3, 2), dtype=np.float32),
        scores=(np.array([0.1, 0.9, 0.4, 0.7], dtype=np.float32), np.array([0, 3, 4, 4])),
        segments=np.array(LENGTHS, dtype=np.int32),
    )  # fmt: skip
    return make_batch(rows, ("user",), 3, max_segments=4)


def weighted(head, **scores):
    settings = ScoresConfig(use="weights", max_segments=4, position_width=2, **scores)
    config = find_ranker("dcn_v2").config(scores=settings)
    tables = one_table_each(["user"], [6], config.table_template().model_copy(update={"init_std": 0.5}))
    inputs = RankerInputs(tables, ("user",), 1, extra_width=2 if config.scores.enter == "input" else 0)
    torch.manual_seed(0)
    ranker = find_ranker("dcn_v2").build(config, inputs, "cpu")
    ranker.head = TaskHead(TasksConfig(head=head, tower_mlp=(5,)), ranker.head, 2)
    return SegmentWeighting(settings, ranker).eval()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("enter", ["head", "input"])
@pytest.mark.parametrize("weighting", ["segrec", "segsum", "segadjust"])
def test_segrec_weights_every_tasks_logits(head, enter, weighting):
    model, given = weighted(head, enter=enter, weighting=weighting), segments()
    if enter == "head" and weighting == "segrec":
        assert torch.allclose(model(given), model.backbone(given), atol=1e-6)  # positions start at 0
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    weights = model.weights(given.scores, torch.arange(given.scores.shape[1])[None] < given.segments[:, None])
    x, found = model.backbone.embed(given), model(given)
    assert found.shape == (3, 2)
    for row, length in enumerate(LENGTHS):
        expected = torch.zeros(2)
        for place in range(length):
            position = model.positions.weight[place]
            if enter == "input":
                logits = model.backbone.logits(torch.cat([x[row], position]))
            else:
                turned = model.turn(position).reshape(2, 6)
                last = model.backbone.head.features(model.backbone.hidden(x[row]))
                logits = (last * (model.backbone.head.weight + turned[:, :-1])).sum(dim=1)
                logits = logits + model.backbone.head.bias + turned[:, -1]
            expected = expected + weights[row, place] * logits
        assert torch.allclose(found[row], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"head": "ple"}, "field 'tasks.head': Input should be 'shared_bottom' or 'mmoe'"),
        ({"expert_mlp": []}, "field 'tasks.expert_mlp'"),
        ({"weights": {"is_click": -1}}, "field 'tasks.weights.is_click'"),
        ({"dropout": 1}, "field 'tasks.dropout'"),
        ({"balance": "pcgrad"}, "field 'tasks.balance'"),
        ({"towers": [3]}, r"unknown field 'tasks.towers' .known: head, tower_mlp"),
    ],
)
def test_bad_settings(tasks, message):
    with pytest.raises(ConfigError, match=message):
        find_ranker("dcn_v2").config.checked({"tasks": tasks})
