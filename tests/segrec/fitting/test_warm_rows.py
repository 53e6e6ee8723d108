"""Rows of an older table by raw id: by hand, and against a plain loop."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segrec.fitting import warm_rows
from segrec.fitting.warm_rows import NEW, fill_rows, rows_by_id
from segrec.records import ConfigError
from segrec.tables import Vocabulary


def test_ids_keep_their_rows_though_the_vocabulary_changed() -> None:
    old = Vocabulary.fit(pl.Series("id", [10, 20, 30]))
    new = Vocabulary.fit(pl.Series("id", [20, 25, 30, 40]))
    origin = rows_by_id(old, new)
    # missing, unseen, 20 (old row 3), 25 is new, 30 (old row 4), 40 is new
    assert origin.tolist() == [0, 1, 3, NEW, 4, NEW]
    rows = torch.tensor([[0.0], [1.0], [10.0], [20.0], [30.0]])
    target = torch.full((6, 1), 7.0)
    fill_rows(target, lambda start, end: rows[start:end], origin)
    assert target.flatten().tolist() == [0.0, 1.0, 20.0, 7.0, 30.0, 7.0]


def test_numbers_and_texts_do_not_match() -> None:
    with pytest.raises(ConfigError, match="column 'id' holds String"):
        rows_by_id(Vocabulary.fit(pl.Series("id", [1])), Vocabulary.fit(pl.Series("id", ["1"])))


class Shards:
    """A table of which this process holds some rectangles, as TorchRec's sharded tensors show them."""

    def __init__(self, whole: torch.Tensor, offsets: list[tuple[int, int, int, int]]) -> None:
        self.parts = [whole[r : r + h, c : c + w] for r, c, h, w in offsets]
        self.offsets = offsets

    def local_shards(self) -> list[object]:
        class Meta:
            def __init__(self, offsets: list[int]) -> None:
                self.shard_offsets = offsets

        class Shard:
            def __init__(self, tensor: torch.Tensor, row: int, column: int) -> None:
                self.tensor, self.metadata = tensor, Meta([row, column])

        return [Shard(part, r, c) for part, (r, c, _, _) in zip(self.parts, self.offsets, strict=True)]


@given(data=st.data(), old=st.integers(2, 12), new=st.integers(2, 12), block=st.integers(1, 5))
def test_any_origin_and_any_shards(data: st.DataObject, old: int, new: int, block: int) -> None:
    origin = np.array(data.draw(st.lists(st.integers(NEW, old - 1), min_size=new, max_size=new)), dtype=np.int64)
    split = data.draw(st.integers(0, new))
    source, target = torch.randn(old, 4), torch.zeros(new, 4)
    expected = target.clone()
    for row, start in enumerate(origin):
        if start != NEW:
            expected[row] = source[start]
    before, warm_rows._BLOCK_ROWS = warm_rows._BLOCK_ROWS, block
    try:  # rows above `split` by halves of their columns
        shards = Shards(target, [(0, 0, split, 4), (split, 0, new - split, 2), (split, 2, new - split, 2)])
        fill_rows(shards, lambda start, end: source[start:end], origin)
    finally:
        warm_rows._BLOCK_ROWS = before
    assert torch.equal(target, expected)


def test_a_state_of_one_value_a_row_and_another_type() -> None:
    target = torch.zeros(3, dtype=torch.float16)
    fill_rows(target, lambda start, end: torch.tensor([1.5, 2.5])[start:end], np.array([1, NEW, 0]))
    assert target.tolist() == [2.5, 0.0, 1.5]


def test_blocks_without_a_wanted_row_are_not_read() -> None:
    read: list[tuple[int, int]] = []

    def rows(start: int, end: int) -> torch.Tensor:
        read.append((start, end))
        return torch.zeros(end - start, 1)

    fill_rows(torch.zeros(2, 1), rows, np.array([5, 200_000]))
    assert read == [(5, 6), (200_000, 200_001)]
