from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from segrec.encoders.prediction import ExitPrediction
from segrec.records import KEY, ConfigError, exit_segment, segment_count, skip_views
from segrec.worlds.oracle import Oracle
from segrec.worlds.short_video import ShortVideoConfig, ShortVideoWorld, make_short_video
from segrec.worlds.videos import DAY_MS
from segrec.worlds.watching import PAGES

TWO_COLUMN = next(page.tab for page in PAGES if page.two_column)


@pytest.fixture(scope="module")
def rows(world: ShortVideoWorld) -> pl.DataFrame:
    """Impressions with their truth, number of segments and exit."""
    return pl.concat([world.impressions, world.truth.drop(KEY)], how="horizontal").with_columns(
        n=segment_count(5_000), exit=exit_segment(5_000)
    )


@pytest.fixture(scope="module")
def views(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(skip_views())


def assert_calibrated(outcome: np.ndarray, probability: np.ndarray, parts: int = 10) -> None:
    """In each part of the rows, by probability, the outcomes' sum lies within 4.5 deviations of what was promised."""
    for part in np.array_split(np.argsort(probability, kind="stable"), parts):
        spread = np.sqrt((probability[part] * (1 - probability[part])).sum())
        assert abs(outcome[part].sum() - probability[part].sum()) <= 4.5 * spread + 1e-3


@pytest.mark.parametrize(
    ("flag", "probability"), [("is_click", "click_probability"), ("long_view", "long_view_probability")]
)
@pytest.mark.parametrize("two_column", [False, True])
def test_flags_come_as_often_as_the_truth_says(rows, flag, probability, two_column):
    part = rows.filter((pl.col("tab") == TWO_COLUMN) == two_column)
    assert part.height > 1_000
    assert_calibrated(part[flag].to_numpy(), part[probability].to_numpy().astype(float), parts=5)


def test_views_start_as_often_as_the_truth_says(rows):
    assert_calibrated((rows["watch_ms"] > 0).to_numpy(), rows["start_probability"].to_numpy().astype(float))


def test_first_segment_exits_come_as_often_as_the_truth_says(views):
    hazard = views["hazard"].list.get(0).to_numpy().astype(float)
    assert_calibrated((views["exit"] == 0).to_numpy(), hazard)


@pytest.mark.parametrize("segments", [2, 3, 4, 5, 6])
def test_exit_segments_agree_with_the_exit_distribution(views, segments):
    part = views.filter(pl.col("n") == segments)
    expected = np.array(part["exit_probability"].to_list()).sum(axis=0)
    observed = np.bincount(part["exit"].to_numpy(), minlength=segments + 1)
    chi_square = ((observed - expected) ** 2 / expected).sum()
    assert chi_square < stats.chi2.ppf(0.9999, segments)


def test_no_model_can_expect_less_than_the_truths_own_entropy(views):
    exits = views["exit_probability"].to_list()
    entropy = np.array([-sum(p * np.log(p) for p in row if p > 0) for row in exits])
    nll = -np.log([row[exit] for row, exit in zip(exits, views["exit"], strict=True)])
    assert abs((nll - entropy).mean()) < 4.5 * (nll - entropy).std() / np.sqrt(len(nll))


def test_lists_have_the_length_of_the_video_and_fit_each_other(rows):
    lengths = {name: rows[name].list.len() for name in ("interest", "hazard", "exit_probability")}
    assert (lengths["interest"] == rows["n"]).all()
    assert (lengths["hazard"] == rows["n"]).all()
    assert (lengths["exit_probability"] == rows["n"] + 1).all()
    assert rows["exit_probability"].list.sum().to_numpy() == pytest.approx(np.ones(rows.height), abs=1e-5)
    first = rows["exit_probability"].list.get(0).to_numpy()
    assert first == pytest.approx(rows["hazard"].list.get(0).to_numpy(), rel=1e-5)


def test_truth_and_impressions_share_their_keys_one_to_one(world):
    assert world.impressions.select(KEY).equals(world.truth.select(KEY))
    assert not world.impressions.select("user_id", "time_ms").is_duplicated().any()
    assert world.impressions["time_ms"].is_sorted()


def test_flags_follow_the_publishers_rules(rows):
    watch, duration = pl.col("watch_ms"), pl.col("duration_ms")
    valid = pl.when(duration <= 7_000).then(watch >= duration).otherwise(watch > 7_000)
    long = pl.when(duration <= 18_000).then(watch >= duration).otherwise(watch >= 18_000)
    single = rows.filter(pl.col("tab") != TWO_COLUMN)
    assert single.select((valid == (pl.col("is_click") == 1)).all()).item()
    assert rows.select((long == (pl.col("long_view") == 1)).all()).item()
    covers = rows.filter(pl.col("tab") == TWO_COLUMN)
    assert covers.filter(pl.col("is_click") == 0)["watch_ms"].max() == 0
    assert 0 < (covers.filter(pl.col("is_click") == 1)["watch_ms"] > 0).mean() <= 1


def test_feedback_is_rare_and_needs_a_view(rows):
    for flag in ("is_like", "is_follow", "is_comment", "is_forward", "is_hate", "is_profile_enter"):
        assert rows[flag].mean() < 0.1
    assert rows["is_like"].sum() > 20
    assert rows.filter(pl.col("watch_ms") == 0)["is_like"].sum() == 0
    watched = (pl.col("watch_ms") / pl.col("duration_ms")).clip(upper_bound=1)
    liked, not_liked = (rows.filter(pl.col("is_like") == like).select(watched.mean()).item() for like in (1, 0))
    assert liked > not_liked + 0.2


def test_nothing_is_shown_before_its_upload_or_to_somebody_who_has_not_joined(world):
    rows, first_day = world.impressions, world.config.first_day_ms
    uploaded = world.videos.upload_ms[rows["video"].to_numpy()] + first_day
    joined = world.viewers.join_day[rows["viewer"].to_numpy()] * DAY_MS + first_day
    assert (rows["time_ms"].to_numpy() >= uploaded).all()
    assert (rows["time_ms"].to_numpy() >= joined).all()


def test_new_videos_and_new_users_come_until_the_last_day(world):
    rows, last = world.impressions, world.config.first_day_ms + 9 * DAY_MS
    before, after = rows.filter(pl.col("time_ms") < last), rows.filter(pl.col("time_ms") >= last)
    new = after.filter(~pl.col("item_id").is_in(before["item_id"].unique().implode()))
    assert 0.02 < new.height / after.height < 0.4
    assert (world.viewers.join_day > 0).any()


def test_a_viewer_rarely_meets_a_video_twice(make_config):
    made = make_short_video(make_config(users=60, items=1_500, impressions_per_user=50))
    assert made.impressions.select("viewer", "video").is_duplicated().mean() < 0.02


def test_random_exposures_begin_with_the_second_half_and_are_uniform(world):
    rows = world.impressions
    random = rows.filter(pl.col("is_random") == 1)
    half = world.config.first_day_ms + 5 * DAY_MS
    assert random["time_ms"].min() >= half
    assert 0.05 < random.height / rows.filter(pl.col("time_ms") >= half).height < 0.11
    exposure = world.videos.exposure
    shown = {kind: exposure[part["video"].to_numpy()].mean() for kind, part in rows.group_by("is_random")}
    assert shown[(1,)] < 0.7 * shown[(0,)]


def test_days_have_a_rhythm(world):
    hour = pl.from_epoch(pl.col("time_ms") + 8 * 3_600_000, time_unit="ms").dt.hour()
    by_hour = world.impressions.group_by(hour=hour).len().sort("hour")
    counts = dict(by_hour.iter_rows())
    assert sum(counts.get(h, 0) for h in (20, 21, 22)) > 4 * sum(counts.get(h, 0) for h in (2, 3, 4))


def test_durations_are_skewed_with_a_median_near_20_seconds(make_config):
    seconds = make_short_video(make_config(users=2, items=4_000, impressions_per_user=1)).videos.duration_ms / 1000
    assert 18 < np.median(seconds) < 22
    assert seconds.min() >= 5
    assert seconds.max() < 200
    assert seconds.mean() > 1.2 * np.median(seconds)


def test_the_same_seed_makes_the_same_world(make_config):
    one, same, other = (make_short_video(make_config(seed, users=30, items=50)) for seed in (7, 7, 8))
    assert one.impressions.equals(same.impressions)
    assert one.truth.equals(same.truth)
    assert not one.impressions.equals(other.impressions)


def test_another_policy_leaves_viewers_and_videos_alone(make_config):
    config = make_config(users=30, items=50)
    other = config.model_copy(update={"exposure": config.exposure.model_copy(update={"random_share": 0.5})})
    one, two = make_short_video(config), make_short_video(other)
    assert np.array_equal(one.viewers.taste, two.viewers.taste)
    assert np.array_equal(one.videos.vectors, two.videos.vectors)


@pytest.mark.parametrize(("users", "items", "impressions_per_user"), [(1, 1, 1), (1, 2, 30), (30, 1, 2)])
def test_the_smallest_worlds(make_config, users, items, impressions_per_user):
    made = make_short_video(make_config(0, users, items, impressions_per_user))
    assert made.impressions.height == users * impressions_per_user
    assert np.isfinite(made.truth["click_probability"].to_numpy()).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"viewers": {"users": 0}}, "viewers.users"),
        ({"videos": {"topics": 1}}, "videos.topics"),
        ({"exposure": {"days": 29}}, "exposure.days"),
        ({"exposure": {"random_share": 1.5}}, "exposure.random_share"),
        ({"watching": {"start_decay": 0}}, "watching.start_decay"),
        ({"seed": -1}, "seed"),
        ({"viewers": {"nose": 1}}, "unknown field 'viewers.nose'"),
    ],
)
def test_impossible_worlds_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        ShortVideoConfig.checked(values)


