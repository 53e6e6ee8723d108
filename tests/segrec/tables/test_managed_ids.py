"""Managed ids: who gets a row and who loses it, by hand; rows that change hands start anew; state and processes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torchrec import KeyedJaggedTensor

from segrec.records import ConfigError
from segrec.tables import TableSpec, bags, distribute, fresh_rows, fused_state, live_state, whole_state
from segrec.tables.id_codes import MISSING_KEY
from segrec.tables.managed_ids import ManagedCounts, ManagedIds
from segrec.tables.specs import Eviction, ManagedRows


def spec(name: str = "user", rows: int = 5, eviction: Eviction = "lru", every: int = 1, **changes: object) -> TableSpec:
    given = {"name": name, "rows": rows, "dim": 4, "features": (name,), "learning_rate": 0.5, "init_std": 1.0}
    given["managed"] = {"eviction": eviction, "every": every}
    return TableSpec.checked({**given, **changes})


def kjt(**features: list[int]) -> KeyedJaggedTensor:
    values = torch.tensor([key for keys in features.values() for key in keys], dtype=torch.int64)
    lengths = torch.tensor([1 for keys in features.values() for _ in keys], dtype=torch.int32)
    return KeyedJaggedTensor(list(features), values, lengths=lengths)


def rows(ids: ManagedIds, keys: list[int], feature: str = "user") -> list[int]:
    return ids.rows_of(feature, torch.tensor(keys, dtype=torch.int64)).tolist()


def steps(ids: ManagedIds, *batches: list[int]) -> ManagedIds:
    for keys in batches:
        ids(kjt(user=keys))
    return ids


def test_new_ids_take_free_rows_in_the_step_in_which_they_come() -> None:
    ids = ManagedIds([spec()])
    out = ids(kjt(user=[70, MISSING_KEY, 50, 70]))
    found = out.values().tolist()
    assert found[1] == 0
    assert found[0] == found[3]
    assert {found[0], found[2]} < {2, 3, 4}
    assert ids.counts() == {"user": ManagedCounts(rows=3, used=2, admitted=2, evicted=0)}


def test_least_recently_used_loses_its_row() -> None:
    ids = steps(ManagedIds([spec(eviction="lru")]), [1, 2, 3], [1, 1, 3])
    before = rows(ids, [1, 2, 3])
    steps(ids, [9])
    assert rows(ids, [1, 2, 3, 9]) == [before[0], 1, before[2], before[1]]
    assert ids.counts()["user"] == ManagedCounts(rows=3, used=3, admitted=4, evicted=1)


def test_least_frequently_used_loses_its_row_to_a_more_frequent_one_only() -> None:
    ids = steps(ManagedIds([spec(eviction="lfu")]), [1, 1, 1, 2, 2, 3], [9])
    before = rows(ids, [1, 2, 3])
    assert 1 not in before
    assert rows(ids, [9]) == [1]  # seen once, as id 3 was: who has a row keeps it
    steps(ids, [9, 9])
    assert rows(ids, [1, 2, 3, 9]) == [before[0], before[1], 1, before[2]]
    # under lru the frequent id 1 would have gone
    assert 1 in rows(steps(ManagedIds([spec(eviction="lru")]), [1, 1, 1, 2, 2, 3], [2, 3], [9]), [1])


def test_ids_wait_for_their_round() -> None:
    ids = steps(ManagedIds([spec(every=3)]), [7], [8])
    assert rows(ids, [7, 8]) == [1, 1]
    steps(ids, [])
    assert 1 not in rows(ids, [7, 8])


def test_more_ids_than_rows_and_more_ids_than_may_wait() -> None:
    keys = list(range(100, 170_100))
    ids = steps(ManagedIds([spec(rows=1000, every=5)]), keys)
    assert ids.counts()["user"].used == 998
    assert len(set(rows(ids, keys))) == 999  # 998 rows and the unseen one


def test_evaluation_changes_nothing() -> None:
    ids = steps(ManagedIds([spec()]), [1, 2, 3]).eval()
    before = {name: value.clone() for name, value in ids.state_dict().items()}
    out = ids(kjt(user=[9, 1, MISSING_KEY]))
    assert out.values().tolist() == [1, *rows(ids, [1]), 0]
    assert all(torch.equal(value, before[name]) for name, value in ids.state_dict().items())


def test_other_features_pass_and_jagged_ones_keep_their_lengths() -> None:
    ids = ManagedIds([spec(features=("item", "past"))])
    given = KeyedJaggedTensor(
        ["hour", "item", "past"],
        torch.tensor([5, 6, 40, 41, 41, 40, 42]),
        lengths=torch.tensor([1, 1, 1, 1, 0, 3], dtype=torch.int32),
    )
    out = ids(given)
    item = out["item"].values().tolist()
    assert out["hour"].values().tolist() == [5, 6]
    assert out["past"].lengths().tolist() == [0, 3]
    assert out["past"].values().tolist()[:2] == [item[1], item[0]]
    assert given.values().tolist() == [5, 6, 40, 41, 41, 40, 42]
    assert (
        ids(KeyedJaggedTensor(given.keys(), torch.tensor([]).long(), lengths=torch.zeros(0).int())).values().numel()
        == 0
    )


def test_tables_that_share_a_feature_share_its_rows() -> None:
    ids = ManagedIds([spec("user"), spec("cross", features=("user", "friend"))])
    ids(kjt(user=[1], friend=[2]))
    assert rows(ids, [1, 2], "user") == rows(ids, [1, 2], "friend")
    with pytest.raises(
        ConfigError, match="tables 'user' and 'cross' share managed ids but not their rows and eviction"
    ):
        ManagedIds([spec("user"), spec("cross", rows=9, features=("user",))])


class Model(nn.Module):
    def __init__(self, specs: list[TableSpec], device: str = "meta") -> None:
        super().__init__()
        self.ids = ManagedIds(specs)
        self.tables = bags(specs, device)

    def forward(self, **features: list[int]) -> Tensor:
        pooled = self.tables(self.ids(kjt(**features)))
        return torch.cat([pooled[name] for name in features], dim=1)


def table(module: nn.Module) -> Tensor:
    return whole_state(module)["tables.embedding_bags.user.weight"]


@pytest.mark.parametrize("optimizer", ["rowwise_adagrad", "adagrad", "sgd"])
def test_a_row_that_changes_hands_inherits_neither_weights_nor_optimizer_state(optimizer: str) -> None:
    given = spec(rows=4, eviction="lru", optimizer=optimizer)
    module = distribute(Model([given]), [given], seed=0)
    for _ in range(3):
        module(user=[1, 2]).sum().backward()
    ids = module.module.ids
    old = rows(ids, [1])[0]
    learned = table(module)
    module(user=[2, 3])  # 3 takes the row of 1, before it is looked up
    assert rows(ids, [1, 3]) == [1, old]
    fresh = table(module)
    assert not torch.equal(fresh[old], learned[old])
    assert (fresh[old] - learned[old]).abs().max() > 0.01
    kept = [row for row in range(4) if row != old]
    assert torch.equal(fresh[kept], learned[kept])
    for state in fused_state(module).values():
        assert state.local_shards()[0].tensor[old].abs().max() == 0
        assert state.local_shards()[0].tensor[rows(ids, [2])[0]].abs().max() > 0
    # a first step of size 0.5 * g / sqrt(g^2): the new user learns as fast as the first one did
    module(user=[3]).sum().backward()
    moved = fresh[old] - table(module)[old]
    torch.testing.assert_close(moved, torch.full((4,), 0.5), atol=1e-5, rtol=0)


class Shard(NamedTuple):
    tensor: Tensor
    metadata: SimpleNamespace


class ColumnShards(nn.Module):
    """A table of 4 rows in two column shards, as a DistributedModelParallel of one process would show it."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = [torch.ones(4, 4), torch.ones(4, 4)]
        self.sums = [torch.ones(4), torch.ones(4)]

    def shown(self, parts: list[Tensor], offsets: list[tuple[int, ...]]) -> SimpleNamespace:
        shards = [
            Shard(part, SimpleNamespace(shard_offsets=offset)) for part, offset in zip(parts, offsets, strict=True)
        ]
        return SimpleNamespace(local_shards=lambda: shards)


