"""Rates of length, item and user: hand-worked shrinkage, unknown ids get the overall rate."""

from __future__ import annotations

import polars as pl
import pytest

from ranking.targets.labels import fit_label
from ranking.targets.rate_priors import STRENGTH, prior_probabilities

DAY_MS = 86_400_000


def test_by_hand(make_dataset):
    dataset = make_dataset(
        pl.DataFrame(
            {
                "user_id": [1, 1, 2, 2], "item_id": [10, 20, 10, 20], "author_id": [0] * 4,
                "time_ms": [0, 1, 2, DAY_MS], "duration_ms": [5000, 5001, 4000, 9000], "watch_ms": [0] * 4,
                "split": ["train"] * 3 + ["test"], "is_click": [1, 1, 0, 0],
            }
        ),
        flags=["is_click"],
    )  # fmt: skip
    asked = pl.DataFrame({"user_id": [1, 2, 3], "item_id": [10, 20, 30], "duration_ms": [10_000, 3000, 40_000]})
    found = prior_probabilities(dataset, fit_label(dataset, "is_click"), asked)
    rate = 2 / 3

    def shrunk(positives, rows):
        return (positives + STRENGTH * rate) / (rows + STRENGTH)

    # Lengths: rows of 1 segment: 5000 (clicked) and 4000 (not); of 2 segments: 5001 (clicked).
    assert found["length"].tolist() == pytest.approx([shrunk(1, 1), shrunk(1, 2), rate])
    assert found["item_shrunk"].tolist() == pytest.approx([shrunk(1, 2), shrunk(1, 1), rate])
    assert found["user_shrunk"].tolist() == pytest.approx([shrunk(2, 2), shrunk(0, 1), rate])
