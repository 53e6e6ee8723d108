"""The data behind each picture of live rooms, worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ranking.report.alignment_heat_map import AlignmentMap, _room, alignment_picture
from ranking.report.loss_pictures import GAP, loss_shape, part_curves, part_pictures, shape_pictures
from ranking.report.metric_tables import metric_tables
from ranking.report.room_curves import OBSERVED, TRUE, RoomCurves, room_pictures
from ranking.report.thresholds import tau_points, threshold_pictures
from segrec.highlight_evaluation import HighlightTask
from segrec.records import DatasetFolder
from segrec.segments.rooms import Rooms


def at(shape: pl.DataFrame, ds: float) -> float:
    return float(shape.filter((pl.col("ds") - ds).abs() < 1e-9)["loss"].item())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("L0", {-0.3: math.log1p(math.exp(3)), 0.1: math.log1p(math.exp(-1)), 0.4: math.log1p(math.exp(-4))}),
        ("L1", {-0.3: math.log1p(math.exp(3)), 0.1: math.log1p(math.exp(-1)), 0.4: 0.0}),
        ("L2", {-0.3: math.log1p(math.exp(3)), 0.1: 0.0, 0.4: 0.0}),
        ("L3", {-0.3: 0.0, 0.1: math.log1p(math.exp(-1)), 0.4: 0.0}),
    ],
)
def test_loss_shapes_at_three_points(kind: Any, expected: dict[float, float]) -> None:
    shape = loss_shape(kind, sigma=10.0)
    assert GAP == 0.2
    for ds, loss in expected.items():
        assert at(shape, ds) == pytest.approx(loss, abs=1e-12)


def test_losses_in_use_are_named() -> None:
    drawn = shape_pictures(10.0, ["L1"])
    assert [picture.title for picture in drawn] == ["L0", "L1 (in use here)", "L2", "L3"]
    assert drawn[3].told == "not 0 from 0.01 to 0.20, largest 0.67", "log(1 + exp(-0.05)) = 0.668 at ds = 0.005"


def test_parts_of_the_loss_by_run() -> None:
    def curve(*values: float) -> pl.DataFrame:
        return pl.DataFrame({"step": range(1, len(values) + 1), "value": values})

    found = part_curves(
        {
            "a": {"train/loss": curve(9.0), "train/loss_point": curve(0.7, 0.6), "train/loss_pair": curve(0.5, 0.25)},
            "b": {"train/loss_point": curve(0.9)},
        }
    )
    assert found is not None
    assert set(found["run"]) == {"a"}
    assert found.drop("run").rows() == [("point", 1, 0.7), ("point", 2, 0.6), ("pair", 1, 0.5), ("pair", 2, 0.25)]
    point, pair = part_pictures(found)
    assert point.told == "a: first 0.7, lowest 0.6, last 0.6"
    assert pair.told == "a: first 0.5, lowest 0.25, last 0.25"
    assert part_curves({"b": {"train/loss_point": curve(0.9)}}) is None


def test_tau_by_threshold_from_rows(made: Any) -> None:
    def tau(model: str, metric: str, value: float, **more: object) -> Any:
        return made.row("highlight", "live", model, metric, value, **more)

    rows = [
        tau("m", "tau_room", 0.5), tau("m", "tau_room@0.2", 0.4, n=90), tau("m", "tau_global", 0.6),
        tau("m", "tau_room", 0.1, cohort="cold"), tau("m", "tau_room", 0.2, split="valid"),
        tau("m", "tau_room", 0.3, versus="last_value"), tau("m", "tau_room", 0.45, seed=7),
        tau("oracle_rate", "tau_room", 0.9), tau("minus_position", "tau_room", 0.0), tau("n", "tau_room", math.nan),
    ]  # fmt: skip
    points = tau_points(rows, "tau_room")
    assert points.select("model", "threshold", "value", "n").rows() == [("m", "0", 0.5, 600), ("m", "0.2", 0.4, 90)]
    assert points["low"].to_list() == pytest.approx([0.49, 0.39])
    (picture,) = threshold_pictures(rows, ["m"])
    assert picture.title == "tau_room by threshold"
    assert picture.told == "m at 0: 0.500; m at 0.2: 0.400"
    assert picture.caption.endswith("What remains: 0: 600, 0.2: 90.")


def test_thresholds_and_shares_stand_in_tables_of_their_own(made: Any) -> None:
    measured = {"m": (0.4, 0.3, 0.8), "last_value": (0.2, 0.25, 0.0), "oracle_rate": (0.9, 0.9, 1.5)}
    rows = [
        made.row("highlight", "live", model, metric, value)
        for model, values in measured.items()
        for metric, value in zip(("tau_room", "tau_room@0.2", "oracle_share_tau_room"), values, strict=True)
    ]  # fmt: skip
    tables = {table.part: table for table in metric_tables(rows, ["m"])}
    assert {part: table.headline for part, table in tables.items()} == {
        "values": True, "thresholds": False, "of_oracle": True,
    }  # fmt: skip
    best = {line.model: line.cells[0].best for line in tables["values"].lines if line.cells[0] is not None}
    assert best == {"m": True, "last_value": False, "oracle_rate": False}, "who knows the truth wins nothing"
    assert "the prior last_value" in tables["of_oracle"].told


def test_distance_of_the_path_from_the_truth() -> None:
    """Texts 3, 4, 6 (5 is missing) speak of segments 2, 3, 6. Path: text 3 at frames 3; text 4 at 3 and 4; text 6 at 6:
    means 3, 3.5, 6, off by 1, 0.5, 0. The diagonal is off by 1, 1, 0.
    """
    found = AlignmentMap(
        7, np.array([3, 4, 6]), np.eye(3), np.array([[0, 0], [1, 0], [1, 1], [2, 2]]), np.array([2, 3, 6])
    )
    assert found.distances() == pytest.approx((0.5, 2 / 3))
    assert found.cells().filter(pl.col("cosine") == 1).select("text", "frames").rows() == [(3, 3), (4, 4), (6, 6)]
    drawn = alignment_picture(found, "run")
    assert drawn.told == "cosines from 0.00 to 1.00; the path is 0.50 segments off the truth on average"
    assert "the path is 0.5 segments off the truth, the diagonal 0.7." in drawn.caption


def test_without_truth_there_is_no_distance() -> None:
    found = AlignmentMap(7, np.arange(3), np.eye(3), np.array([[0, 0], [1, 1], [2, 2]]), None)
    assert found.distances() is None
    drawn = alignment_picture(found, "run")
    assert "true offset" not in drawn.svg
    assert drawn.caption.endswith("The longest test room.")


def test_the_room_is_chosen_by_the_truth_or_its_length(live_dataset: DatasetFolder) -> None:
    rooms = Rooms.of(live_dataset, ["test"])
    lengths = np.diff(rooms.offsets)
    assert _room(rooms) == int(lengths.argmax())
    chosen = int(np.flatnonzero(lengths >= np.median(lengths))[0])
    offset = pl.Series("text_offset", np.where(rooms.room == chosen, -2, -1))
    file = live_dataset.path / "truth_alignment.parquet"
    rooms.frame.select("item_id", "end_ms").with_columns(offset).write_parquet(file)
    try:
        assert _room(rooms) == chosen
    finally:
        file.unlink()


@pytest.fixture(scope="module")
def task(live_dataset: DatasetFolder) -> HighlightTask:
    return HighlightTask.of(live_dataset, "test", "lvtr", 1, window=6)


def test_lines_of_a_room_stand_where_the_predicted_segment_is(task: HighlightTask, live_dataset: DatasetFolder) -> None:
    """Segments last 30 s: the one after segment 0 has its middle 45 s after the room began."""
    count = len(task.truth)
    curves = RoomCurves(task, {"m": np.arange(count) / count, "last_value": np.zeros(count)}, np.full(count, 0.5))
    room = curves.rooms()[0]
    lines = curves.lines(room)
    first, last = int(task.tested.offsets[room]), int(task.tested.offsets[room + 1])
    told = task.tested.frame[first + 1 : last]
    model = lines.filter(pl.col("what") == "m")
    assert model["minute"].to_list() == [0.75 + 0.5 * place for place in range(last - first - 1)]
    assert model["value"].to_list() == [row / count for row in range(first, last - 1)]
    assert lines.filter(pl.col("what") == TRUE)["value"].to_list() == [0.5] * (last - first - 1)
    observed = lines.filter(pl.col("what") == OBSERVED)
    known = told.filter(pl.col("lvtr").is_not_null() & pl.col("lvtr").is_not_nan())
    assert observed["value"].to_list() == pytest.approx(known["lvtr"].to_list())
    assert (observed["low"] < observed["value"]).all() or (observed["value"] == 0).any()
    assert (observed["high"] >= observed["value"]).all()


def test_rooms_with_the_most_trials_by_start(task: HighlightTask) -> None:
    trials = [
        float(np.nansum(np.where(task.counted, task.trials, 0.0)[first:last]))
        for first, last in zip(task.tested.offsets[:-1], task.tested.offsets[1:], strict=True)
    ]
    assert RoomCurves(task, {}, None).rooms() == sorted(np.argsort(trials)[-2:].tolist())


def test_what_the_picture_of_a_room_says(task: HighlightTask) -> None:
    off = RoomCurves(task, {"m": task.truth + 0.25, "last_value": task.truth - 0.125}, None)
    for picture in room_pictures(off):
        assert picture.told == "mean distance from the observed: m 0.250, last_value 0.125"
    known = RoomCurves(task, {"m": np.full(len(task.truth), 0.5)}, np.full(len(task.truth), 0.75))
    assert room_pictures(known)[0].told == "mean distance from the true rate: m 0.250"


def test_a_page_of_files_says_where_its_pictures_come_from(live_runs: Path) -> None:
    from ranking.report.gathering import gather
    from ranking.report.live_part import live_part

    part = live_part(gather(live_runs))
    assert part is not None
    captions = [picture.caption for picture in [*part.losses, *part.shapes, *part.thresholds]]
    assert all(captions)
    assert "TensorBoard events" in part.losses[0].caption
    assert "segrec evaluate highlight" in part.thresholds[0].caption
