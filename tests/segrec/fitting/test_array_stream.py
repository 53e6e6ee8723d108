"""Order of rows: each once an epoch, the same for the same (seed, epoch), resumable anywhere, groups kept apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec.fitting import ArrayStream
from segrec.records import ConfigError


def stream(rows: int, batch_size: int, **settings: object) -> ArrayStream[list[int]]:
    return ArrayStream(rows, lambda numbers: numbers.tolist(), batch_size=batch_size, **{"seed": 1, **settings})  # type: ignore[arg-type]


def test_in_order_without_shuffling() -> None:
    assert list(stream(7, 3, shuffle=False).epoch(0)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_grouped_in_order_without_shuffling() -> None:
    groups = np.array([2, 1, 2, 1, 2, 2])
    batches = list(stream(6, 3, groups=groups, shuffle=False).epoch(0))
    assert batches == [[1, 3], [0, 2, 4], [5]]
    assert stream(6, 3, groups=groups).batches(0) == 3


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 60), batch_size=st.integers(1, 70), cursor=st.tuples(st.integers(0, 5), st.integers(0, 3)),
    groups=st.integers(1, 4) | st.none(), data=st.data(),
)  # fmt: skip
def test_each_row_once_and_any_start_goes_on(
    rows: int, batch_size: int, cursor: tuple[int, int], groups: int | None, data: st.DataObject
) -> None:
    seed, epoch = cursor
    keys = None if groups is None else np.random.default_rng(seed).integers(0, groups, rows)
    made = stream(rows, batch_size, seed=seed, groups=keys)
    batches = list(made.epoch(epoch))
    assert sorted(row for batch in batches for row in batch) == list(range(rows))
    assert len(batches) == made.batches(epoch)
    assert all(0 < len(batch) <= batch_size for batch in batches)
    start = data.draw(st.integers(0, len(batches)))
    assert list(stream(rows, batch_size, seed=seed, groups=keys).epoch(epoch, start)) == batches[start:]
    if keys is not None:
        assert all(len(set(keys[batch])) == 1 for batch in batches)


def test_epochs_and_seeds_differ() -> None:
    orders = [next(stream(50, 50, seed=seed).epoch(epoch)) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert len({tuple(order) for order in orders}) == 3


def test_skipped_batches_are_not_made() -> None:
    made: list[int] = []
    counting = ArrayStream(10, lambda rows: made.append(len(rows)), batch_size=4, seed=0)
    assert list(counting.epoch(0, start=2)) == [None]
    assert made == [2]


def test_processes_share_one_global_batch() -> None:
    whole = list(stream(11, 4).epoch(0))
    parts = [list(stream(11, 4, rank=rank, world_size=3).epoch(0)) for rank in range(3)]
    for number, batch in enumerate(whole):
        assert sorted(row for part in parts for row in part[number]) == sorted(batch)
    assert [len(part[-1]) for part in parts] == [1, 1, 1]
    assert [len(part[0]) for part in parts] == [2, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": 0, "batch_size": 2}, "no row to fit on"),
        ({"rows": 3, "batch_size": 0}, r"batch_size must be at least 1 \(found: 0\)"),
        ({"rows": 3, "batch_size": 2, "groups": np.zeros(2, int)}, "groups has 2 entries .expected: one a row, 3"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stream(**arguments)  # type: ignore[arg-type]
