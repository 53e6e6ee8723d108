"""Rows of older tables for a new one, matched by raw id, a block at a time, into whatever shards this process has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segrec.tables.starting import local_shards
from segrec.tables.vocabulary import FIRST_KNOWN, MISSING, UNSEEN, Vocabulary

NEW = -1
"Stands for a row that the older table does not have."
_BLOCK_ROWS = 65_536

RowReader = Callable[[int, int], Tensor]
"(start, end) -> those rows of the older table, (end - start, ...)."


def rows_by_id(old: Vocabulary, new: Vocabulary) -> npt.NDArray[np.int64]:
    """For each row of the new table the old one's row of the same id, or NEW; missing and unseen keep theirs.

    :raises ConfigError: numbers on one side and strings on the other.
    """
    codes = old.encode(new.ids)
    return np.concatenate([[MISSING, UNSEEN], np.where(codes >= FIRST_KNOWN, codes, NEW)]).astype(np.int64)


@torch.no_grad()
def fill_rows(target: Any, read: RowReader, origin: npt.NDArray[np.int64]) -> None:
    """Writes old rows into `target`, a whole or sharded tensor (rows, ...), in place; NEW rows stay as they are.

    :param origin: (rows,) from `rows_by_id`. Only blocks that hold a row of this process's shards are read.
    """
    for shard, (row, *columns) in local_shards(target):
        own = origin[row : row + shard.shape[0]]
        places = np.flatnonzero(own != NEW)
        places = places[np.argsort(own[places], kind="stable")]
        sources = own[places]
        start = 0
        while start < len(sources):
            first = int(sources[start])
            end = int(np.searchsorted(sources, first + _BLOCK_ROWS))
            block = read(first, int(sources[end - 1]) + 1)[torch.from_numpy(sources[start:end] - first)]
            if shard.dim() > 1:
                block = block[:, columns[0] : columns[0] + shard.shape[1]]
            shard[torch.from_numpy(places[start:end]).to(shard.device)] = block.to(shard.device, shard.dtype)
            start = end
