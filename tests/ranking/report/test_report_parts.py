"""The page's parts by hand: verdicts, tables, strips, shares, scalars, calibration bins."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ranking.report.calibration import exit_calibration, wilson
from ranking.report.differences import differences
from ranking.report.gathering import gather
from ranking.report.heat_strips import heat_strips, ticks
from ranking.report.metric_names import better, in_order, meaning, verdict
from ranking.report.metric_tables import is_own, metric_tables, percent
from ranking.report.scored_views import ScoredViews, scored_views
from ranking.report.skip_positions import _measured, _shares, measured_positions, skip_positions
from ranking.report.training_curves import read_scalars, training_curves
from segrec.records import DatasetFolder


@pytest.mark.parametrize(
    ("metric", "value", "half", "said"),
    [
        ("NLL", -0.03, 0.01, "better"),
        ("NLL", 0.03, 0.01, "worse"),
        ("NLL", -0.03, 0.03, "undecided"),
        ("AUC", 0.03, 0.01, "better"),
        ("AUC", -0.03, 0.01, "worse"),
        ("calibration_ratio", 0.03, 0.01, "undecided"),
        ("AUC", 0.03, None, "no interval"),
        ("AUC", 0.03, math.nan, "no interval"),
    ],
)
def test_only_an_interval_on_one_side_of_zero_decides(
    made: Any, metric: str, value: float, half: float | None, said: str
) -> None:
    low, high = (None, None) if half is None else (value - half, value + half)
    assert verdict(made.row("skip", "exit", "m", metric, value, versus="p", low=low, high=high)) == said


def test_metric_names_know_their_way_and_order() -> None:
    assert [better(name) for name in ("NLL", "LogLoss", "NE", "AUC", "HR@5", "calibration_ratio", "gauc_groups")] == [
        "lower", "lower", "lower", "higher", "higher", "one", "neither",
    ]  # fmt: skip
    assert in_order({"zeta", "AUC", "NLL", "alpha", "NDCG@5"}) == ["NLL", "NDCG@5", "AUC", "alpha", "zeta"]
    assert meaning("NDCG@10") == meaning("NDCG@1") is not None
    assert meaning("gauc_groups") != meaning("gauc_mean")
    assert meaning("unheard of") is None


def test_tables_put_own_models_first_and_mark_the_best(made: Any) -> None:
    exit_all, exit_cold, masked = metric_tables(made.skip_rows, ["segment_interest"])
    assert (exit_all.title, exit_all.cohort, exit_cold.cohort) == ("Protocol exit", "all", "cold")
    assert [line.model for line in exit_all.lines] == ["segment_interest", "item_shrunk", "lightgbm_hazard"]
    assert [line.own for line in exit_all.lines] == [True, False, False]
    cells = [line.cells[0] for line in exit_all.lines]
    assert [(cell.value, cell.interval, cell.best) for cell in cells if cell is not None] == [
        ("1.7210", "1.7110 to 1.7310", True), ("1.7620", "1.7520 to 1.7720", False),
        ("1.7300", "1.7200 to 1.7400", False),
    ]  # fmt: skip
    assert masked.metrics == ("NDCG@5", "HR@1")
    assert masked.lines[0].cells[1] is None, "NaN is no value"
    assert masked.rows_measured == "600"


def test_the_oracle_is_never_the_best_and_a_single_value_neither(made: Any) -> None:
    (table,) = metric_tables(made.ctr_rows, ["dcn_v2"])
    assert [cell.best for line in table.lines for cell in line.cells if cell is not None] == [False, False, False]
    near = [made.row("ctr", "p", name, "calibration_ratio", value) for name, value in (("a", 0.9), ("b", 1.05))]
    (table,) = metric_tables(near, [])
    assert [line.cells[0].best for line in table.lines if line.cells[0] is not None] == [False, True]


def test_shares_of_the_oracles_lift_stand_apart(made: Any) -> None:
    rows = [made.row("skip", "exit", "m", name, 0.5) for name in ("NLL", "oracle_share_NLL", "exit_share@0")]
    values, shares = metric_tables(rows, ["m"])
    assert (values.metrics, shares.metrics) == (("NLL",), ("oracle_share_NLL",))
    assert shares.title == "Protocol exit: share of the oracle’s lift"


def test_counts_are_whole_numbers(made: Any) -> None:
    (table,) = metric_tables([made.row("ctr", "is_click", "m", "gauc_groups", 1234.0, low=None, high=None)], ["m"])
    assert table.lines[0].cells[0] is not None
    assert table.lines[0].cells[0].value == "1,234"


def test_seeds_are_told_apart(made: Any) -> None:
    rows = [made.row("skip", "exit", "m", "NLL", 1.0 + seed, seed=seed) for seed in (1, 2)]
    (table,) = metric_tables([*rows, made.row("skip", "exit", "m", "NLL", 2.5)], ["m"])
    assert [line.model for line in table.lines] == ["m, seed 1", "m, seed 2", "m"]


def test_a_lone_seed_gives_way_to_the_row_over_seeds(made: Any) -> None:
    rows = [made.row("skip", "exit", "m", "NLL", 1.0, seed=3), made.row("skip", "exit", "m", "NLL", 1.0)]
    (table,) = metric_tables(rows, ["m"])
    assert [line.model for line in table.lines] == ["m"]
    (table,) = metric_tables(rows[:1], ["m"])
    assert [line.model for line in table.lines] == ["m, seed 3"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.453, "45%"), (-0.002, "0%"), (-2.91, "−291%"), (float("nan"), "–"), (1.0, "100%")]
)
def test_shares_in_percent(value: float, text: str) -> None:
    assert percent(value) == text


def test_what_is_shown_at_once(made: Any) -> None:
    rows = [
        made.row("skip", protocol, "m", "HR@1", 0.5, split=split, cohort=cohort)
        for protocol, split, cohort in (
            ("slots40", "test", "all"), ("masked_skip", "test", "all"),
            ("exit", "valid", "all"), ("exit", "test", "cold"),
        )
    ]  # fmt: skip
    tables = metric_tables(rows, ["m"])
    assert [(table.protocol, table.split, table.cohort) for table in tables if table.headline] == [
        ("masked_skip", "test", "all")
    ]
    told = {table.protocol: table.told for table in tables if table.cohort == "all"}
    assert told["slots40"].startswith("600 test rows; the SegMM paper's")


def test_own_models_are_the_run_and_its_variants_not_placebos() -> None:
    own = ["dcn_v2"]
    assert [is_own(name, own) for name in ("dcn_v2", "dcn_v2:low_rank", "dcn_v2+placebo_shuffled", "dcn_v2_mix")] == [
        True, True, False, False,
    ]  # fmt: skip


def test_differences_draw_one_forest_a_metric(made: Any) -> None:
    (block,) = differences(made.skip_rows, "skip")
    assert [picture.title for picture in block.pictures] == [
        "NLL (exit): left of zero is better",
        "NDCG@5 (masked_skip): right of zero is better",
    ]
    assert "− item_shrunk: -0.0410 (better); − lightgbm_hazard: -0.0090 (undecided)" in block.pictures[0].told
    assert [line.verdict for line in block.lines] == ["better", "undecided", "undecided"]
    assert block.lines[0].value == "−0.0410"
    assert differences(made.skip_rows, "ctr") == []


def _scored(
    lists: list[list[float]], exits: list[int], watch_ms: list[int], kind: Any = "stay_probability"
) -> ScoredViews:
    count = [len(scores) for scores in lists]
    views = pl.DataFrame(
        {
            "user_id": np.arange(len(lists)), "item_id": np.arange(len(lists)) + 100,
            "time_ms": np.arange(len(lists)), "duration_ms": [5000 * number for number in count],
            "watch_ms": watch_ms, "n_segments": pl.Series(count, dtype=pl.Int32),
            "exit_segment": pl.Series(exits, dtype=pl.Int32), "scores": lists,
        }
    )  # fmt: skip
    return ScoredViews(views, kind, "test", len(lists))


def test_a_strip_by_hand() -> None:
    scored = _scored([[0.9, 0.5, 0.8, 0.7, 0.9]], exits=[2], watch_ms=[12_500])
    drawn = heat_strips(scored, 5000, None)
    assert drawn is not None
    (strip,) = drawn.strips
    assert strip.shades == pytest.approx((1.0, 0.0, 0.75, 0.5, 1.0))
    assert (strip.skip_segment, strip.skip_share, strip.width) == (2, 0.5, 100.0)
    assert strip.likeliest == 1, "P(exit): 0.1, 0.9 * 0.5 = 0.45, 0.45 * 0.2 = 0.09, ..."
    assert strip.told == "Scores by segment: 0.90, 0.50, 0.80, 0.70, 0.90; left in segment 3"
    assert (drawn.low, drawn.high, drawn.longest_seconds, drawn.truth) == (0.5, 0.9, 25.0, False)


def test_likeliest_exit_is_not_the_lowest_stay_when_few_get_there() -> None:
    drawn = heat_strips(_scored([[0.3, 0.2, 0.9, 0.9, 0.9]], exits=[5], watch_ms=[25_000]), 5000, None)
    assert drawn is not None
    assert drawn.strips[0].likeliest == 0, "0.7 against 0.3 * 0.8"
    ranked = heat_strips(_scored([[0.3, 0.2, 0.9, 0.9, 0.9]], [5], [25_000], kind="relevance"), 5000, None)
    assert ranked is not None
    assert ranked.strips[0].likeliest == 1
    assert ranked.strips[0].skip_share is None


def test_truth_strips_share_the_scale() -> None:
    scored = _scored([[0.9, 0.5, 0.8, 0.7, 0.9]], exits=[2], watch_ms=[12_500])
    truth = pl.DataFrame({"user_id": [0], "item_id": [100], "time_ms": [0], "hazard": [[0.7, 0.1, 0.1, 0.1, 0.1]]})
    drawn = heat_strips(scored, 5000, truth)
    assert drawn is not None
    assert drawn.low == pytest.approx(0.3)
    assert drawn.strips[0].truth == pytest.approx((0.3, 0.9, 0.9, 0.9, 0.9))
    assert drawn.strips[0].truth_shades == pytest.approx((0.0, 1.0, 1.0, 1.0, 1.0))


def test_at_most_one_strip_a_user_and_twelve_in_all(encoder_run: Path) -> None:
    (run,) = gather(encoder_run).runs
    scored = scored_views(run)
    assert scored is not None
    drawn = heat_strips(scored, 5000, None)
    assert drawn is not None
    assert len({strip.user for strip in drawn.strips}) == len(drawn.strips) == 12
    assert sum(strip.skip_segment is None for strip in drawn.strips) == 4
    assert all(len(strip.scores) >= 5 for strip in drawn.strips)


@pytest.mark.parametrize(("longest", "marks"), [(7, [0, 1, 2, 3, 4, 5, 6, 7]), (60, [0, 10, 20, 30, 40, 50, 60])])
def test_ticks_are_round(longest: float, marks: list[float]) -> None:
    assert ticks(longest) == marks


def test_shares_by_hand() -> None:
    predicted = np.array([[0.5, 0.25, 0.25], [0.1, 0.0, 0.9]])
    shares = _shares(predicted, np.array([0, 1]), np.array([2, 1]))
    assert shares["position"].to_list() == ["1", "2", "end"]
    assert shares["observed"].to_list() == [0.5, 0.0, 0.5]
    assert shares["predicted"].to_list() == pytest.approx([0.3, 0.125, 0.575])


def test_a_long_tail_is_put_together() -> None:
    predicted = np.full((1, 31), 1 / 31)
    shares = _shares(predicted, np.array([25]), np.array([30]))
    assert shares["position"].to_list()[-2:] == ["10+", "end"]
    assert shares["observed"].to_list()[-2:] == [1.0, 0.0]
    assert shares["predicted"].to_list()[-2:] == pytest.approx([21 / 31, 1 / 31])
    assert shares["predicted"].sum() == pytest.approx(1)


def test_positions_from_metric_rows(made: Any) -> None:
    shares = {"m": [0.5, 0.2, 0.3], "observed": [0.6, 0.1, 0.3], "prior": [0.4, 0.3, 0.3]}
    rows = [
        made.row("skip", "exit", model, f"exit_share@{place}", value, low=None, high=None)
        for model, values in shares.items()
        for place, value in zip(("0", "1", "end"), values, strict=True)
    ]
    (picture,) = measured_positions(rows, ["m"])
    assert picture.title == "m, all lengths: 600 views"
    assert picture.told == (
        "1: 60.0% observed, 50.0% predicted, 2: 10.0% observed, 20.0% predicted, end: 30.0% observed, 30.0% predicted"
    )
    assert measured_positions(rows[:3], ["m"]) == []


def test_measured_tail_is_put_together() -> None:
    curve = {**{str(place): 0.02 for place in range(40)}, "end": 0.2}
    shares = _measured(curve, curve)
    assert shares["position"].to_list()[-2:] == ["10+", "end"]
    assert shares["observed"].to_list()[-2:] == pytest.approx([31 * 0.02, 0.2])


def test_positions_split_by_length() -> None:
    scored = _scored([[0.5], [0.5] * 4], exits=[0, 4], watch_ms=[1, 20_000])
    titles = [picture.title for picture in skip_positions(scored, 5000)]
    assert titles == ["Videos up to 15 s: 1 views", "Videos of 15 to 40 s: 1 views"]
    (picture, _) = skip_positions(scored, 5000)
    assert picture.told == "1: 100.0% observed, 50.0% predicted, end: 0.0% observed, 50.0% predicted"


def test_exit_calibration_counts_reached_segments_only() -> None:
    scored = _scored([[0.5, 0.5, 0.5], [0.5, 0.5]], exits=[1, 2], watch_ms=[7500, 10_000])
    drawn = exit_calibration(scored)
    assert drawn.title.endswith(": 4 segments"), "two of the first view, two of the second"
    assert drawn.told == "50.0% predicted: 25.0% happened"


def test_wilson_by_hand() -> None:
    low, high = wilson(np.array([0.5]), np.array([100]))
    assert (low[0], high[0]) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    low, high = wilson(np.array([0.0]), np.array([10]))
    assert low[0] == 0
    assert high[0] == pytest.approx(0.2775, abs=1e-4)


def test_scalars_are_read_back(encoder_run: Path) -> None:
    curves = read_scalars(encoder_run / "events")
    assert list(curves) == ["train/loss", "train/samples_per_second", "valid/NLL"]
    assert curves["train/loss"]["value"].to_list()[:2] == pytest.approx([2.0, 1.25])
    told = training_curves(encoder_run / "events")
    assert told is not None
    assert (told.steps, told.samples_per_second) == (30, pytest.approx(1015.5))
    assert [picture.title for picture in told.pictures] == ["train/loss", "valid/NLL"]
    assert "first 1.9, best 1.8, last 1.8" in told.pictures[1].told
    assert training_curves(encoder_run / "nowhere") is None


def test_a_resumed_step_keeps_its_last_value(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    for value in (1.0, 2.0):
        writer = SummaryWriter(str(tmp_path))
        writer.add_scalar("train/loss", value, 5, walltime=value)
        writer.close()
    assert read_scalars(tmp_path)["train/loss"].rows() == [(5, 2.0)]


def test_scored_views_take_every_row_of_the_table(encoder_run: Path) -> None:
    (run,) = gather(encoder_run).runs
    scored = scored_views(run)
    assert scored is not None
    assert scored.views.height == scored.of_all
    assert (scored.views["scores"].list.len() == scored.views["n_segments"]).all()
    assert scored.stay().shape == (scored.views.height, scored.views["n_segments"].max())
    total = np.exp(scored.exits().log_exit).sum(axis=1) + np.exp(scored.exits().log_end)
    np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_two_runs_of_one_model_are_told_apart(tmp_path: Path, made: Any, dataset: DatasetFolder) -> None:
    made.run(tmp_path / "runs" / "with", "ranker", dataset)
    made.run(tmp_path / "runs" / "without", "ranker", dataset)
    found = {row.model for row in gather(tmp_path / "runs").rows}
    assert found == {"dcn_v2 (with)", "dcn_v2 (without)", "oracle"}


def test_other_json_in_a_run_folder_is_left_alone(encoder_run: Path) -> None:
    rows = gather(encoder_run).rows
    (encoder_run / "scaling.json").write_text("[[0.5, 1.0]]", encoding="utf-8")
    (encoder_run / "counts.json").write_text('{"train": 3}', encoding="utf-8")
    assert gather(encoder_run).rows == rows