def test_fresh_rows_forget_the_sums_of_every_column_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    sharded, given = ColumnShards(), spec(rows=4, dim=8)
    name = "tables.embedding_bags.user.weight"
    weights = sharded.shown(sharded.weights, [(0, 0), (0, 4)])
    sums = sharded.shown(sharded.sums, [(0,), (4,)])  # TorchRec: one below the other
    monkeypatch.setattr(sharded, "state_dict", lambda: {name: weights})
    monkeypatch.setattr(fresh_rows, "fused_state", lambda module: {f"{name}/user.momentum1": sums})
    fresh_rows.FreshRows(sharded, [given], seed=0)(("user",), torch.tensor([2]), draw=1)
    assert [part.tolist() for part in sharded.sums] == [[1, 1, 0, 1]] * 2
    assert [(part == 1).all(dim=1).tolist() for part in sharded.weights] == [[True, True, False, True]] * 2


def test_fresh_rows_are_drawn_as_at_the_start_and_again_alike() -> None:
    given = spec(rows=2000, init_std=0.5, dim=16)
    first, second = (distribute(Model([given]), [given], seed=3) for _ in range(2))
    for module in (first, second):
        module(user=list(range(1998)))
        module(user=list(range(5000, 6998)))
    assert torch.equal(table(first), table(second))
    assert abs(table(first)[2:].std().item() - 0.5) < 0.01
    start = table(distribute(Model([given]), [given], seed=3))
    assert torch.equal(table(first)[:2], start[:2])