def length_position_prior(train: pl.DataFrame, test: pl.DataFrame) -> ExitPrediction:
    """Exit shares by number of segments, half a view added to each outcome."""
    weights = np.full((41, 41), -np.inf)
    for length in range(1, 41):
        exits = train.filter(pl.col("n") == length)["exit"].to_numpy()
        weights[length, : length + 1] = np.log(np.bincount(exits, minlength=length + 1) + 0.5)
    lengths = test["n"].to_numpy()
    return ExitPrediction.from_outcomes(weights[lengths, :40], weights[lengths, lengths], lengths)


def ndcg_at_5(prediction: ExitPrediction, exits: np.ndarray) -> float:
    skipped = exits < prediction.lengths
    scores, exits = prediction.skip_scores()[skipped], exits[skipped]
    rank = 1 + (scores < scores[np.arange(len(exits)), exits][:, None]).sum(axis=1)
    return float(np.where(rank <= 5, 1 / np.log2(rank + 1), 0.0).mean())


def test_the_prior_is_far_from_the_oracle(world, views):
    cut = views["time_ms"].quantile(0.8)
    train, test = views.filter(pl.col("time_ms") < cut), views.filter(pl.col("time_ms") >= cut)
    exits = test["exit"].to_numpy()
    prior, oracle = length_position_prior(train, test), Oracle(world.truth).predict(test)
    assert -prior.log_likelihood(exits).mean() > -oracle.log_likelihood(exits).mean() + 0.25
    assert ndcg_at_5(oracle, exits) > ndcg_at_5(prior, exits) + 0.03
