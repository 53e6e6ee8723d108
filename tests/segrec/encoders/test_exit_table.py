"""Counts of exits, shrunk hazards and tables by length and position: by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from segrec.encoders.exit_shifts import ExitTally, ExpectedExits
from segrec.encoders.exit_table import HazardTable, Outcomes, exits_by, reached_by, shrunk_hazards
from segrec.records import ConfigError

# Videos of 2, 2, 3 segments: left in 0, watched to the end, left in 1.
OUTCOMES = Outcomes(np.array([2, 2, 3]), np.array([0, 2, 1]))
KEYS = np.array([0, 1, 1])


def test_counts_by_key_by_hand() -> None:
    assert exits_by(KEYS, OUTCOMES, 2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert reached_by(KEYS, OUTCOMES, 2, 3).tolist() == [[1, 0, 0], [2, 2, 0]]


def test_shrunk_hazards_are_the_dirichlet_mean_for_one_length() -> None:
    # 4 views of a 2-segment video: 2 exits in 0, 1 in 1, 1 end; 6 views' trust in (1/2, 1/4, 1/4).
    hazards = shrunk_hazards(np.array([[2.0, 1.0]]), np.array([[4.0, 2.0]]), np.array([[0.5, 0.5]]), 6.0)
    exits = np.array([hazards[0, 0], (1 - hazards[0, 0]) * hazards[0, 1]])
    assert exits == pytest.approx([(2 + 6 * 0.5) / 10, (1 + 6 * 0.25) / 10])


def test_without_trust_and_counts_the_base_stands() -> None:
    found = shrunk_hazards(np.zeros((1, 2)), np.zeros((1, 2)), np.array([[0.3, 0.4]]), 0.0)
    assert found.tolist() == [[0.3, 0.4]]


def test_hazards_by_position_by_hand() -> None:
    # Reached 3, 2, 0 times; exits 1, 1, 0; the overall hazard (2 + 1) / (5 + 2) counts for one view.
    table = HazardTable.by_position(OUTCOMES)
    overall = 3 / 7
    assert table.hazards[1].tolist() == pytest.approx([(1 + overall) / 4, (1 + overall) / 3, overall], rel=1e-6)
    assert (table.hazards == table.hazards[0]).all()


def test_hazards_by_length_lean_on_those_by_position() -> None:
    base = HazardTable.by_position(OUTCOMES).hazards[0]
    table = HazardTable.by_length(OUTCOMES, strength=2.0)
    assert table.hazards[0].tolist() == pytest.approx(base.tolist())
    assert table.hazards[1].tolist() == pytest.approx(base.tolist()), "a length never seen"
    assert table.hazards[2, 0] == pytest.approx((1 + 2 * base[0]) / 4)
    strong = HazardTable.by_length(OUTCOMES, strength=1e9).hazards
    assert strong[3].tolist() == pytest.approx(base.tolist(), rel=1e-5)


def test_lengths_beyond_the_table_take_the_row_by_position() -> None:
    table = HazardTable(np.array([[0.1, 0.2], [0.5, 0.5], [0.6, 0.7]]))
    assert table.of(np.array([2, 4])).tolist() == [[0.6, 0.7, 0.7, 0.7], [0.1, 0.2, 0.2, 0.2]]
    log_exit, log_end = table.log_outcomes(np.array([1, 2]))
    assert np.exp(log_exit).ravel().tolist() == pytest.approx([0.5, 0.0, 0.6, 0.4 * 0.7])
    assert np.exp(log_end).tolist() == pytest.approx([0.5, 0.4 * 0.3])


def test_a_table_comes_back_from_its_frame() -> None:
    table = HazardTable.by_length(OUTCOMES, strength=5.0)
    assert (HazardTable.from_frame(table.to_frame().reverse()).hazards == table.hazards).all()


def test_no_view_gives_a_table_that_still_answers() -> None:
    table = HazardTable.by_length(Outcomes(np.zeros(0, int), np.zeros(0, int)), strength=10.0)
    assert table.of(np.array([3])).tolist() == [[0.5, 0.5, 0.5]]


def test_expected_exits_by_band_and_position_by_hand() -> None:
    hazards = np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [0.2, 0.3, 0.9], [0.1, 0.4, 0.6]])
    counted = ExpectedExits(HazardTable(hazards))
    bands = counted.by_band(KEYS, OUTCOMES, 2)
    assert bands.observed.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert bands.expected.ravel().tolist() == pytest.approx([0.2, 0, 0, 0.2 + 0.1, 0.3 + 0.4, 0])
    assert bands.variance[1].tolist() == pytest.approx([0.16 + 0.09, 0.21 + 0.24, 0])
    places = counted.by_position(KEYS, OUTCOMES, 2)
    assert places.observed.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert places.expected[1].tolist() == pytest.approx([0.2 + 0.1, 0.3 + 0.4, 0])
    assert places.variance[0].tolist() == pytest.approx([0.16, 0, 0])


def test_a_shift_by_hand() -> None:
    tally = ExitTally(np.array([[5.0, 0.0]]), np.array([[3.0, 0.0]]), np.array([[2.0, 0.0]]))
    assert tally.shifts(2.0).tolist() == [[0.5, 0.0]]


def test_keys_that_behave_as_expected_are_not_shifted_on_average() -> None:
    random = np.random.default_rng(0)
    table = HazardTable(np.full((4, 3), 0.6))
    exits = np.minimum(random.geometric(0.6, 30_000) - 1, 3)
    keys = random.integers(0, 300, 30_000)
    shifts = ExpectedExits(table).by_band(keys, Outcomes(np.full(30_000, 3), exits), 300).shifts(1e-6)
    assert shifts[:, 0].mean() == pytest.approx(0.0, abs=0.02)


def test_shifts_move_the_logits_of_their_band() -> None:
    expected = ExpectedExits(HazardTable(np.full((5, 4), 0.5)))
    moved = expected.shifted(np.array([4]), np.log([[3.0, 1.0, 1 / 3]]))
    assert moved[0].tolist() == pytest.approx([0.75, 0.5, 0.5, 0.25])
    assert expected.logits(np.array([4])).tolist() == [[0.0] * 4]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"n_segments": [2]}, "views lack the column 'exit_segment' \\(found: n_segments\\)"),
        ({"n_segments": [0], "exit_segment": [0]}, "n_segments >= 1"),
        ({"n_segments": [2], "exit_segment": [3]}, "0 <= exit_segment <= n_segments"),
        ({"n_segments": [2], "exit_segment": [-1]}, "0 <= exit_segment <= n_segments"),
    ],
)
def test_views_without_outcomes_are_refused(frame: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Outcomes.of(pl.DataFrame(frame))
