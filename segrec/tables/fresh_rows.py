"""Rows that change hands start anew: fresh values, no optimizer state, on whatever process they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segrec.tables.managed_ids import ManagedIds
from segrec.tables.specs import TableSpec
from segrec.tables.starting import drawn_rows, local_shards, table_weights
from segrec.tables.state import fused_state


@dataclass(frozen=True)
class _Table:
    """This process's parts of a table and of its optimizer's state, live, each with its (row, column) offset."""

    spec: TableSpec
    weights: list[tuple[Tensor, tuple[int, ...]]]
    states: list[tuple[Tensor, tuple[int, ...]]]


class FreshRows:
    """Called by `ManagedIds` with tables and rows: the rows are drawn as at the start, their states are 0."""

    def __init__(self, module: nn.Module, specs: Sequence[TableSpec], seed: int) -> None:
        self._seed = seed
        weights, states = table_weights(module.state_dict()), _states_by_table(fused_state(module))
        self._tables = {
            spec.name: _Table(spec, local_shards(weights[spec.name]), states.get(spec.name, []))
            for spec in specs
            if spec.managed is not None
        }

    @torch.no_grad()
    def __call__(self, tables: tuple[str, ...], rows: Tensor, draw: int) -> None:
        """Starts `rows` (n,) of each of `tables` anew; `draw` numbers the draws, the same on all processes."""
        for name in tables:
            table = self._tables[name]
            fresh = drawn_rows(table.spec, self._seed, f"fresh {draw}", len(rows))
            for shard, offset in table.weights:
                here = (rows >= offset[0]) & (rows < offset[0] + shard.shape[0])
                part = fresh[here, offset[1] : offset[1] + shard.shape[1]]
                shard[rows[here] - offset[0]] = part.to(shard.device, shard.dtype)
            for state, (start, *_) in table.states:
                first = start % table.spec.rows  # sums of column shards lie one below the other
                here = (rows >= first) & (rows < first + state.shape[0])
                state[rows[here] - first] = 0


def connect_managed_ids(module: nn.Module, specs: Sequence[TableSpec], seed: int) -> None:
    """Lets every `ManagedIds` inside the distributed `module` start rows of its tables anew."""
    for part in module.modules():
        if isinstance(part, ManagedIds):
            part.connect(FreshRows(module, specs, seed))


def _states_by_table(states: Mapping[str, Any]) -> dict[str, list[tuple[Tensor, tuple[int, ...]]]]:
    found: dict[str, list[tuple[Tensor, tuple[int, ...]]]] = {}
    for key, value in states.items():
        table = key.split("/")[0].split(".")[-2]
        found.setdefault(table, []).extend(part for part in local_shards(value) if part[0].dim() > 0)
    return found
