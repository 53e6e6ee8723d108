"""DIN, DIEN and CAN: whole models by hand or against deepctr-torch, settings, own tables, the auxiliary loss."""

import numpy as np
import pytest
import torch

from ranking.batching import make_batch
from ranking.features import FeatureConfig
from ranking.layers import Embedded, Histories, RankerInputs, SequenceInput
from ranking.layers.feature_embedding import one_table_each, with_sequences
from ranking.layers.next_event_loss import next_event_loss
from ranking.rankers import find_ranker
from ranking.rows.encoded_rows import EncodedRows
from segrec.records import ConfigError

NAMES = ("user_id", "item_id", "author_id")
PAST = (SequenceInput("past_item_id", "item_id"), SequenceInput("past_author_id", "author_id"))
READERS = ["din", "dien", "can"]
ROWS = 9


def inputs_of(name, config, dense=1, past=PAST, extra=0):
    tables = one_table_each(NAMES, [ROWS] * 3, config.table_template())
    return with_sequences(RankerInputs(tables, NAMES, dense, extra), past, in_order=True)


def build(name, dense=1, past=PAST, **settings):
    config = find_ranker(name).config.checked(
        {"embedding_dim": 4, "table_init_std": 0.5, "dropout": 0.0, "co_action_dim": 4, **settings}
        if name == "can"
        else {"embedding_dim": 4, "table_init_std": 0.5, "dropout": 0.0, **settings}
    )
    torch.manual_seed(0)
    return find_ranker(name).build(config, inputs_of(name, config, dense, past), "cpu").eval()


