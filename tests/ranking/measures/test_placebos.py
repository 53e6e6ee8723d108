"""Placebo score tables: same rows and lengths, and nothing left of what they take away."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from ranking.measures.placebos import PLACEBOS, STRENGTH, placebo_name, write_placebo
from segrec.records import KEY, ScoreMeta, ScoreTable, write_score_table

DAY_MS = 86_400_000
META = {
    "form": "personal", "kind": "stay_probability", "encoder": "enc", "encoder_hash": "h",
    "dataset_fingerprint": "f" * 64, "segment_ms": 5000, "trained_until_ms": 1, "fitted_on": ["train"],
}  # fmt: skip


@pytest.fixture
def log(make_dataset):
    """Item 10 is shown at 0, 1 and 1, item 20 at 2 in train; both again in test."""
    return make_dataset(
        pl.DataFrame(
            {
                "user_id": [1, 2, 3, 1, 1, 2], "item_id": [10, 10, 10, 20, 10, 20], "author_id": [0] * 6,
                "time_ms": [0, 1, 1, 2, DAY_MS, DAY_MS + 1], "duration_ms": [15_000] * 3 + [9000, 15_000, 9000],
                "watch_ms": [0] * 6, "split": ["train"] * 4 + ["test"] * 2,
            }
        )
    )  # fmt: skip


@pytest.fixture
def table(log, tmp_path):
    lists = [[0.9, 0.6, 0.3], [0.7, 0.4, 0.1], [0.8, 0.5, 0.2], [0.2, 0.4], [0.5, 0.55, 0.6], [0.3, 0.1]]
    keys = log.interactions().select(KEY).collect()
    frame = keys.with_columns(scores=pl.Series(lists, dtype=pl.List(pl.Float32)))
    write_score_table(tmp_path / "real.parquet", [frame], ScoreMeta.model_validate(META))
    return ScoreTable.open(tmp_path / "real.parquet")


def lists_of(table):
    return table.frame().collect()["scores"].to_list()


@pytest.mark.parametrize("placebo", PLACEBOS)
def test_rows_lengths_and_guards_stay(placebo, table, log, tmp_path):
    made = write_placebo(table, log, placebo, tmp_path / "placebo.parquet")
    real, new = table.frame().collect(), made.frame().collect()
    assert new.select(KEY).equals(real.select(KEY))
    assert new["scores"].list.len().to_list() == real["scores"].list.len().to_list()
    made.check_usable(log)
    assert made.meta.encoder == f"enc+placebo_{placebo}" == placebo_name("enc", placebo)
    assert made.meta.encoder_hash != table.meta.encoder_hash
    assert (made.meta.fitted_on, made.meta.trained_until_ms) == (["train"], 1)


def test_shuffled_keeps_each_rows_values_and_breaks_their_order(log, tmp_path):
    keys = log.interactions().select(KEY).collect()
    long = pl.DataFrame({**{name: [keys[name][0]] * 300 for name in KEY}, "row": range(300)})
    values = (long["row"] / 1000).to_list()
    frame = long.select(KEY).with_columns(
        scores=pl.Series([[v, v + 0.1, v + 0.2, v + 0.3] for v in values], dtype=pl.List(pl.Float32))
    )
    write_score_table(tmp_path / "long.parquet", [frame], ScoreMeta.model_validate(META))
    real = ScoreTable.open(tmp_path / "long.parquet")
    before = np.array(lists_of(real))
    after = np.array(lists_of(write_placebo(real, log, "shuffled", tmp_path / "shuffled.parquet", seed=1)))
    np.testing.assert_array_equal(np.sort(after, axis=1), before)  # each row's own values
    places = np.argsort(after, axis=1)
    assert len(np.unique(places, axis=0)) == 24  # every order of four occurs: rows are shuffled apart
    assert np.abs(places.mean(axis=0) - 1.5).max() < 0.25  # no place is favoured
    again = np.array(lists_of(write_placebo(real, log, "shuffled", tmp_path / "again.parquet", seed=1)))
    np.testing.assert_array_equal(again, after)


def test_position_is_the_shrunk_mean_by_length_and_place_over_train(table, log, tmp_path):
    found = lists_of(write_placebo(table, log, "position", tmp_path / "position.parquet"))
    # Train rows: three of length 3 with column sums 2.4, 1.5, .6; one of length 2 with .2, .4.
    at_place = [(2.4 + 0.2) / 4, (1.5 + 0.4) / 4, 0.6 / 3]
    totals = zip([2.4, 1.5, 0.6], at_place, strict=True)
    of_three = [(total + STRENGTH * mean) / (3 + STRENGTH) for total, mean in totals]
    of_two = [(total + STRENGTH * mean) / (1 + STRENGTH) for total, mean in zip([0.2, 0.4], at_place, strict=False)]
    for row, expected in zip(found, [of_three] * 3 + [of_two, of_three, of_two], strict=True):
        assert row == pytest.approx(expected, abs=1e-6)


def test_position_of_lengths_and_places_that_train_never_saw(log, tmp_path):
    keys = log.interactions().select(KEY).collect()
    lists = [[0.2, 0.4]] * 4 + [[0.9], [0.9] * 4]  # train has length 2 only
    frame = keys.with_columns(scores=pl.Series(lists, dtype=pl.List(pl.Float32)))
    write_score_table(tmp_path / "real.parquet", [frame], ScoreMeta.model_validate(META))
    made = write_placebo(ScoreTable.open(tmp_path / "real.parquet"), log, "position", tmp_path / "p.parquet")
    *_, one, four = lists_of(made)
    assert one == pytest.approx([0.2])
    assert four == pytest.approx([0.2, 0.4, 0.4, 0.4])


def test_popularity_counts_earlier_train_impressions_only(table, log, tmp_path):
    made = write_placebo(table, log, "popularity", tmp_path / "popularity.parquet")
    assert made.meta.kind == "relevance"
    shown = [0, 1, 1, 0, 3, 1]  # two rows at time 1 do not see each other; test sees all of train
    for row, count, length in zip(lists_of(made), shown, [3, 3, 3, 2, 3, 2], strict=True):
        assert row == pytest.approx([math.log1p(count)] * length)


def test_rows_without_segments_stay_without(log, tmp_path):
    keys = log.interactions().select(KEY).collect()
    frame = keys.with_columns(scores=pl.Series([[0.1, 0.2], [], [0.3], [], [], [0.4]], dtype=pl.List(pl.Float32)))
    write_score_table(tmp_path / "real.parquet", [frame], ScoreMeta.model_validate(META))
    real = ScoreTable.open(tmp_path / "real.parquet")
    for placebo in PLACEBOS:
        made = write_placebo(real, log, placebo, tmp_path / f"{placebo}.parquet")
        assert [len(row) for row in lists_of(made)] == [2, 0, 1, 0, 0, 1]


@pytest.fixture
def content_table(tmp_path):
    frame = pl.DataFrame(
        {"item_id": [20, 10, 10, 10, 20], "segment": [1, 0, 2, 1, 0], "score": [5.0, 1.0, 3.0, 2.0, 4.0]}
    )
    meta = ScoreMeta.model_validate({**META, "form": "content", "kind": "relevance"})
    write_score_table(tmp_path / "content.parquet", [frame], meta)
    return ScoreTable.open(tmp_path / "content.parquet")


def test_content_scores(content_table, log, tmp_path):
    made = {
        placebo: write_placebo(content_table, log, placebo, tmp_path / f"{placebo}.parquet").frame().collect()
        for placebo in PLACEBOS
    }
    for frame in made.values():
        assert frame["item_id"].to_list() == [10, 10, 10, 20, 20]
        assert frame["segment"].to_list() == [0, 1, 2, 0, 1]
    assert sorted(made["shuffled"]["score"][:3]) == [1.0, 2.0, 3.0]
    assert sorted(made["shuffled"]["score"][3:]) == [4.0, 5.0]
    assert made["popularity"]["score"].to_list() == pytest.approx([math.log1p(3)] * 3 + [math.log1p(1)] * 2)
    first = (1.0 + STRENGTH * 2.5) / (1 + STRENGTH)
    assert made["position"]["score"][0] == pytest.approx(first)


def test_large_tables_are_made_in_blocks(table, log, tmp_path, monkeypatch):
    whole = lists_of(write_placebo(table, log, "position", tmp_path / "whole.parquet"))
    monkeypatch.setattr("ranking.measures.placebos._ROWS_AT_ONCE", 2)
    assert lists_of(write_placebo(table, log, "position", tmp_path / "blocks.parquet")) == whole
