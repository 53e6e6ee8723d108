"""Settings of the plan that says on which process each table lies."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from segrec.records import Config
from segrec.tables.specs import ShardingKind, TableMemory


class ShardingConfig(Config):
    """What TorchRec's planner may do; single tables narrow it further (TableSpec.sharding, .memory)."""

    kinds: tuple[ShardingKind, ...] = ()
    "Ways to cut tables; empty = all. One process alone holds every table whole."
    memory: tuple[TableMemory, ...] = ("device",)
    "Where tables may lie that leave it open; other than `device` needs CUDA."
    reserved_share: Annotated[float, Field(ge=0, lt=1)] = 0.15
    "Share of memory that is left to the dense part and to batches."
    device_gib: PositiveFloat | None = None
    "Memory of one device (on CPU: of one process); null = what there is."
    host_gib: PositiveFloat | None = None
    "CUDA: host memory for one process; null = what there is, shared out."
    rows_per_process: PositiveInt = 512
    "Rows of a process's batch that costs and buffers are estimated for."
    plan: str | None = None
    "plan.json of another run with as many processes: taken as it is, nothing is planned."
