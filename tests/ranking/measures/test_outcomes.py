"""The rows of a CTR evaluation: labels, users, cohorts by what train has seen."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from ranking.measures.outcomes import COHORTS, Outcomes
from ranking.targets.labels import fit_label
from segrec.records import DataError

DAY_MS = 86_400_000


@pytest.fixture
def small(make_dataset):
    """Train: users 1, 2 and items 10, 20. Test: warm, new user, new item, both new."""
    return make_dataset(
        pl.DataFrame(
            {
                "user_id": [1, 2, 1, 9, 2, 9], "item_id": [10, 20, 20, 10, 30, 30], "author_id": [7, 8, 8, None, 9, 7],
                "time_ms": [0, 1, DAY_MS, DAY_MS + 1, DAY_MS + 2, DAY_MS + 3], "duration_ms": [6000] * 6,
                "watch_ms": [0] * 6, "split": ["train"] * 2 + ["test"] * 4, "is_click": [1, 0, 1, 0, 0, 1],
            }
        ),
        flags=["is_click"],
    )  # fmt: skip


def test_rows_labels_and_users(small):
    outcomes = Outcomes.of(small, fit_label(small, "is_click"), "test")
    assert outcomes.rows["user_id"].to_list() == [1, 9, 2, 9]
    assert outcomes.labels.tolist() == [True, False, False, True]
    assert outcomes.users.tolist() == [0, 2, 1, 2]
    assert (outcomes.split, outcomes.label) == ("test", "is_click")


def test_cohorts(small):
    outcomes = Outcomes.of(small, fit_label(small, "is_click"), "test")
    found = {name: outcomes.cohort(name).astype(int).tolist() for name in COHORTS}
    assert found == {
        "all": [1, 1, 1, 1],
        "warm": [1, 0, 0, 0], "cold": [0, 1, 1, 1],
        "warm_users": [1, 0, 1, 0], "cold_users": [0, 1, 0, 1],
        "warm_items": [1, 1, 0, 0], "cold_items": [0, 0, 1, 1],
        "warm_authors": [1, 0, 0, 1], "cold_authors": [0, 0, 1, 0],
        "first_of_user": [1, 1, 1, 0],
    }  # fmt: skip


def test_ids_may_be_text(make_dataset):
    frame = pl.DataFrame(
        {
            "user_id": ["a", "b", "a"], "item_id": ["x", "x", "y"], "author_id": [None] * 3,
            "time_ms": [0, 1, DAY_MS], "duration_ms": [5000] * 3, "watch_ms": [1] * 3,
            "split": ["train", "train", "test"], "is_click": [1, 0, 1],
        }
    )  # fmt: skip
    dataset = make_dataset(frame, flags=["is_click"])
    outcomes = Outcomes.of(dataset, fit_label(dataset, "is_click"), "test")
    assert np.array_equal(outcomes.cohort("warm_users"), [True])
    assert np.array_equal(outcomes.cohort("warm_items"), [False])
    assert not outcomes.cohort("warm_authors").any()
    assert not outcomes.cohort("cold_authors").any()


def test_a_split_without_rows_is_refused(small):
    with pytest.raises(DataError, match="has no valid row with label is_click; choose another --split"):
        Outcomes.of(small, fit_label(small, "is_click"), "valid")
