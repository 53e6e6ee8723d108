"""The SegMM paper's priors: shares of "viewed" by slot as its code counts them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from segrec.encoders.published_priors import PublishedPrior, published_random

# Skip slots: 0, 0, 1 of user 1; user 2 saw a video of 2 segments to the end (slot 2) and one of 4 (none on the grid).
VIEWS = pl.DataFrame(
    {
        "user_id": [1, 1, 1, 2, 2],
        "item_id": [5, 6, 5, 5, 7],
        "n_segments": [2, 3, 2, 2, 4],
        "exit_segment": [0, 0, 1, 2, 4],
    }
)


def test_shares_by_position_by_hand() -> None:
    prior = PublishedPrior.fit(VIEWS, width=4)
    found = prior.bernoulli(VIEWS)
    assert prior.name == "position"
    assert found.viewed[0].tolist() == pytest.approx([0.6, 0.8, 0.8, 1.0])
    assert (found.viewed == found.viewed[0]).all()
    assert found.lengths.tolist() == [2, 3, 2, 2, 4]


def test_shares_by_user_with_the_global_ones_for_the_unseen() -> None:
    prior = PublishedPrior.fit(VIEWS, width=4, key="user_id")
    asked = pl.DataFrame({"user_id": [2, 1, 3], "n_segments": [1, 1, 1]})
    viewed = prior.static(asked).scores
    assert prior.name == "user"
    assert viewed[0].tolist() == [1.0, 1.0, 0.5, 1.0]
    assert viewed[1].tolist() == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])
    assert viewed[2].tolist() == pytest.approx([0.6, 0.8, 0.8, 1.0])


def test_random_scores_are_all_alike() -> None:
    found = published_random(VIEWS, width=4)
    assert found.scores.shape == (5, 4)
    assert np.ptp(found.scores) == 0
