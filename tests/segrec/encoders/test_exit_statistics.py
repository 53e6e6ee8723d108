"""Prior features: never counted on the row itself, zeros for the unknown, kept through frames."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from segrec.encoders.exit_shifts import BANDS
from segrec.encoders.exit_statistics import (
    SEGMENT_NAMES,
    VIEW_NAMES,
    ExitStatistics,
    out_of_fold,
    time_blocks,
)
from segrec.records import ConfigError


def made_views(rows: int, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    items = random.integers(0, 10, rows)
    lengths = 1 + items % 4
    return pl.DataFrame(
        {
            "user_id": random.integers(0, 6, rows),
            "item_id": items,
            "author_id": [None if item < 2 else item // 3 for item in items.tolist()],
            "time_ms": np.arange(rows) * 1000,
            "n_segments": lengths,
            "exit_segment": random.integers(0, lengths + 1),
        }
    )


VIEWS = made_views(200, 0)


def flipped(views: pl.DataFrame, row: int) -> pl.DataFrame:
    """The same views, but row `row` ended otherwise."""
    exits = views["exit_segment"].to_list()
    exits[row] = 0 if exits[row] else views["n_segments"][row]
    return views.with_columns(exit_segment=pl.Series(exits))


@pytest.mark.parametrize("row", [0, 37, 199])
def test_a_training_rows_features_do_not_depend_on_its_own_outcome(row: int) -> None:
    before, after = out_of_fold(VIEWS), out_of_fold(flipped(VIEWS, row))
    assert (before.view[row] == after.view[row]).all()
    assert (before.segment[row] == after.segment[row]).all()
    block = time_blocks(VIEWS["time_ms"], 5)
    same = block == block[row]
    assert (before.view[same] == after.view[same]).all()
    assert not (before.view[~same] == after.view[~same]).all(), "other blocks do learn from it"


def test_other_rows_features_do_not_look_at_outcomes() -> None:
    fitted, other = ExitStatistics.fit(VIEWS), made_views(50, 1)
    one, two = fitted.features(other), fitted.features(other.drop("exit_segment"))
    assert (one.view == two.view).all()
    assert (one.segment == two.segment).all()


def test_names_say_what_stands_where() -> None:
    found = ExitStatistics.fit(VIEWS).features(VIEWS)
    assert found.view.shape == (200, len(VIEW_NAMES))
    assert found.segment.shape == (200, 4, len(SEGMENT_NAMES))
    seen = VIEWS.group_by("item_id").len()
    expected = np.log1p(VIEWS.join(seen, on="item_id", how="left", maintain_order="left")["len"].to_numpy())
    assert found.view[:, VIEW_NAMES.index("item_id_log_views")] == pytest.approx(expected, rel=1e-5)
    assert len(VIEW_NAMES) == 3 * (1 + len(BANDS))


def test_an_item_that_loses_its_viewers_at_once_has_a_positive_shift() -> None:
    views = VIEWS.with_columns(exit_segment=pl.when(pl.col("item_id") == 7).then(0).otherwise(pl.col("n_segments")))
    found = ExitStatistics.fit(views).features(views)
    left = (views["item_id"] == 7).to_numpy()
    first = found.view[:, VIEW_NAMES.index("item_id_shift_from_0")]
    here = found.segment[:, 0, SEGMENT_NAMES.index("item_id_shift_here")]
    stayed = ~left & (views["n_segments"].to_numpy() == 4)
    assert first[left].min() > 0.5
    assert first[stayed].max() < 0.0
    assert here[left].min() > 0.5


def test_unknown_and_missing_ids_have_zeros_and_the_base_still_stands() -> None:
    unknown = pl.DataFrame(
        {"user_id": [-5], "item_id": [-5], "author_id": [None], "n_segments": [3]},
        schema_overrides={"author_id": pl.Int64},
    )
    fitted = ExitStatistics.fit(VIEWS)
    found = fitted.features(unknown)
    assert (found.view == 0).all()
    hazards = fitted.table.of(np.array([3]))[0]
    assert found.segment[0, :, 0].tolist() == pytest.approx([math.log(h / (1 - h)) for h in hazards], rel=1e-5)
    assert (found.segment[0, :, 1:] == 0).all()


def test_padding_is_zero_and_longer_videos_are_answered() -> None:
    views = VIEWS.head(2).with_columns(n_segments=pl.Series([1, 9]))
    found = ExitStatistics.fit(VIEWS).features(views)
    assert found.segment.shape[1] == 9
    assert (found.segment[0, 1:] == 0).all()
    assert np.isfinite(found.segment).all()


def test_statistics_come_back_from_their_frames(tmp_path: object) -> None:
    fitted = ExitStatistics.fit(VIEWS)
    frames = {}
    for name, frame in fitted.to_frames().items():
        frame.write_parquet(f"{tmp_path}/{name}.parquet")
        frames[name] = pl.read_parquet(f"{tmp_path}/{name}.parquet")
    again = ExitStatistics.from_frames(frames).features(VIEWS)
    assert (again.view == fitted.features(VIEWS).view).all()
    assert (again.segment == fitted.features(VIEWS).segment).all()
    with pytest.raises(ConfigError, match="lack the frame 'user_id'"):
        ExitStatistics.from_frames({"table": frames["table"]})


def test_a_log_without_authors_works_and_comes_back() -> None:
    nobody = VIEWS.with_columns(author_id=pl.lit(None, dtype=pl.Int64))
    fitted = ExitStatistics.fit(nobody)
    assert (ExitStatistics.from_frames(fitted.to_frames()).features(nobody).view == fitted.features(nobody).view).all()


def test_blocks_are_equal_parts_by_time_whatever_the_order() -> None:
    assert time_blocks(pl.Series([50, 10, 40, 20, 30, 60]), 3).tolist() == [2, 0, 1, 0, 1, 2]


@pytest.mark.parametrize(("rows", "folds"), [(3, 1), (3, 5)])
def test_too_few_folds_or_views_are_refused(rows: int, folds: int) -> None:
    with pytest.raises(ConfigError, match=f"2 <= folds <= views \\(found: {folds} folds, {rows} views\\)"):
        out_of_fold(VIEWS.head(rows), folds)


def test_missing_columns_are_named() -> None:
    with pytest.raises(ConfigError, match="views lack the column 'author_id'"):
        ExitStatistics.fit(VIEWS.drop("author_id"))
