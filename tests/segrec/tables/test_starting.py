"""Rows start from (seed, table name, block of rows): the same values however the table is cut."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from segrec.records import ConfigError
from segrec.tables import TableSpec, bags
from segrec.tables.starting import start_tables, table_weights

ROWS = 40_000  # three blocks


def spec(**changes: object) -> TableSpec:
    return TableSpec.checked({"name": "item", "rows": ROWS, "dim": 8, "features": ("item",), **changes})


def started(seed: int = 0, **changes: object) -> Tensor:
    wanted = spec(**changes)
    weight = torch.full((wanted.rows, wanted.dim), torch.nan, dtype={"fp16": torch.half}.get(wanted.dtype))
    start_tables({"tables.embedding_bags.item.weight": weight}, [wanted], seed)
    return weight


@dataclass
class Metadata:
    shard_offsets: list[int]


@dataclass
class Shard:
    tensor: Tensor
    metadata: Metadata


class Sharded:
    """What a process sees of a sharded table."""

    def __init__(self, *shards: tuple[int, int, int, int]) -> None:
        self.shards = [
            Shard(torch.empty(rows, columns), Metadata([row, column])) for row, column, rows, columns in shards
        ]

    def local_shards(self) -> list[Shard]:
        return self.shards


@pytest.mark.parametrize(
    "cut",
    [
        [(0, 0, ROWS, 4), (0, 4, ROWS, 4)],
        [(0, 0, 20_001, 8), (20_001, 0, ROWS - 20_001, 8)],
        [(16_384, 0, 16_384, 8), (0, 0, 5, 8), (39_999, 4, 1, 4)],
    ],
    ids=["columns", "rows", "blocks"],
)
def test_shards_start_as_the_whole_table_does(cut: list[tuple[int, int, int, int]]) -> None:
    whole, sharded = started(), Sharded(*cut)
    start_tables({"tables.embeddings.item.weight": sharded}, [spec()], 0)
    for (row, column, rows, columns), shard in zip(cut, sharded.shards, strict=True):
        assert torch.equal(shard.tensor, whole[row : row + rows, column : column + columns])


def test_normal_by_default() -> None:
    weight = started()
    assert weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert abs(weight.mean().item()) < 1e-4
    assert started(init_std=2.0).std().item() == pytest.approx(2.0, rel=0.01)
    assert started(init_std=0.0).abs().max().item() == 0.0


def test_uniform_when_asked_for() -> None:
    weight = started(init_uniform=0.5)
    assert weight.min().item() >= -0.5
    assert weight.max().item() <= 0.5
    assert weight.std().item() == pytest.approx(0.5 / 3**0.5, rel=0.01)


def test_seeds_tables_and_blocks_differ() -> None:
    first = started()
    assert not torch.equal(first, started(seed=1))
    other = torch.empty(ROWS, 8)
    start_tables({"tables.embedding_bags.user.weight": other}, [spec(name="user")], 0)
    assert not torch.equal(first, other)
    assert not torch.equal(first[:16_384], first[16_384:32_768])
    assert len(torch.unique(first[:, 0])) > ROWS * 0.99


def test_a_longer_table_starts_with_the_same_rows() -> None:
    assert torch.equal(started(rows=100), started(rows=16_384 + 7)[:100])


def test_half_precision_is_the_rounded_start() -> None:
    assert torch.equal(started(dtype="fp16"), started().half())


def test_tables_are_found_by_name() -> None:
    state = {"a.embedding_bags.item.weight": 1, "b.embeddings.word.weight": 2, "embed.weight": 3, "out.weight": 4}
    assert table_weights(state) == {"item": 1, "word": 2}
    with pytest.raises(ConfigError, match="table name 'item' occurs twice in the module"):
        table_weights({**state, "c.embeddings.item.weight": 5})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["user"], "table 'item' has no TableSpec .tables: item"),
        (["item", "user"], "table 'user' is not in the module .tables: item"),
        (["item", "item"], "two TableSpecs have one name"),
    ],
)
def test_tables_and_specs_must_match(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        start_tables({"t.embedding_bags.item.weight": torch.empty(4, 4)}, [spec(name=name) for name in names], 0)


def test_a_collection_on_a_real_device_starts_alike_and_leaves_the_global_random_numbers_alone() -> None:
    torch.manual_seed(4)
    collection = bags([spec()], "cpu", seed=0)
    drawn = torch.rand(3)
    torch.manual_seed(4)
    assert torch.equal(torch.rand(3), drawn)
    assert torch.equal(collection.state_dict()["embedding_bags.item.weight"], started())


def test_int8_rows_start_as_the_others_rounded() -> None:
    plain = TableSpec(name="item", rows=300, dim=8, features=("item",), init_std=1.0)
    weights, rounded = torch.empty(300, 8), torch.empty(300, 8 + 8, dtype=torch.uint8)  # scale and bias at a row's end
    start_tables({"t.embedding_bags.item.weight": weights}, [plain], seed=4)
    start_tables({"t.embedding_bags.item.weight": rounded}, [plain.model_copy(update={"dtype": "int8"})], seed=4)
    back = torch.ops.fbgemm.Fused8BitRowwiseQuantizedToFloat(rounded)
    step = (weights.amax(dim=1) - weights.amin(dim=1)) / 255
    assert ((back - weights).abs().amax(dim=1) <= step * 0.51).all()