def batch_of(lengths, dense=1, seed=0):
    """Random rows with so many past events each."""
    generator, count = np.random.default_rng(seed), len(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = EncodedRows(
        ids=generator.integers(0, ROWS, (3, count)).astype(np.int32),
        bags={sequence.name: (generator.integers(0, ROWS, offsets[-1]).astype(np.int32), offsets) for sequence in PAST},
        dense=generator.normal(size=(count, dense)).astype(np.float32),
        labels=np.zeros(count, dtype=np.float32),
    )
    return make_batch(rows, (*NAMES, *(sequence.name for sequence in PAST)), count, max_segments=40)


def test_din_by_hand():
    ranker = build("din", past=PAST[:1], activation="relu", mlp=[1], attention_mlp=[1])
    with torch.no_grad():
        for weight in (*ranker.attention.parameters(), *ranker.mlp.parameters(), *ranker.head.parameters()):
            weight.zero_()
        ranker.attention.layers[0].weight[0, 12] = 1.0  # the first column of a * h
        ranker.attention.out.weight.fill_(1.0)
        ranker.mlp.layers[0].weight[0, 13] = 1.0  # the first column of the interest, after 3 x 4 and one dense
        ranker.mlp.layers[0].bias.fill_(0.5)
        ranker.head.weight.fill_(2.0)
        ranker.head.bias.fill_(-1.0)
    target = torch.tensor([[2.0, 0, 0, 0]])
    past = torch.tensor([[[3.0, 0, 0, 0], [-5.0, 0, 0, 0], [1.0, 0, 0, 0]]])
    histories = Histories(target, past, torch.tensor([[True, True, False]]))
    # alpha = relu(2 * 3), relu(2 * -5); interest 6 * 3; 2 * (18 + .5) - 1
    assert ranker.logits(ranker.assemble(Embedded(torch.zeros(1, 13), histories))).item() == 36.0


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("backbone", ["din", "dien"])
def test_rows_without_a_past_have_no_interest(name, backbone):
    ranker = build(name, **({"backbone": backbone} if name == "can" else {}))
    batch = batch_of([0, 3, 0])
    embedded = ranker.lookup(batch)
    x, width = ranker.assemble(embedded), embedded.row.shape[1]
    assert torch.equal(x[:, :width], embedded.row)
    assert x[[0, 2], width : width + 8].abs().sum() == 0
    assert x[1, width : width + 8].abs().min() > 0
    assert ranker.mlp.layers[0].in_features == x.shape[1]


@pytest.mark.parametrize("name", READERS)
def test_histories_are_on_unless_told_otherwise(name):
    config = find_ranker(name).config
    assert config().feature_config().history.length == 50
    told = config(features=FeatureConfig.checked({"history": {"length": 7}})).feature_config()
    assert told.history.length == 7


def test_the_auxiliary_loss_is_added_in_training_only():
    ranker, batch = build("dien"), batch_of([3, 2, 0, 4])
    ranker(batch)
    assert ranker.auxiliary is None
    torch.manual_seed(5)
    ranker.train()(batch)
    torch.manual_seed(5)
    histories = ranker.lookup(batch).histories
    states = ranker.evolution(histories).states
    expected = next_event_loss(states, histories.past, histories.valid)
    assert ranker.auxiliary.item() == pytest.approx(expected.item())
    assert expected > 0
    halved = build("dien", auxiliary_weight=0.5).train()
    torch.manual_seed(5)
    halved(batch)
    assert halved.auxiliary.item() == pytest.approx(expected.item() / 2)


def test_without_its_weight_no_auxiliary_loss_is_computed():
    ranker = build("dien", auxiliary_weight=0).train()
    state = torch.get_rng_state()
    ranker(batch_of([3, 2]))
    assert ranker.auxiliary is None
    assert torch.equal(torch.get_rng_state(), state)


def test_can_has_tables_of_its_own():
    ranker = build("can", feeds=["user_id", "author_id"], orders=2)
    specs = {spec.name: spec for spec in ranker.specs}
    assert {name: (spec.dim, spec.rows, spec.pooling, spec.features) for name, spec in specs.items()} == {
        "00_user_id": (4, ROWS, "mean", ("user_id",)),
        "01_item_id": (4, ROWS, "none", ("item_id", "past_item_id")),
        "02_author_id": (4, ROWS, "none", ("author_id", "past_author_id")),
        "01_item_id_induction": (4 * (4 * 2 + 6), ROWS, "mean", ("item_id",)),
        "00_user_id_feed": (4, ROWS, "mean", ("user_id",)),
        "02_author_id_feed": (4, ROWS, "mean", ("author_id",)),
        "01_item_id_feed": (4, ROWS, "none", ("past_item_id",)),
    }


def test_can_appends_what_the_targets_network_makes_of_user_and_past():
    ranker, batch = build("can"), batch_of([2, 0])
    embedded = ranker.lookup(batch)
    tables = {key.split(".")[-2]: weight for key, weight in ranker.state_dict().items() if "own_" in key}
    codes = {name: found.values() for name, found in batch.sparse.to_dict().items()}
    users, items = codes["user_id"], codes["item_id"]
    for row, length in ((0, 2), (1, 0)):
        network = tables["01_item_id_induction"][items[[row]]]
        of_user = ranker.co_action(network, tables["00_user_id_feed"][users[row]][None, None])[0, 0]
        of_past = torch.zeros(8)
        for code in codes["past_item_id"][:length]:
            of_past += ranker.co_action(network, tables["01_item_id_feed"][code][None, None])[0, 0] / 2
        torch.testing.assert_close(ranker.assemble(embedded)[row, -16:], torch.cat([of_user, of_past]))


def test_can_learns_in_separate_tables():
    """What reaches induction and feeds does not reach the tables that the backbone reads, and the other way round."""
    ranker, batch = build("can"), batch_of([2, 3])
    x = ranker.assemble(ranker.lookup(batch))
    for columns, own in ((x[:, -16:], True), (x[:, :-16], False)):
        ranker.zero_grad()
        columns.sum().backward(retain_graph=True)
        touched = {
            name
            for name, weight in ranker.named_parameters()
            if ".embedding" in name and weight.grad is not None and weight.grad.abs().sum() > 0
        }
        assert touched
        assert all(("own_" in name) == own for name in touched)


def test_can_on_dien_has_its_auxiliary_loss():
    ranker = build("can", backbone="dien").train()
    ranker(batch_of([3, 2]))
    assert ranker.auxiliary > 0
    assert not hasattr(build("can"), "evolution")


@pytest.mark.parametrize(
    ("settings", "past", "message"),
    [
        ({"feeds": ["usr"]}, PAST, "feeds: 'usr' is no id or bag of this ranker .found: user_id, item_id, author_id"),
        ({}, PAST[1:], "^induction: 'item_id' is not among the past events' ids .found: author_id.; name it"),
    ],
)
def test_can_names_what_it_does_not_find(settings, past, message):
    with pytest.raises(ConfigError, match=message) as raised:
        build("can", past=past, **settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("din", {"attention_mlp": []}, "field 'attention_mlp'"),
        ("din", {"activation": "gelu"}, "field 'activation': Input should be 'relu', 'prelu' or 'dice'"),
        ("dien", {"auxiliary_weight": -1}, "field 'auxiliary_weight': Input should be greater than or equal to 0"),
        ("dien", {"softmax": True}, "unknown field 'softmax'"),
        ("can", {"orders": 0}, "field 'orders': Input should be greater than 0"),
        ("can", {"co_action_dim": 6}, "field 'co_action_dim': Input should be a multiple of 4"),
        ("can", {"micro_mlp": []}, "field 'micro_mlp'"),
        ("can", {"backbone": "gru"}, "field 'backbone': Input should be 'din' or 'dien'"),
        (
            "can",
            {"induction": "tag", "features": {"history": {"columns": ["item_id"]}}},
            "induction 'tag' is not among features.history.columns .item_id.; add it",
        ),
        ("can", {"feeds": ["item_id"]}, "feeds names 'item_id', which is the induction"),
    ],
)
def test_bad_settings_are_named(name, values, message):
    with pytest.raises(ConfigError, match=message) as raised:
        find_ranker(name).config.checked(values)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("softmax", [False, True])
