"""Batches without padding: what lies where, and content of views and histories."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segrec.records import DatasetFolder
from segrec.segments.batching import ViewTable, batches_in_order
from segrec.segments.content import ContentHistory, VectorRows
from segrec.segments.history import HistoryLog
from segrec.segments.views import skip_views_of


def table(lengths: list[int], exits: list[int] | None = None) -> ViewTable:
    """`known` numbers the segments: view * 100 + segment."""
    known = [100 * view + place for view, length in enumerate(lengths) for place in range(length)]
    return ViewTable(
        lengths=np.array(lengths),
        exits=np.array(exits or lengths),
        ids={"user_id": np.arange(len(lengths)) % 2, "item_id": np.arange(len(lengths)) + 10},
        dense=np.arange(len(lengths), dtype=np.float32)[:, None],
        known=np.array(known, np.float32)[:, None],
    )


def test_batch_by_hand() -> None:
    """Views of 3, 1 and 2 segments: sorted by length, segments one after the other."""
    batch = table([3, 1, 2], exits=[1, 1, 0]).batch(np.array([0, 1, 2]))
    assert batch.rows_B.tolist() == [1, 2, 0]
    assert batch.lengths_B.tolist() == [1, 2, 3]
    assert batch.exits_B.tolist() == [1, 0, 1]
    assert batch.view_T.tolist() == [0, 1, 1, 2, 2, 2]
    assert batch.position_T.tolist() == [0, 0, 1, 0, 1, 2]
    assert batch.known_TK[:, 0].tolist() == [100, 200, 201, 0, 1, 2]
    assert batch.ids["item_id"].values().tolist() == [11, 12, 10]
    assert batch.user_first_H.tolist() == [1, 0]
    assert batch.user_B.tolist() == [1, 0, 0]
    assert (batch.views, batch.segments, batch.seen) == ((1, 1, 1), (1, 2, 3), (0, 0, 0))


def test_padded_batch_by_hand() -> None:
    batch = table([2, 1]).batch(np.array([0, 1]), slots=3)
    assert batch.position_T.tolist() == [0, 1, 2, 0, 1, 2]
    assert batch.known_TK[:, 0].tolist() == [0, 1, 0, 100, 0, 0]
    assert (batch.views, batch.segments, batch.padded) == ((2,), (3,), True)


def test_reached_segments_only() -> None:
    """Exit in segment 1 of 3: segments 0 and 1; watched to the end of 2: both."""
    batch = table([3, 2], exits=[1, 2]).batch(np.array([0, 1]), reached=True)
    assert batch.position_T.tolist() == [0, 1, 0, 1]
    assert batch.known_TK[:, 0].tolist() == [0, 1, 100, 101]
    assert batch.lengths_B.tolist() == [3, 2]


@given(st.lists(st.integers(1, 7), min_size=1, max_size=40), st.integers(1, 5))
def test_scoring_batches_hold_each_view_once(lengths: list[int], size: int) -> None:
    batches = list(batches_in_order(table(lengths), size))
    assert sorted(row for batch in batches for row in batch.rows_B.tolist()) == list(range(len(lengths)))
    assert all(sum(batch.views) == len(batch.rows_B) for batch in batches)
    assert all(len(batch.view_T) == int(batch.lengths_B.sum()) for batch in batches)


def test_batch_moves_as_a_whole(vector_dataset: DatasetFolder) -> None:
    views = skip_views_of(vector_dataset, ["train"])
    plain = table(views["n_segments"].to_list())
    content = history_of(vector_dataset, views)
    batch = ViewTable(plain.lengths, plain.exits, plain.ids, plain.dense, plain.known, content).batch(np.arange(9))
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.known_TK, batch.known_TK)
    assert moved.content is not None
    assert torch.equal(moved.content.vectors_QE, batch.content.vectors_QE)  # type: ignore[union-attr]


def history_of(dataset: DatasetFolder, views: pl.DataFrame, **options: object) -> ContentHistory:
    settings = {"cap_views": 5, "cap_segments": 6} | options
    return ContentHistory.of(views, HistoryLog.of(views), VectorRows.of(dataset.vectors("visual"), 40), **settings)  # type: ignore[arg-type]


def test_content_of_a_batch_is_the_vectors_of_its_segments(vector_dataset: DatasetFolder) -> None:
    """Each segment's vector, by a plain look-up in the index."""
    views = skip_views_of(vector_dataset, ["train"])
    content, vectors = history_of(vector_dataset, views), vector_dataset.vectors("visual")
    where = {(item, place): row for item, place, row in vectors.index().iter_rows()}
    rows = np.arange(40)
    batch = ViewTable(
        views["n_segments"].to_numpy().astype(np.int64), views["exit_segment"].to_numpy().astype(np.int64),
        {"user_id": views["user_id"].to_numpy()}, np.zeros((views.height, 0), np.float32),
        np.zeros((int(views["n_segments"].sum()), 1), np.float32), content,
    ).batch(rows)  # fmt: skip
    tokens = batch.content
    assert tokens is not None
    for view, place, token in zip(
        batch.view_T.tolist(), batch.position_T.tolist(), tokens.video_T.tolist(), strict=True
    ):
        key = (views["item_id"][int(batch.rows_B[view])], place)
        if key not in where:
            assert token == -1
        else:
            assert tokens.vectors_QE[token].numpy() == pytest.approx(vectors.matrix[where[key]])


