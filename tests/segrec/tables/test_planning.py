"""Plans: settings reach TorchRec's planner, a plan is stored and taken again, and what no plan can serve is said."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from torch import nn
from torchrec.distributed.planner import Topology
from torchrec.distributed.planner.types import PlannerError
from torchrec.distributed.types import ShardingPlan

from segrec.records import ConfigError, DataError
from segrec.tables import ShardingConfig, TableSpec, bags, distribute, plan_text, sequences, write_plan
from segrec.tables.planning import PLANNER_ERRORS, check_sharding, no_plan_reason, planner_of, sharders
from segrec.tables.plans import StoredPlan, plan_lines, plan_of, read_plan
from segrec.tables.specs import check_supported

GIB = 2**30


def spec(name: str = "item", **changes: object) -> TableSpec:
    return TableSpec.checked({"name": name, "rows": 1000, "dim": 16, "features": (name,), **changes})


class Tables(nn.Module):
    def __init__(self, specs: list[TableSpec]) -> None:
        super().__init__()
        pooled = [given for given in specs if given.pooling != "none"]
        jagged = [given for given in specs if given.pooling == "none"]
        self.pooled = bags(pooled) if pooled else None
        self.jagged = sequences(jagged) if jagged else None


def gpus(count: int = 8, hbm_gib: float = 80, ddr_gib: float = 200) -> Topology:
    return Topology(
        world_size=count, local_world_size=min(count, 8), compute_device="cuda",
        hbm_cap=int(hbm_gib * GIB), ddr_cap=int(ddr_gib * GIB),
    )  # fmt: skip


def planned(specs: list[TableSpec], sharding: ShardingConfig, topology: Topology) -> ShardingPlan:
    return planner_of(specs, sharding, topology).plan(Tables(specs), sharders())


def kinds(plan: ShardingPlan) -> dict[str, tuple[str, str]]:
    return {
        name: (sharding.sharding_type, sharding.compute_kernel)
        for tables in plan.plan.values()
        for name, sharding in tables.items()
    }


def test_settings_of_run_and_table_reach_the_planner() -> None:
    specs = [
        spec("item", sharding=("row_wise",)),
        spec("user", memory="host"),
        spec("author", memory="uvm_caching", cache_share=0.25),
        spec("past", pooling="none"),
    ]
    plan = planned(specs, ShardingConfig(kinds=("table_wise",)), gpus())
    assert kinds(plan) == {
        "item": ("row_wise", "fused"),
        "user": ("table_wise", "fused_uvm"),
        "author": ("table_wise", "fused_uvm_caching"),
        "past": ("table_wise", "fused"),
    }
    assert plan.plan["pooled"]["author"].cache_params.load_factor == 0.25


def test_tables_larger_than_a_device_are_cut_or_lie_in_the_hosts_memory() -> None:
    large = spec(rows=4 * 10**8, dim=64)  # 95 GiB of fp32 weights, 1.5 GiB of Adagrad's sums
    assert kinds(planned([large], ShardingConfig(), gpus(4)))["item"][0] != "table_wise"
    anywhere = ShardingConfig(kinds=("table_wise",), memory=("device", "host", "uvm_caching"))
    assert kinds(planned([large], anywhere, gpus(4)))["item"][1] in ("fused_uvm", "fused_uvm_caching")
    for sharding, message in (
        (ShardingConfig(kinds=("table_wise",)), "no plan places the tables"),
        (ShardingConfig(reserved_share=0.9), "80.00 GiB each, 90% of it reserved"),
    ):
        with pytest.raises(PlannerError) as error:
            planned([large], sharding, gpus(4))
        reason = no_plan_reason(error.value, [large, spec("user")], sharding, gpus(4))
        assert message in reason
        assert r"they need 96.86 GiB (the largest, 'item', 96.86 GiB), 4 process(es) have 80.00 GiB each" in reason
        assert "\n" not in reason


def test_world_sizes_that_the_settings_cannot_serve_are_said() -> None:
    on_hosts = [spec(pooling="none", sharding=("grid_shard",))]  # sequences are not cut in blocks over hosts
    with pytest.raises(PLANNER_ERRORS) as error:
        planned(on_hosts, ShardingConfig(), gpus(3))
    reason = no_plan_reason(error.value, on_hosts, ShardingConfig(), gpus(3))
    assert reason.startswith(
        "no plan places the tables on 3 process(es) as the settings want it (sharding: grid_shard)"
    )
    assert "\n" not in reason


def test_one_process_holds_tables_whole_whatever_the_sharding() -> None:
    given = [spec(sharding=("row_wise", "column_wise"))]
    module = distribute(Tables(given), given, seed=0)
    assert plan_of(module).tables[0].sharding == "table_wise"


def test_memory_may_be_set_lower_than_what_there_is() -> None:
    given = [spec(rows=10**6)]
    with pytest.raises(ConfigError, match=r"they need 0\.06 GiB .* have 0\.05 GiB each, 15% of it reserved") as error:
        distribute(Tables(given), given, seed=0, sharding=ShardingConfig(device_gib=0.05))
    assert "\n" not in str(error.value)


def test_a_plan_is_made_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    given = [spec()]
    distribute(Tables(given), given, seed=0)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_stored_plan_is_taken_again(tmp_path: Path) -> None:
    given = [spec("item"), spec("past", pooling="none", dtype="fp16")]
    first = distribute(Tables(given), given, seed=0)
    write_plan(first, tmp_path)
    assert (tmp_path / "plan.txt").read_text() == plan_text(first) + "\n"
    stored = StoredPlan.model_validate(json.loads((tmp_path / "plan.json").read_text()))
    assert (stored.processes, [table.module for table in stored.tables]) == (1, ["pooled", "jagged"])
    assert stored.tables[1].shards[0].model_dump() == {"process": 0, "row": 0, "column": 0, "rows": 1000, "columns": 16}
    again = distribute(Tables(given), given, seed=0, sharding=ShardingConfig(plan=str(tmp_path / "plan.json")))
    assert plan_of(again) == stored


def test_a_module_without_tables_has_no_plan(tmp_path: Path) -> None:
    write_plan(nn.Linear(1, 1), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("specs", "processes", "message"),
    [
        ([spec()], 2, r"places tables on 1 process\(es\) \(now: 2\); leave sharding.plan out to plan anew"),
        ([spec(rows=999)], 1, "has table 'item' as 1000 x 16, this run as 999 x 16"),
        ([spec(), spec("user")], 1, "has table 'user' as none, this run as 1000 x 16"),
    ],
)
def test_a_plan_of_another_run_is_refused(tmp_path: Path, specs: list[TableSpec], processes: int, message: str) -> None:
    write_plan(distribute(Tables([spec()]), [spec()], seed=0), tmp_path)
    with pytest.raises(ConfigError, match=message):
        read_plan(tmp_path / "plan.json", specs, processes, "cpu")


@pytest.mark.parametrize("content", [None, "{", '{"processes": 0, "tables": []}', '{"tables": 1}'])
def test_a_file_that_is_no_plan_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "plan.json").write_text(content)
    with pytest.raises(DataError, match=r"plan.json: is no plan") as error:
        read_plan(tmp_path / "plan.json", [spec()], 1, "cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "sharding", "message"),
    [
        (spec(), {"memory": ["host"]}, r"sharding.memory: 'host' needs CUDA \(found device: cpu\)"),
        (spec(sharding=("row_wise",)), {}, "table 'item': sharding row_wise of a pooled table needs CUDA"),
        (spec(), {"kinds": ["row_wise", "grid_shard"]}, "table 'item': sharding row_wise, grid_shard of a pooled"),
        (spec(), {"kinds": ["diagonal"]}, "field 'kinds"),
        (spec(), {"reserved_share": 1.0}, "field 'reserved_share'"),
        (spec(), {"device_gib": 0}, "field 'device_gib'"),
    ],
)
def test_what_the_cpu_cannot_plan_is_said(given: TableSpec, sharding: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_sharding([given], ShardingConfig.checked(sharding), "cpu")


def test_what_only_cuda_has_passes_there() -> None:
    check_sharding([spec(sharding=("row_wise",))], ShardingConfig(memory=("host",)), "cuda")
    check_supported([spec(dtype="int8", memory="uvm_caching", optimizer="adam")], "cuda")
    check_sharding([spec(pooling="none", sharding=("row_wise",))], ShardingConfig(), "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "changes", [{"memory": "uvm_caching"}, {"memory": "host"}, {"dtype": "bf16"}, {"optimizer": "adam"}]
)
def test_on_a_gpu_tables_lie_where_the_settings_want_them(changes: dict[str, object]) -> None:
    given = [spec(**changes)]
    (table,) = plan_of(distribute(Tables(given), given, seed=0, device="cuda")).tables
    assert table.kernel == {"uvm_caching": "fused_uvm_caching", "host": "fused_uvm"}.get(changes.get("memory"), "fused")


def test_the_console_shows_the_largest_tables(tmp_path: Path) -> None:
    specs = [TableSpec(name=f"t{n}", rows=100 * n, dim=4, features=(f"f{n}",)) for n in range(1, 6)]
    write_plan(distribute(nn.ModuleDict({"tables": bags(specs)}), specs, seed=0), tmp_path)
    shown = plan_lines(tmp_path, most=2)
    assert [line.split()[0] for line in shown[:3]] == ["table", "t5", "t4"]
    assert shown[3] == f"and 3 smaller ones: {tmp_path / 'plan.txt'}"
    assert len(plan_lines(tmp_path, most=4)) == 6  # a line that says "one more" is as long as that one
