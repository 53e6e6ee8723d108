"""TorchRec's managed collisions inside tables: what CUDA shards, here unsharded on the CPU; planned for GPUs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torchrec import KeyedJaggedTensor
from torchrec.distributed.planner import Topology

from segrec.records import ConfigError
from segrec.tables import ShardingConfig, TableSpec, bags, distribute, sequences, sharded_managed_ids
from segrec.tables.id_codes import mixed
from segrec.tables.managed_ids import ManagedIds
from segrec.tables.planning import planner_of, sharders
from segrec.tables.sharded_managed_ids import KEY_RANGE, PooledTables, SequenceTables, hashed_keys, starting

GIB = 2**30


def spec(name: str, managed: bool = True, **changes: object) -> TableSpec:
    given = {"name": name, "rows": 5, "dim": 4, "features": (name,), "init_std": 1.0}
    given["managed"] = {"every": 1, "sharded": True} if managed else None
    return TableSpec.checked({**given, **changes})


def kjt(**features: list[int]) -> KeyedJaggedTensor:
    values = torch.tensor([key for keys in features.values() for key in keys])
    return KeyedJaggedTensor(list(features), values, lengths=torch.ones(len(values), dtype=torch.int32))


class Both(nn.Module):
    def __init__(self, specs: list[TableSpec]) -> None:
        super().__init__()
        self.tables = bags(specs)


def test_hashes_are_those_of_numpy_inside_the_range() -> None:
    keys = torch.tensor([0, 1, -1, 5, 2**62, -(2**63), 123_456_789_012_345])
    found = hashed_keys(keys, KEY_RANGE)
    wanted = (mixed(keys.numpy().view(np.uint64), 0) & np.uint64(2**63 - 1)) % np.uint64(KEY_RANGE)
    assert found.numpy().astype(np.uint64).tolist() == wanted.tolist()
    assert found.min() >= 0
    many = hashed_keys(torch.arange(80_000), KEY_RANGE)  # eight equal shards of 10,000: five deviations are 468
    assert (torch.bincount(many // (KEY_RANGE // 8), minlength=8) - 10_000).abs().max() < 468


def test_plain_and_managed_tables_answer_as_one_by_name() -> None:
    specs = [spec("hour", managed=False), spec("user"), spec("item")]
    tables = bags(specs, "cpu")
    assert isinstance(tables, PooledTables)
    out = tables(kjt(hour=[3, 0], item=[10**12, 7], user=[-5, -5]))
    assert sorted(out.keys()) == ["hour", "item", "user"]
    weights = {key.split(".")[-2]: value for key, value in tables.state_dict().items() if key.endswith(".weight")}
    assert torch.equal(out["hour"], weights["hour"][[3, 0]])
    assert torch.equal(out["user"][0], out["user"][1])
    rows = [(weights["item"] == vector).all(dim=1).nonzero().item() for vector in out["item"]]
    assert len(set(rows)) == 2
    assert 4 not in rows  # the last row is for ids without one
    again = tables.eval()(kjt(hour=[3, 0], item=[99, 7], user=[-5, -5]))
    assert torch.equal(again["item"], weights["item"][[4, rows[1]]])


def test_sequences_too() -> None:
    specs = [spec("past", pooling="none"), spec("hours", managed=False, pooling="none")]
    tables = sequences(specs, "cpu")
    assert isinstance(tables, SequenceTables)
    found = tables(kjt(hours=[1, 2], past=[8, 8]))
    assert found.keys() == {"hours", "past"}
    assert torch.equal(found["past"].values()[0], found["past"].values()[1])
    only = sequences(specs[:1], "cpu")(kjt(past=[8]))
    assert only["past"].values().shape == (1, 4)


def test_evicted_rows_start_as_all_rows_do() -> None:
    drawn = starting(spec("user", init_std=0.5))(torch.zeros(1000, 4))
    assert drawn.std().item() == pytest.approx(0.5, abs=0.03)
    even = starting(spec("user", init_std=None, init_uniform=0.2))(torch.zeros(1000, 4))
    assert 0.19 < even.abs().max() <= 0.2


def test_gpus_hold_managed_tables_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [spec("hour", managed=False), spec("user", rows=10**6)]
    for count in (1, 4):
        monkeypatch.setattr(sharded_managed_ids, "world_size", lambda count=count: count)
        topology = Topology(world_size=count, compute_device="cuda", hbm_cap=80 * GIB)
        plan = planner_of(specs, ShardingConfig(), topology).plan(Both(specs), sharders()).plan
        assert plan["tables.managed"]["user"].sharding_type == "row_wise"
        assert plan["tables.managed"]["user"].ranks == list(range(count))
        assert list(plan["tables.plain"]) == ["hour"]


def test_the_cpu_refuses_them_and_needs_no_remapper_for_them() -> None:
    given = [spec("user")]
    with pytest.raises(ConfigError, match=r"table 'user': managed.sharded True needs CUDA \(found device: cpu\)"):
        distribute(Both(given), given, seed=0)
    assert ManagedIds(given).counts() == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_they_train() -> None:
    given = [spec("hour", managed=False), spec("user")]
    module = distribute(Both(given), given, seed=0, device="cuda")
    out = module.module.tables(kjt(hour=[1, 2], user=[7, 10**12]).to(torch.device("cuda")))
    out["user"].sum().backward()
    assert torch.isfinite(out["user"]).all()