def test_histories_hold_watched_segments_of_ended_views(vector_dataset: DatasetFolder) -> None:
    """By a loop: newest 5 ended views, their segments before the skip that have vectors, newest 1, 2, 4 or 6."""
    views = skip_views_of(vector_dataset, ["train"])
    content = history_of(vector_dataset, views)
    where = {(item, place): row for item, place, row in vector_dataset.vectors("visual").index().iter_rows()}
    for number, view in enumerate(views.iter_rows(named=True)):
        past = views.filter(
            (pl.col("user_id") == view["user_id"]) & (pl.col("time_ms") + pl.col("watch_ms") < view["time_ms"])
        ).with_columns(end=pl.col("time_ms") + pl.col("watch_ms"))
        seen = [
            where[row["item_id"], place]
            for row in past.sort("end").tail(5).iter_rows(named=True)
            for place in range(row["exit_segment"])
            if (row["item_id"], place) in where
        ]
        size = max(step for step in (0, 1, 2, 4, 6) if step <= min(len(seen), 6))
        found = content.seen[content.start[number] : content.end[number]].tolist()
        assert found == (seen[-size:] if size else [])


def test_surprise_is_expected_minus_observed_exit(vector_dataset: DatasetFolder) -> None:
    """With hazards the segment that was left is seen too: h - 1 there, h where the user stayed; by a loop."""
    views = skip_views_of(vector_dataset, ["train"])
    hazards = np.arange(41 * 40, dtype=np.float64).reshape(41, 40) / 2_000
    content = history_of(vector_dataset, views, hazards=hazards, cap_segments=64)
    where = {(item, place) for item, place, _ in vector_dataset.vectors("visual").index().iter_rows()}
    rows = HistoryLog.of(views).rows
    wanted = [
        hazards[row["n_segments"], place] - (place == row["exit_segment"])
        for row in rows.iter_rows(named=True)
        for place in range(min(row["exit_segment"] + 1, row["n_segments"]))
        if (row["item_id"], place) in where
    ]
    assert content.surprise == pytest.approx(np.array(wanted, np.float32))
    assert len(content.seen) == len(wanted)


def test_released_history_looks_seconds_up_as_indices(vector_dataset: DatasetFolder) -> None:
    """Only segment 0 and (at 5 s a segment) segment 1 -> index 5 are found among six vectors."""
    views = skip_views_of(vector_dataset, ["train"])
    content = history_of(vector_dataset, views, rule="released")
    index = vector_dataset.vectors("visual").index()
    places = dict(zip(index["row"].to_list(), index["segment"].to_list(), strict=True))
    assert {places[row] for row in content.seen.tolist()} == {0, 5}