def batches(seed: int, count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 40, (6,), generator=generator).tolist() for _ in range(count)]


def test_resumed_between_two_rounds_bit_equal() -> None:
    given = spec(rows=12, every=4)

    def train(module: nn.Module, days: list[list[int]]) -> None:
        for keys in days:
            (module(user=keys) ** 2).sum().backward()

    def states(module: nn.Module) -> dict[str, Tensor]:
        found = {**live_state(module), **fused_state(module)}
        return {name: (value.local_shards()[0].tensor if hasattr(value, "local_shards") else value).clone()
                for name, value in found.items()}  # fmt: skip

    days = batches(5, 23)
    whole = distribute(Model([given]), [given], seed=0)
    train(whole, days)
    stopped = distribute(Model([given]), [given], seed=0)
    train(stopped, days[:10])
    resumed = distribute(Model([given]), [given], seed=0)
    train(resumed, days[3:8])
    for name, value in {**live_state(resumed), **fused_state(resumed)}.items():
        target = value.local_shards()[0].tensor if hasattr(value, "local_shards") else value
        target.copy_(states(stopped)[name])
    train(resumed, days[10:])
    for name, value in states(whole).items():
        assert torch.equal(value, states(resumed)[name]), name
    assert whole.module.ids.counts() == resumed.module.ids.counts()
    assert whole.module.ids.counts()["user"].evicted > 0


def test_whole_weights_carry_the_rows_of_ids() -> None:
    given = spec(rows=12, every=2)
    module = distribute(Model([given]), [given], seed=0)
    for keys in batches(1, 9):
        module(user=keys).sum().backward()
    plain = Model([given], "cpu")
    plain.load_state_dict(whole_state(module))
    keys = [*range(45), MISSING_KEY]
    assert torch.equal(plain.eval()(user=keys), module.eval()(user=keys))


def test_the_settings_of_a_managed_table() -> None:
    assert ManagedRows() == ManagedRows(eviction="lru", every=8)
    for field, value in (("eviction", "fifo"), ("every", 0)):
        with pytest.raises(ConfigError, match=f"field '{field}'"):
            ManagedRows.checked({field: value})
