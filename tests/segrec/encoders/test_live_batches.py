"""Samples and batches of live rooms: worked out by hand on runs of 3, 5 and 1 segments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segrec.encoders.live_batches import Content, LiveTable, Samples
from segrec.encoders.scales import Scales
from segrec.segments.rooms import RateTarget, Rooms
from segrec.testing.live_dataset import make_live_dataset

RUNS = np.array([0, 3, 8, 9])


def table(target: bool = True) -> LiveTable:
    values = np.arange(9, dtype=np.float32) / 10
    rates = RateTarget(values, np.full(9, 5, np.float32)) if target else None
    return LiveTable({}, np.arange(9), np.arange(9, dtype=np.float32)[:, None], RUNS, rates)


def test_windows_have_stride_one_and_short_runs_are_one_sample() -> None:
    found = Samples.windows(RUNS, 4)
    assert found.starts.tolist() == [0, 3, 4, 8]
    assert found.lengths.tolist() == [3, 4, 4, 1]
    assert found.last.tolist() == [2, 6, 7, 8]


def test_pieces_cover_each_segment_once() -> None:
    found = Samples.pieces(RUNS, 2)
    assert found.starts.tolist() == [0, 2, 3, 5, 7, 8]
    assert found.lengths.tolist() == [2, 1, 2, 2, 1, 1]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(2, 9))
def test_samples_never_cross_a_run(lengths: list[int], size: int) -> None:
    runs = np.concatenate([[0], np.cumsum(lengths)])
    run = np.repeat(np.arange(len(lengths)), lengths)
    for samples in (Samples.windows(runs, size), Samples.pieces(runs, size)):
        assert (run[samples.starts] == run[samples.last]).all()
        assert (samples.lengths <= size).all()
    pieces = Samples.pieces(runs, size)
    assert int(pieces.lengths.sum()) == runs[-1]
    assert Samples.windows(runs, size).last.max() == runs[-1] - 1


def test_a_window_batch_holds_each_distinct_segment_once() -> None:
    """Windows 3..6 and 4..7 share three segments: five rows, not eight."""
    batch = table().batch(Samples.windows(RUNS, 4).kept(np.array([False, True, True, True])), banded=False)
    assert batch.segments.known_MF[:, 0].tolist() == [3, 4, 5, 6, 7, 8]
    assert batch.samples_Bn[:2].tolist() == [[0, 1, 2, 3], [1, 2, 3, 4]]
    assert batch.valid_Bn[2].tolist() == [True, False, False, False]
    assert batch.run_offsets is None
    assert batch.values_Bn[1].tolist() == pytest.approx([0.4, 0.5, 0.6, 0.7])
    assert batch.values_Bn[2].isnan().tolist() == [False, True, True, True]


def test_a_banded_batch_lays_samples_one_after_the_other() -> None:
    batch = table().batch(Samples.pieces(RUNS, 5), banded=True)
    assert batch.run_offsets is not None
    assert batch.run_offsets.tolist() == [0, 3, 8, 9]
    assert batch.segments.author_M.tolist() == list(range(9))
    assert batch.samples_Bn.tolist()[0][:3] == [0, 1, 2]
    assert batch.samples_Bn[1].tolist() == [3, 4, 5, 6, 7]


def test_runs_come_in_order_and_stay_whole() -> None:
    found = [(place.start, place.stop) for place, _ in table(target=False).runs(4)]
    assert found == [(0, 3), (3, 8), (8, 9)]
    assert [(place.start, place.stop) for place, _ in table().runs(100)] == [(0, 9)]


def test_content_is_gathered_and_holes_are_zero(tmp_path: Path) -> None:
    dataset = make_live_dataset(tmp_path / "dataset", rooms=4, segments=6, width=3)
    rooms, vectors = Rooms.of(dataset), dataset.vectors("visual")
    rows = rooms.vector_rows(vectors)
    rows[1] = -1
    found, present = Content(vectors, rows, Scales.none(3)).gather(np.array([2, 1, 0]))
    assert present.tolist() == [True, False, True]
    assert found[1].tolist() == [0, 0, 0]
    assert found[0] == pytest.approx(np.clip(vectors.matrix[rows[2]], -4, 4))
    assert isinstance(torch.from_numpy(found), torch.Tensor)
