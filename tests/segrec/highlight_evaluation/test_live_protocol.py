"""Protocol live: three groupings of tau against scipy loops over rooms and windows, calibration, cohorts, intervals."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from scipy.stats import kendalltau, spearmanr

from segrec.highlight_evaluation import (
    Cohort,
    HighlightTask,
    highlight_cohorts,
    live_measures,
    oracle_answers,
    simple_answers,
)
from segrec.highlight_evaluation.sums import Measured, PairStatistic, Ratio, bootstrap
from segrec.metrics.intervals import drawn_weights
from segrec.records import ConfigError, DataError, DatasetFolder

WINDOW = 12


@pytest.fixture(scope="module")
def task(live: DatasetFolder) -> HighlightTask:
    return HighlightTask.of(live, "test", "lvtr", 1, window=WINDOW, min_viewers=60)


@pytest.fixture(scope="module")
def everyone(task: HighlightTask) -> Cohort:
    return highlight_cohorts(task, ["all"])[0]


@pytest.fixture(scope="module")
def predicted(task: HighlightTask) -> np.ndarray:
    """Few distinct values, constant in the first room."""
    found = np.random.default_rng(0).integers(0, 9, len(task.counted)) / 8
    found[: task.tested.offsets[1]] = 0.5
    return found


@pytest.fixture(scope="module")
def measured(task: HighlightTask, everyone: Cohort, predicted: np.ndarray) -> Measured:
    return live_measures(predicted, task, everyone, is_rate=True)


def value(part: Ratio | PairStatistic) -> float:
    return part.value if isinstance(part, PairStatistic) else float(part.above.sum() / part.below.sum())


def tau_or_zero(predictions: np.ndarray, truth: np.ndarray) -> float:
    """NaN where the truth is constant."""
    if len(set(truth)) < 2:
        return math.nan
    return 0.0 if len(set(predictions)) < 2 else kendalltau(predictions, truth).statistic


@pytest.mark.parametrize("threshold", [0, 0.2, 0.4, 0.6])
def test_the_groupings_are_those_of_loops(
    task: HighlightTask, predicted: np.ndarray, measured: Measured, threshold: float
) -> None:
    suffix = f"@{threshold}" if threshold else ""
    kept = task.counted & ((task.truth > threshold) | (threshold == 0))
    pooled = np.flatnonzero(kept & (task.tested.place_in_run >= WINDOW - 1))
    in_rooms, in_windows = [], []
    for first, last in pairwise(task.tested.offsets):
        rows = np.arange(first, last)[kept[first:last]]
        in_rooms.append(tau_or_zero(predicted[rows], task.truth[rows]))
        for end in range(first + WINDOW - 1, last):
            rows = np.array([row for row in range(end - WINDOW + 1, end + 1) if kept[row]], dtype=int)
            in_windows.append(tau_or_zero(predicted[rows], task.truth[rows]))
    expected = {
        "tau_global": tau_or_zero(predicted[pooled], task.truth[pooled]),
        "tau_room": np.nanmean(in_rooms),
        "tau_window": np.nanmean(in_windows),
    }
    for name, number in expected.items():
        assert value(measured["live", name + suffix]) == pytest.approx(number, abs=1e-9), name
    assert measured["live", f"tau_global{suffix}"].n == len(pooled)
    assert measured["live", f"tau_window{suffix}"].n == int((~np.isnan(in_windows)).sum())


def test_spearman_and_calibration(task: HighlightTask, predicted: np.ndarray, measured: Measured) -> None:
    found = []
    for first, last in pairwise(task.tested.offsets):
        rows = np.arange(first, last)[task.counted[first:last]]
        varies = len(set(predicted[rows])) > 1
        found.append(spearmanr(predicted[rows], task.truth[rows]).statistic if varies else 0)
    assert value(measured["live", "spearman"]) == pytest.approx(np.mean(found))
    rows = task.counted
    ratio = predicted[rows].mean() / task.truth[rows].mean()
    assert value(measured["live", "calibration_ratio"]) == pytest.approx(ratio)
    weighted = np.average(predicted[rows], weights=task.trials[rows]) / np.average(
        task.truth[rows], weights=task.trials[rows]
    )
    assert value(measured["live", "calibration_ratio_trials"]) == pytest.approx(weighted)


def test_an_order_has_no_calibration(task: HighlightTask, everyone: Cohort, predicted: np.ndarray) -> None:
    found = live_measures(-predicted, task, everyone, is_rate=False)
    assert not any(metric.startswith("calibration") for _, metric in found)


def test_unknown_targets_and_small_rooms_are_left_out(task: HighlightTask) -> None:
    last = task.tested.run_offsets[1:] - 1
    assert not task.counted[last].any(), "nothing comes after the last segment"
    few = task.tested.frame["viewers"].to_numpy() < 60
    assert few.any()
    assert not task.counted[few].any()


def test_tau_globals_replicates_follow_the_exact_ones(live: DatasetFolder) -> None:
    """Drawing rooms with copies of their segments: first-order influence comes close."""
    task = HighlightTask.of(live, "train", "lvtr", 1, window=WINDOW)
    blurred = np.nan_to_num(task.truth) + np.random.default_rng(0).random(len(task.truth)) / 2
    part = live_measures(blurred, task, highlight_cohorts(task, ["all"])[0], is_rate=False)["live", "tau_global"]
    assert isinstance(part, PairStatistic)
    rows = np.flatnonzero(task.counted & task.window_end)
    (weights,) = drawn_weights(task.room_count, 3, 60)
    exact = []
    for line in weights.astype(int):
        copies = np.repeat(rows, line[task.tested.room[rows]])
        exact.append(kendalltau(blurred[copies], task.truth[copies]).statistic)
    linear = part.value + weights @ part.influence
    assert np.corrcoef(linear, exact)[0, 1] > 0.9
    assert np.std(linear) == pytest.approx(np.std(exact), rel=0.25)


def test_a_ratios_interval_draws_rooms(task: HighlightTask, measured: Measured) -> None:
    (found,) = bootstrap([measured], np.ones(task.room_count, dtype=bool), seed=5)
    drawn = found["live", "tau_room"]
    part = measured["live", "tau_room"]
    assert isinstance(part, Ratio)
    (weights,) = drawn_weights(task.room_count, 5, 1000)
    np.testing.assert_allclose(drawn.drawn, weights @ part.above / (weights @ part.below))
    assert drawn.interval.low < drawn.value < drawn.interval.high


def test_the_oracle_is_best_and_a_constant_orders_nothing(task: HighlightTask, everyone: Cohort) -> None:
    answers = [*simple_answers(task), *oracle_answers(task)]
    found = {one.model: live_measures(one.scores, task, everyone, is_rate=one.is_rate) for one in answers}
    room = {model: value(part["live", "tau_room"]) for model, part in found.items()}
    assert list(room) == [
        "last_value", "room_mean", "streamer_mean", "minus_position", "global_mean", "oracle", "oracle_rate",
    ]  # fmt: skip
    assert max(room, key=lambda model: room[model]) == "oracle_rate"
    assert room["global_mean"] == 0.0
    assert value(found["global_mean"]["live", "tau_global"]) == 0.0


def test_the_oracle_of_shift_zero_needs_no_second_one(live: DatasetFolder) -> None:
    own = HighlightTask.of(live, "valid", "ctr", 0)
    assert [one.model for one in oracle_answers(own)] == ["oracle"]


def test_cohorts_by_streamer(task: HighlightTask) -> None:
    frame = task.everything.frame.with_columns(
        author_id=pl.when((pl.col("split") == "test") & (pl.col("author_id") < 2)).then(99).otherwise("author_id")
    )
    tested = frame.filter(pl.col("split") == "test")
    changed = HighlightTask(
        type(task.everything)(task.dataset, frame, task.everything.offsets),
        type(task.tested)(task.dataset, tested, task.tested.offsets),
        "test", "lvtr", 1, WINDOW, 0,
    )  # fmt: skip
    everyone, warm, cold = highlight_cohorts(changed)
    assert (everyone.name, warm.name, cold.name) == ("all", "warm", "cold")
    np.testing.assert_array_equal(warm.rooms, tested["author_id"].to_numpy()[task.tested.offsets[:-1]] != 99)
    np.testing.assert_array_equal(cold.rooms, ~warm.rooms)


BAD = {
    "split": ({"split": "future"}, ConfigError, r"unknown split 'future' \(known: train, valid, test\)"),
    "shift": ({"shift": 2}, ConfigError, r"shift is 2 \(allowed: 0 = the segment itself, 1 = the next one\)"),
    "window": ({"window": 1}, ConfigError, "window is 1"),
    "rate": ({"rate": "gifts"}, DataError, r"has no rate 'gifts' \(found: ctr, lvtr\)"),
    "viewers": ({"min_viewers": 10**6}, DataError, "has no test segment with a known lvtr .*at least 1000000 viewers"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case: str, live: DatasetFolder) -> None:
    change, error, message = BAD[case]
    asked = {"split": "test", "rate": "lvtr", "shift": 1, **change}
    with pytest.raises(error, match=message):
        HighlightTask.of(live, **asked)


def test_an_unknown_cohort_is_refused(task: HighlightTask) -> None:
    with pytest.raises(ConfigError, match=r"unknown cohort 'lukewarm' \(known: all, warm, cold\)"):
        highlight_cohorts(task, ["lukewarm"])
