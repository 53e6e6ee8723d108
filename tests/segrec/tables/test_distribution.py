"""Tables under DistributedModelParallel at one process: fused optimizers by hand, plans, whole weights."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torchrec import KeyedJaggedTensor

from segrec.records import ConfigError
from segrec.tables import TableSpec, bags, distribute, distribution, fused_state, live_state, plan_text, sequences
from segrec.tables import whole_state as whole


def spec(name: str = "item", **changes: object) -> TableSpec:
    given = {"name": name, "rows": 5, "dim": 4, "features": (name,), "learning_rate": 0.5, "init_std": 1.0}
    return TableSpec.checked({**given, **changes})


class Bags(nn.Module):
    def __init__(self, specs: Sequence[TableSpec], device: str = "meta") -> None:
        super().__init__()
        self.tables = bags(specs, device)
        self.out = nn.Linear(4, 1)

    def forward(self, ids: dict[str, list[list[int]]]) -> dict[str, Tensor]:
        flat = torch.tensor([number for rows in ids.values() for row in rows for number in row])
        lengths = torch.tensor([len(row) for rows in ids.values() for row in rows])
        pooled = self.tables(KeyedJaggedTensor(list(ids), flat, lengths=lengths))
        return {name: torch.clone(pooled[name]) for name in ids}


def step(given: TableSpec, ids: list[list[int]], gradient: Tensor, times: int = 1) -> tuple[Tensor, Tensor, nn.Module]:
    """The table before and after `times` backward passes in which bag i gets gradient[i]."""
    module = distribute(Bags([given]), [given], seed=0)
    before = whole(module)["tables.embedding_bags.item.weight"]
    for _ in range(times):
        (module({"item": ids})["item"] * gradient).sum().backward()
    return before, whole(module)["tables.embedding_bags.item.weight"], module


G = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 2.0]])


def test_rowwise_adagrad_by_hand() -> None:
    before, after, module = step(spec(), [[1], [3]], G)
    # row 1: mean of squares (1 + 4 + 9 + 16) / 4 = 7.5, step 0.5 * g / sqrt(7.5); row 3: 4 / 4 = 1
    moved = torch.tensor([[0.182574, 0.365148, 0.547723, 0.730297], [0.0, 0.0, 0.0, 1.0]])
    torch.testing.assert_close(before[[1, 3]] - after[[1, 3]], moved, atol=1e-6, rtol=0)
    assert torch.equal(before[[0, 2, 4]], after[[0, 2, 4]])
    (sums,) = fused_state(module).values()
    torch.testing.assert_close(sums.local_shards()[0].tensor, torch.tensor([0.0, 7.5, 0.0, 1.0, 0.0]))


def test_rowwise_adagrad_second_step_by_hand() -> None:
    before, after, _ = step(spec(), [[1], [3]], G, times=2)
    # sums 7.5 then 15: 1 / sqrt(7.5) + 1 / sqrt(15) = 0.623348
    moved = 0.5 * 0.623348 * G[0]
    torch.testing.assert_close(before[1] - after[1], moved, atol=1e-5, rtol=0)


def test_the_rows_of_one_bag_add_their_gradients_before_the_step() -> None:
    before, after, _ = step(spec(), [[1, 1], [2]], torch.tensor([[1.0, 1, 1, 1], [1.0, 1, 1, 1]]))
    # row 1 is twice in the bag: gradient 2, sum 4, step 0.5 * 2 / 2
    torch.testing.assert_close(before[[1, 2]] - after[[1, 2]], torch.full((2, 4), 0.5), atol=1e-6, rtol=0)


def test_adagrad_and_sgd_by_hand() -> None:
    before, after, _ = step(spec(optimizer="adagrad"), [[1], [3]], G)
    torch.testing.assert_close(before[[1, 3]] - after[[1, 3]], 0.5 * (G > 0).float(), atol=1e-6, rtol=0)
    before, after, module = step(spec(optimizer="sgd"), [[1], [3]], G)
    torch.testing.assert_close(before[[1, 3]] - after[[1, 3]], 0.5 * G, atol=1e-6, rtol=0)
    assert fused_state(module) == {}


@pytest.mark.parametrize("optimizer", ["rowwise_adagrad", "adagrad", "sgd"])
def test_half_precision_follows_single_precision(optimizer: str) -> None:
    _, single, _ = step(spec(optimizer=optimizer), [[1], [3]], G)
    _, half, _ = step(spec(optimizer=optimizer, dtype="fp16"), [[1], [3]], G)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), single, atol=4e-3, rtol=1e-3)


def test_each_table_has_its_own_optimizer_and_rate() -> None:
    specs = [spec("item", optimizer="sgd"), spec("user", optimizer="sgd", learning_rate=2.0), spec("author", rows=7)]
    module = distribute(Bags(specs), specs, seed=0)
    before = whole(module)
    pooled = module({"item": [[1]], "user": [[1]], "author": [[6]]})
    sum(part.sum() for part in pooled.values()).backward()
    after = whole(module)
    moved = {name: (before[key] - after[key]).abs().max().item() for name, key in keys(specs).items()}
    assert moved == pytest.approx({"item": 0.5, "user": 2.0, "author": 0.5}, abs=1e-6)


def keys(specs: Sequence[TableSpec]) -> dict[str, str]:
    return {given.name: f"tables.embedding_bags.{given.name}.weight" for given in specs}


def test_mean_and_sum_pooling_shared_tables_and_empty_bags() -> None:
    specs = [spec("item", features=("liked", "seen"), pooling="mean"), spec("tag", pooling="sum")]
    module = distribute(Bags(specs), specs, seed=0)
    rows = {name: whole(module)[key] for name, key in keys(specs).items()}
    pooled = module({"liked": [[1, 2], []], "seen": [[4], [4, 4]], "tag": [[0, 3], []]})
    torch.testing.assert_close(pooled["liked"], torch.stack([(rows["item"][1] + rows["item"][2]) / 2, torch.zeros(4)]))
    torch.testing.assert_close(pooled["seen"], rows["item"][[4, 4]])
    torch.testing.assert_close(pooled["tag"], torch.stack([rows["tag"][0] + rows["tag"][3], torch.zeros(4)]))


def test_sequences_keep_one_row_an_id() -> None:
    given = spec("past", pooling="none")

    class Past(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tables = sequences([given])

    module = distribute(Past(), [given], seed=0)
    kjt = KeyedJaggedTensor(["past"], torch.tensor([1, 4, 1]), lengths=torch.tensor([2, 0, 1]))
    jagged = module.module.tables(kjt)["past"]
    assert jagged.lengths().tolist() == [2, 0, 1]
    torch.testing.assert_close(jagged.values(), whole(module)["tables.embeddings.past.weight"][[1, 4, 1]])


def test_whole_weights_load_into_the_undistributed_module() -> None:
    specs = [spec("item"), spec("user", dtype="fp16", dim=8)]
    module = distribute(Bags(specs), specs, seed=3)
    plain = Bags(specs, "cpu")
    plain.load_state_dict(whole(module))
    ids = {"item": [[1, 2], [0]], "user": [[3], [4]]}
    for name, value in plain(ids).items():
        torch.testing.assert_close(module(ids)[name], value.float(), atol=1e-6, rtol=0)


def test_whole_weights_are_a_copy() -> None:
    module = distribute(Bags([spec()]), [spec()], seed=0)
    before = whole(module)
    kept = before["tables.embedding_bags.item.weight"].clone()
    module({"item": [[1], [2]]})["item"].sum().backward()
    assert torch.equal(before["tables.embedding_bags.item.weight"], kept)


def test_names_stay_plain_when_the_distributed_module_lies_inside_another() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = distribute(Bags([spec()]), [spec()], seed=0)
            self.head = nn.Linear(1, 1)
            self.register_buffer("mean", torch.zeros(2))

    outer = Outer()
    names = {"inner.tables.embedding_bags.item.weight", "inner.out.weight", "inner.out.bias"}
    assert set(live_state(outer)) == names | {"head.weight", "head.bias", "mean"}
    assert list(fused_state(outer)) == ["inner.tables.embedding_bags.item.weight/item.momentum1"]
    live_state(outer)["head.weight"].fill_(7.0)
    assert outer.head.weight.item() == 7.0


def test_the_plan_names_every_table() -> None:
    specs = [spec("item", rows=2**18), spec("user", dtype="fp16")]
    lines = plan_text(distribute(Bags(specs), specs, seed=0)).splitlines()
    assert lines[0].split() == ["table", "rows", "dim", "dtype", "sharding", "kernel", "processes", "MiB"]
    assert [line.split() for line in lines[1:]] == [
        ["item", "262144", "4", "float32", "table_wise", "fused", "0", "4.0"],
        ["user", "5", "4", "float16", "table_wise", "fused", "0", "0.0"],
    ]


def test_tables_start_the_same_whatever_device_the_module_was_built_on() -> None:
    first = whole(distribute(Bags([spec()]), [spec()], seed=5))
    second = whole(distribute(Bags([spec()], "cpu"), [spec()], seed=5))
    name = "tables.embedding_bags.item.weight"
    assert torch.equal(first[name], second[name])


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "table 'item' has no TableSpec"),
        ([spec(), spec("user")], "table 'user' is not in the module"),
        ([spec(optimizer="adam")], "optimizer 'adam' .* needs CUDA"),
        ([spec(weight_decay=0.1)], "weight_decay 0.1 would be ignored"),
    ],
)
def test_what_cannot_be_distributed_is_said(specs: list[TableSpec], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        distribute(Bags([spec()]), specs, seed=0)


def test_a_table_without_a_shard_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "plan_tables", lambda *_: SimpleNamespace(plan={}))
    with pytest.raises(ConfigError, match="table 'item': the plan places 0 of 20 values"):
        distribute(Bags([spec()]), [spec()], seed=0)


_TOO_LARGE = (
    r"they need 18626\.45 GiB \(the largest, 'item', 18626\.45 GiB\), 1 process\(es\) have [0-9.]+ GiB each, "
    "15% of it reserved"
)


def test_a_table_larger_than_memory_is_one_line_with_both_numbers() -> None:
    huge = spec(rows=10**12)
    with pytest.raises(ConfigError, match=_TOO_LARGE) as error:
        distribute(Bags([huge]), [huge], seed=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "specs", "message"),
    [
        (bags, [spec(pooling="none")], "pooling 'none' among bags"),
        (sequences, [spec()], "pooling 'sum' among sequences"),
        (
            sequences, [spec(pooling="none"), spec("user", pooling="none", dim=8)],
            "must share one width: 'item' has dim 4, 'user' has 8",
        ),
        (bags, [spec(), spec()], "table name 'item' occurs twice"),
    ],
)  # fmt: skip
def test_collections_refuse_what_does_not_fit(make: object, specs: list[TableSpec], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(specs)  # type: ignore[operator]
