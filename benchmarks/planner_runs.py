"""TorchRec's planner for clusters that are not at hand: where tables of billions of rows would lie, and their memory.

    python benchmarks/planner_runs.py [--gpus 8 64] [--rows 1e9 1e10]

Nothing is allocated (modules on the device "meta"), no GPU and no process group is needed. Prints one block a case.
"""

from __future__ import annotations

import argparse
import textwrap
from collections import defaultdict
from dataclasses import dataclass

from torch import nn
from torchrec.distributed.planner import Topology
from torchrec.distributed.planner.types import ShardingOption, Stats
from torchrec.distributed.types import ShardingPlan

from segrec.tables import ShardingConfig, TableSpec, bags
from segrec.tables.distribution import apply_optimizers
from segrec.tables.planning import PLANNER_ERRORS, no_plan_reason, planner_of, quiet, sharders

GIB = 2**30
GPUS_PER_HOST = 8
HBM_GIB, HOST_GIB = 80, 2048
"H100 SXM with 80 GB; a host with 2 TB for its 8 GPUs."
BANDWIDTHS = {
    "hbm_mem_bw": 3350e6, "ddr_mem_bw": 300e6, "hbm_to_ddr_mem_bw": 55e6, "intra_host_bw": 450e6, "inter_host_bw": 50e6,
}  # fmt: skip
"Bytes a millisecond: HBM3, host memory, PCIe 5 x16, NVLink 4, one 400 Gbit/s card a GPU."
ROWS_PER_GPU, DIM = 4096, 64


@dataclass(frozen=True)
class Case:
    """Tables and settings under a name."""

    name: str
    dtype: str = "fp32"
    kinds: tuple[str, ...] = ()
    memory: tuple[str, ...] = ("device",)
    cache_share: float = 0.2
    optimizer: str = "rowwise_adagrad"


CASES = (
    Case("fp32, in HBM"),
    Case("fp16, in HBM", dtype="fp16"),
    Case("fp16, row-wise, in HBM", dtype="fp16", kinds=("row_wise",)),
    Case("fp32, Adam instead of row-wise Adagrad, in HBM", optimizer="adam"),
    Case("fp32, host memory behind a cache of 2%", memory=("uvm_caching",), cache_share=0.02),
    Case("fp16, host memory behind a cache of 2%", dtype="fp16", memory=("uvm_caching",), cache_share=0.02),
)


class Collected(Stats):
    """Keeps the plan's options with the planner's estimates."""

    def __init__(self) -> None:
        self.options: list[ShardingOption] = []

    def log(self, sharding_plan: ShardingPlan, *_: object, best_plan: list[ShardingOption], **__: object) -> None:
        """What the planner calls at its end."""
        self.options = best_plan


class Tables(nn.Module):
    """The tables of a ranker, as meta tensors."""

    def __init__(self, specs: list[TableSpec]) -> None:
        super().__init__()
        self.tables = bags(specs)


def specs_of(rows: int, case: Case) -> list[TableSpec]:
    """Users and items share `rows` 3 : 1; authors and 20 small side tables come on top."""
    sizes = {"user": rows * 3 // 4, "item": rows // 4, "author": rows // 100}
    sizes |= {f"side_{number:02d}": 10_000 for number in range(20)}
    return [
        TableSpec.checked(
            {
                "name": name, "rows": count, "dim": DIM, "features": (f"{name}_id",), "dtype": case.dtype,
                "optimizer": case.optimizer, "cache_share": case.cache_share,
            }
        )
        for name, count in sizes.items()
    ]  # fmt: skip


def main() -> None:
    """Plans all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--rows", type=float, nargs="+", default=[1e9, 1e10])
    given = parser.parse_args()
    for gpus in given.gpus:
        for rows in given.rows:
            for case in CASES:
                print(run(gpus, int(rows), case), flush=True)


def run(gpus: int, rows: int, case: Case) -> str:
    """One block of text: the plan and its memory, or why there is none."""
    specs = specs_of(rows, case)
    sharding = ShardingConfig.checked({"kinds": case.kinds, "memory": case.memory, "rows_per_process": ROWS_PER_GPU})
    with quiet():
        topology = Topology(
            world_size=gpus, local_world_size=min(gpus, GPUS_PER_HOST), compute_device="cuda",
            hbm_cap=HBM_GIB * GIB, ddr_cap=HOST_GIB * GIB // GPUS_PER_HOST, **BANDWIDTHS,
        )  # fmt: skip
    needed = sum(spec.bytes for spec in specs) / GIB
    head = f"## {gpus} GPUs, {rows / 1e9:g} B rows x {DIM}, {case.name}: {needed:,.0f} GiB with optimizer state"
    found, tables = Collected(), Tables(specs)
    apply_optimizers(tables, specs)
    try:
        with quiet():
            planner_of(specs, sharding, topology, [found]).plan(tables, sharders())
    except PLANNER_ERRORS as error:
        reason = no_plan_reason(error, specs, sharding, topology)
        return "\n".join([head, *textwrap.wrap(reason, 100, initial_indent="  ", subsequent_indent="  ")]) + "\n"
    return "\n".join([head, *lines(found.options, gpus)]) + "\n"


def lines(options: list[ShardingOption], gpus: int) -> list[str]:
    """What lies where, then memory and estimated time by GPU."""
    told, side = [], defaultdict(int)
    hbm, ddr, time = [0.0] * gpus, [0.0] * gpus, [0.0] * gpus
    for option in sorted(options, key=lambda option: option.name):
        for shard in option.shards:
            hbm[shard.rank] += shard.storage.hbm / GIB
            ddr[shard.rank] += shard.storage.ddr / GIB
            time[shard.rank] += shard.perf.total
        how = f"{option.sharding_type}, {option.compute_kernel}"
        if option.name.startswith("side"):
            side[how] += 1
            continue
        ranks, rows = {shard.rank for shard in option.shards}, option.shards[0].size[0]
        where = f"GPU {min(ranks)}" if len(ranks) == 1 else f"{len(ranks)} GPUs"
        told.append(f"  {option.name:6s} {len(ranks):>2d} x {rows:>11,d} rows on {where:8s}  {how}")
    told += ["  " + f"{count} side tables".ljust(42) + how for how, count in side.items()]
    host = f", host memory up to {max(ddr):.1f} GiB" if max(ddr) > 0.05 else ""
    return [
        *told,
        f"  a GPU: HBM {min(hbm):.1f} to {max(hbm):.1f} GiB{host}; estimate for the slowest: {max(time):.1f} ms a step",
    ]


if __name__ == "__main__":
    main()
