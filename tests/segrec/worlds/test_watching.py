from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from segrec.worlds.videos import Videos
from segrec.worlds.viewers import Viewers
from segrec.worlds.watching import (
    PAGES,
    Moments,
    WatchingConfig,
    draw_exits,
    draw_watch_ms,
    exit_distribution,
    view_truth,
)

HAZARDS = np.array([0.5, 0.4, 0.2, 0.3])
EXITS = [0.5, 0.2, 0.06, 0.24, 0.3, 0.7]
"Of rows with 3 and 1 segments: h0, (1-h0) h1, (1-h0)(1-h1) h2, and what remains is the end."
LENGTHS = np.array([3, 1])


def one_viewer(patience: float = 0.0, length_habit: float = 0.0) -> Viewers:
    return Viewers(
        user_id=np.array([0]),
        persona=np.array([0]),
        taste=np.array([[1.0, -1.0]]),
        patience=np.array([patience]),
        length_habit=np.array([length_habit]),
        activity=np.ones(1),
        page_preference=np.array([[1.0, 0, 0, 0]]),
        join_day=np.array([0]),
        estimated_taste=np.array([[1.0, -1.0]]),
    )


def one_video(duration_ms: int, mixture: list[list[float]], quality: float = 0.0, cover: float = 0.0) -> Videos:
    return Videos(
        item_id=np.array([0]),
        author=np.array([0]),
        duration_ms=np.array([duration_ms]),
        upload_ms=np.array([-1]),
        quality=np.array([quality]),
        cover=np.array([cover]),
        exposure=np.ones(1),
        mixture=np.array(mixture),
        vectors=np.array(mixture),
    )


def moment(page: int = 0, hour: int = 12) -> Moments:
    return Moments(np.array([0]), np.array([0]), np.array([page]), np.array([hour]))


PLAIN = WatchingConfig(
    base_logit=-1.0,
    start_bump=0.5,
    start_decay=1.0,
    length_slope=-0.35,
    taste_weight=2.0,
    attention_floor=1.0,
    evening_calm=0.25,
    zero_play_share=0.0,
)


def logit_of(hazard: float) -> float:
    return float(np.log(hazard / (1 - hazard)))


def test_exits_from_hazards_by_hand():
    assert exit_distribution(np.log1p(-HAZARDS), LENGTHS) == pytest.approx(EXITS)


def test_drawn_exits_follow_the_distribution():
    rng, n = np.random.default_rng(0), 20_000
    drawn = draw_exits(np.tile(EXITS[:4], n), np.full(n, 3), rng)
    observed = np.bincount(drawn, minlength=4)
    assert stats.chisquare(observed, n * np.array(EXITS[:4])).pvalue > 1e-4


def test_sure_exits_and_sure_ends():
    exits = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
    assert draw_exits(exits, np.array([2, 2]), np.random.default_rng(0)).tolist() == [1, 2]


def test_watch_time_stays_in_its_exit_segment():
    n = 9_000
    lengths, duration = np.full(n, 3), np.full(n, 12_345)
    exits = np.arange(n) % 3
    watch = draw_watch_ms(PLAIN, exits, lengths, duration, np.random.default_rng(1))
    assert np.array_equal(-(-watch // 5_000) - 1, exits)
    assert watch.min() >= 1
    assert watch.max() < 12_345
    inside_first = watch[exits == 0]
    assert stats.kstest(inside_first, stats.uniform(0.5, 5_000).cdf).pvalue > 1e-4


def test_full_views_reach_the_end_and_some_go_round_again():
    n = 4_000
    watch = draw_watch_ms(PLAIN, np.full(n, 3), np.full(n, 3), np.full(n, 12_345), np.random.default_rng(1))
    assert watch.min() >= 12_345
    assert 0.02 < (watch > 2 * 12_345).mean() < 0.2


def test_interest_and_hazard_by_hand():
    # 5 segments: no length effect. Topic 0 is liked (+1), topic 1 is not (-1).
    mixture = [[1, 0], [0, 1], [0.5, 0.5], [1, 0], [0, 1]]
    truth = view_truth(PLAIN, one_viewer(patience=0.3), one_video(25_000, mixture, quality=0.1), moment())
    assert truth.interest == pytest.approx([2.1, -1.9, 0.1, 2.1, -1.9])
    expected = [-1.0 + 0.5 * np.exp(-s) - 0.3 - interest for s, interest in enumerate([2.1, -1.9, 0.1, 2.1, -1.9])]
    assert [logit_of(hazard) for hazard in truth.hazard] == pytest.approx(expected)
    assert truth.exit_probability.sum() == pytest.approx(1.0)


def test_attention_shrinks_what_content_does_later():
    # attention = .5 + .5 exp(-s / 2): the same content moves segment 4 by less than segment 0.
    config = PLAIN.model_copy(update={"attention_floor": 0.5, "attention_decay": 2.0, "start_bump": 0.0})
    truth = view_truth(config, one_viewer(), one_video(25_000, [[1, 0]] * 5), moment())
    moved = [-1.0 - logit_of(hazard) for hazard in truth.hazard]
    assert moved == pytest.approx([2.0 * (0.5 + 0.5 * np.exp(-s / 2)) for s in range(5)])


def test_a_cut_last_segment_has_less_time_to_lose_the_viewer():
    whole = view_truth(PLAIN, one_viewer(), one_video(10_000, [[0.5, 0.5]] * 2), moment()).hazard[1]
    cut = view_truth(PLAIN, one_viewer(), one_video(6_000, [[0.5, 0.5]] * 2), moment()).hazard[1]
    assert cut == pytest.approx(1 - (1 - whole) ** 0.2)


def test_length_habit_page_and_evening_by_hand():
    # 10 segments = one doubling of 5: slope -.35 + habit .2; page 2 has its own logit; after 20:00 calmer by .25.
    mixture = [[0.5, 0.5]] * 10
    truth = view_truth(PLAIN, one_viewer(length_habit=0.2), one_video(50_000, mixture), moment(page=2, hour=21))
    assert logit_of(truth.hazard[9]) == pytest.approx(-1.0 + 0.5 * np.exp(-9) - 0.15 + PAGES[2].skip_logit - 0.25)


def test_two_column_page_starts_with_a_click_on_the_cover():
    two_column = next(number for number, page in enumerate(PAGES) if page.two_column)
    config = PLAIN.model_copy(update={"click_base_logit": -1.0, "click_interest_weight": 0.5, "zero_play_share": 0.1})
    video = one_video(10_000, [[1, 0], [0.5, 0.5]], cover=0.4)
    truth = view_truth(config, one_viewer(), video, moment(page=two_column))
    click = 1 / (1 + np.exp(-(-1.0 + 0.4 + 0.5 * 1.0)))
    assert truth.cover_click_probability == pytest.approx([click])
    assert truth.start_probability == pytest.approx([0.9 * click])
    feed = view_truth(config, one_viewer(), video, moment())
    assert (feed.cover_click_probability[0], feed.start_probability[0]) == pytest.approx((1.0, 0.9))