def test_din_same_as_deepctr(softmax):
    """The whole model with copied tables and weights; histories of 1 to 4 events."""
    models = pytest.importorskip("deepctr_torch.models", reason="deepctr-torch is not installed (extra: bench)")
    inputs = pytest.importorskip("deepctr_torch.inputs")
    columns = [
        *(inputs.SparseFeat(name, ROWS, embedding_dim=4) for name in NAMES),
        inputs.DenseFeat("dense", 1),
        *(
            inputs.VarLenSparseFeat(
                inputs.SparseFeat(f"hist_{name}", ROWS, embedding_dim=4, embedding_name=name), 4, length_name="length"
            )
            for name in ("item_id", "author_id")
        ),
    ]
    theirs = models.DIN(
        columns, ["item_id", "author_id"], dnn_hidden_units=(8, 5), att_hidden_size=(6,), att_activation="dice",
        att_weight_normalization=softmax,
    ).eval()  # fmt: skip
    ours = build("din", softmax=softmax, activation="relu", mlp=[8, 5], attention_mlp=[6])
    ours.attention = type(ours.attention)(8, [6], softmax=softmax).eval()
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(0.7 * torch.randn_like(parameter))
    copy_din(ours, theirs)
    lengths = [4, 1, 3, 2, 4, 1]
    batch, longest = batch_of(lengths), 4
    found = batch.sparse.to_dict()
    x = torch.zeros(len(lengths), len(theirs.feature_index) + 2 * (longest - 1))
    for name, (start, end) in theirs.feature_index.items():
        if name.startswith("hist_"):
            x[:, start:end] = found[name.replace("hist", "past")].to_padded_dense(longest)
        elif name == "dense":
            x[:, start:end] = batch.dense
        else:
            values = torch.tensor(lengths) if name == "length" else found[name].values()
            x[:, start] = values.float()
    with torch.no_grad():
        expected = theirs(x)[:, 0]
        torch.testing.assert_close(torch.sigmoid(ours(batch)), expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.05


def copy_din(ours, theirs):
    local = theirs.attention.local_att
    dice, other = ours.attention.activations[0], local.dnn.activation_layers[0]
    tables = {key.split(".")[-2]: weight for key, weight in ours.state_dict().items() if "embedding" in key}
    with torch.no_grad():
        for place, name in enumerate(NAMES):
            tables[f"0{place}_{name}"].copy_(theirs.embedding_dict[name].weight)
        other.bn.weight.fill_(1.0)
        other.bn.bias.zero_()
        dice.alpha.copy_(other.alpha[:, 0])
        ours.attention.layers[0].load_state_dict(local.dnn.linears[0].state_dict())
        ours.attention.out.load_state_dict(local.dense.state_dict())
        # theirs: ids, interest, dense; ours: ids, dense, interest
        first = theirs.dnn.linears[0]
        order = [*range(12), 20, *range(12, 20)]
        ours.mlp.layers[0].weight.copy_(first.weight[:, order])
        ours.mlp.layers[0].bias.copy_(first.bias)
        ours.mlp.layers[2].load_state_dict(theirs.dnn.linears[1].state_dict())
        ours.head.weight.copy_(theirs.dnn_linear.weight)
        ours.head.bias.copy_(theirs.out.bias)
    dice.eps = other.bn.eps
