"""Row-wise sums of tables that are sharded by columns: one a row and shard, so their number follows the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from segrec.tables.starting import local_shards


def whole_rows(sizes: Mapping[str, torch.Size], tables: str, module: str) -> dict[str, torch.Size]:
    """`sizes` by tensor name as they were without column shards: sums of a row-wise optimizer have a value a row.

    :param tables: what the names of optimizer states begin with; `module`: those of weights.
    """
    found = dict(sizes)
    for name, size in sizes.items():
        if name.startswith(tables) and len(size) == 1:
            rows = sizes.get(module + name.removeprefix(tables).rsplit("/", 1)[0], size)[0]
            if size[0] % rows == 0:
                found[name] = torch.Size([rows])
    return found


def whole_sums(stored: Tensor, rows: int) -> Tensor:
    """(rows x shards,) -> (rows,): the mean over equal shards is the sum that the whole row has."""
    return stored.view(-1, rows).mean(dim=0)


@torch.no_grad()
def fill_sums(target: Any, stored: Tensor, rows: int) -> None:
    """Writes stored sums (rows x their shards,) into `target` (rows x its shards,), in place.

    New shards all begin with the whole row's sum.
    """
    mean = whole_sums(stored, rows)
    for shard, (start, *_) in local_shards(target):
        places = torch.arange(start, start + len(shard)) % rows
        shard.copy_(mean[places])
