"""Priors: numbers by hand, unseen ids and lengths, strengths chosen on valid, and a contract all of them keep."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec.encoders.prediction import ExitPrediction
from segrec.encoders.priors import (
    PRIORS,
    HazardPrior,
    ItemPrior,
    ItemShrunkPrior,
    LengthPositionPrior,
    PositionPrior,
    RandomPrior,
    UserPrior,
    UserShrunkPrior,
    deterministic_priors,
)
from segrec.records import ConfigError


def made_views(rows: int, seed: int, width: int = 6) -> pl.DataFrame:
    """Items with a length and a taste each: even items lose views at once, odd ones keep them."""
    random = np.random.default_rng(seed)
    items, users = random.integers(0, 12, rows), random.integers(0, 8, rows)
    lengths = 1 + (items // 2) % width
    hazard = np.where(items % 2 == 0, 0.7, 0.1)
    exits = np.minimum(random.geometric(hazard) - 1, lengths)
    return pl.DataFrame({"user_id": users, "item_id": items, "n_segments": lengths, "exit_segment": exits})


TRAIN, VALID = made_views(600, 0), made_views(200, 1)


def exits_of(prior: HazardPrior, **view: int) -> list[float]:
    """[P(exit 0), ..., P(end)] of one view."""
    found = prior.predict(pl.DataFrame({key: [value] for key, value in view.items()}))
    return [*np.exp(found.log_exit[0]).tolist(), float(np.exp(found.log_end[0]))]


def test_random_gives_all_outcomes_alike() -> None:
    assert exits_of(RandomPrior.fit(TRAIN), n_segments=3) == pytest.approx([0.25] * 4)
    assert RandomPrior.fit(TRAIN).nll(TRAIN) == pytest.approx(np.log(TRAIN["n_segments"] + 1).mean(), rel=1e-5)


def test_item_shrunk_is_counts_plus_strength_times_the_prior() -> None:
    prior = ItemShrunkPrior.fit(TRAIN, strength=10.0)
    item = 2  # of length 2
    own = TRAIN.filter(pl.col("item_id") == item)["exit_segment"]
    base = exits_of(LengthPositionPrior.fit(TRAIN), n_segments=2)
    expected = [((own == s).sum() + 10.0 * base[s]) / (len(own) + 10.0) for s in range(3)]
    assert exits_of(prior, item_id=item, n_segments=2) == pytest.approx(expected, rel=1e-4)


def test_an_unseen_item_falls_back_to_its_length() -> None:
    prior = ItemShrunkPrior.fit(TRAIN, VALID)
    expected = exits_of(LengthPositionPrior.fit(TRAIN, VALID), n_segments=4)
    assert exits_of(prior, item_id=999, n_segments=4) == pytest.approx(expected)


def test_a_missing_item_falls_back_too() -> None:
    views = pl.DataFrame(
        {"item_id": [None, 1], "n_segments": [2, 2]}, schema={"item_id": pl.Int64, "n_segments": pl.Int32}
    )
    prior = ItemShrunkPrior.fit(TRAIN)
    found = prior.predict(views)
    assert np.exp(found.log_end[0]) == pytest.approx(exits_of(LengthPositionPrior.fit(TRAIN), n_segments=2)[-1])
    assert found.log_end[0] != found.log_end[1]


@pytest.mark.parametrize("prior", [ItemPrior, UserPrior])
def test_own_counts_carry_one_view_of_the_position_prior(prior: type[ItemPrior]) -> None:
    views = pl.DataFrame(
        {"item_id": [1, 1, 1, 2], "user_id": [1, 1, 1, 2], "n_segments": [2] * 4, "exit_segment": [0, 0, 2, 1]}
    )
    base = exits_of(PositionPrior.fit(views), n_segments=2)
    expected = [(2 + base[0]) / 4, base[1] / 4, (1 + base[2]) / 4]
    found = exits_of(prior.fit(views), item_id=1, user_id=1, n_segments=2)
    assert found == pytest.approx(expected, rel=1e-5)


def test_user_shrunk_raises_the_hazards_of_who_leaves_early() -> None:
    random = np.random.default_rng(0)
    users = np.repeat([1, 2], 200)
    exits = np.where(users == 1, 0, np.minimum(random.geometric(0.2, 400) - 1, 5))
    views = pl.DataFrame({"user_id": users, "n_segments": np.full(400, 5), "exit_segment": exits})
    prior = UserShrunkPrior.fit(views, strength=1.0)
    base = LengthPositionPrior.fit(views)
    early, late, unknown = (exits_of(prior, user_id=user, n_segments=5) for user in (1, 2, 3))
    assert early[0] > 0.85 > exits_of(base, n_segments=5)[0] > late[0]
    assert unknown == pytest.approx(exits_of(base, n_segments=5), rel=1e-5)


def test_user_shrunk_by_hand() -> None:
    # One user, one-segment videos, 3 of 4 views left: the logit moves by (3 - 4 h) / (4 h (1 - h) + 2).
    views = pl.DataFrame({"user_id": [1] * 4, "n_segments": [1] * 4, "exit_segment": [0, 0, 0, 1]})
    hazard = exits_of(LengthPositionPrior.fit(views), n_segments=1)[0]
    moved = math.log(hazard / (1 - hazard)) + (3 - 4 * hazard) / (4 * hazard * (1 - hazard) + 2)
    found = exits_of(UserShrunkPrior.fit(views, strength=2.0), user_id=1, n_segments=1)
    assert found[0] == pytest.approx(1 / (1 + math.exp(-moved)))


def test_strength_is_the_best_of_the_tried_ones_on_valid() -> None:
    chosen = ItemShrunkPrior.fit(TRAIN, VALID)
    tried = {k: ItemShrunkPrior.fit(TRAIN, strength=k).nll(VALID) for k in ItemShrunkPrior.strengths}
    assert chosen.strength in tried
    same_base = {k: replace(chosen, strength=k).nll(VALID) for k in tried}
    assert chosen.strength == min(same_base, key=lambda k: same_base[k])


def test_items_matter_in_this_world_so_their_prior_wins() -> None:
    test = made_views(400, 2)
    nll = {prior.name: prior.fit(TRAIN, VALID).nll(test) for prior in PRIORS}
    assert nll["item_shrunk"] < nll["length_position"] < nll["random"]


def test_all_priors_by_name_in_order() -> None:
    names = [prior.name for prior in deterministic_priors(TRAIN, VALID)]
    assert names == ["random", "position", "length_position", "user", "item", "user_shrunk", "item_shrunk"]


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: prior.name)
class TestContract:
    """What every prior keeps."""

    def test_rows_sum_to_one_and_keep_the_views_order(self, prior: type[HazardPrior]) -> None:
        fitted = prior.fit(TRAIN, VALID)
        found, turned = fitted.predict(VALID), fitted.predict(VALID.reverse())
        assert isinstance(found, ExitPrediction)
        assert np.exp(found.log_exit).sum(axis=1) + np.exp(found.log_end) == pytest.approx(1.0, abs=1e-5)
        assert found.lengths.tolist() == VALID["n_segments"].to_list()
        assert turned.log_end[::-1].tolist() == found.log_end.tolist()

    def test_nothing_that_happens_is_impossible(self, prior: type[HazardPrior]) -> None:
        few = TRAIN.head(3)
        assert math.isfinite(prior.fit(few).nll(VALID))

    def test_unseen_ids_and_longer_videos_are_answered(self, prior: type[HazardPrior]) -> None:
        views = pl.DataFrame({"user_id": [-1], "item_id": [-1], "n_segments": [40], "exit_segment": [40]})
        found = prior.fit(TRAIN, VALID).predict(views)
        assert found.log_exit.shape == (1, 40)
        assert np.isfinite(found.log_exit).all()

    def test_chunks_do_not_show(self, prior: type[HazardPrior], monkeypatch: pytest.MonkeyPatch) -> None:
        fitted = prior.fit(TRAIN, VALID)
        whole = fitted.predict(VALID)
        monkeypatch.setattr("segrec.encoders.priors._ROWS_AT_ONCE", 17)
        assert fitted.predict(VALID).log_exit.tolist() == whole.log_exit.tolist()

    def test_no_view_is_no_row(self, prior: type[HazardPrior]) -> None:
        assert len(prior.fit(TRAIN).predict(VALID.clear())) == 0

    def test_views_without_a_grid_are_refused(self, prior: type[HazardPrior]) -> None:
        with pytest.raises(ConfigError, match="views lack the column 'n_segments'"):
            prior.fit(TRAIN).predict(VALID.drop("n_segments"))

    def test_string_ids_work(self, prior: type[HazardPrior]) -> None:
        text = TRAIN.with_columns(pl.col("user_id", "item_id").cast(pl.String))
        assert prior.fit(text).nll(text) == pytest.approx(prior.fit(TRAIN).nll(TRAIN))


@given(rows=st.integers(1, 30), seed=st.integers(0, 100), width=st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_any_small_log_gives_distributions(rows: int, seed: int, width: int) -> None:
    views = made_views(rows, seed, width)
    for prior in deterministic_priors(views, views.head(5)):
        found = prior.predict(views)
        assert isinstance(found, ExitPrediction)
        assert np.exp(found.log_exit).sum(axis=1) + np.exp(found.log_end) == pytest.approx(1.0, abs=1e-5)
