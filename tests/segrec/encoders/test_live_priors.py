"""Simple predictors of live rates: by hand on two rooms of one streamer, and never a look ahead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segrec.encoders.live_priors import SIMPLE, KnownSums, LivePriors
from segrec.records import DataError, DatasetFolder, DatasetMeta, Rate, SplitRule
from segrec.segments.rooms import Rooms
from segrec.testing.live_dataset import make_live_dataset

SEGMENT_MS = 30_000


def two_rooms(folder: Path, *, lvtr: list[float | None], entries: list[int] | None, delay: int = 0) -> Rooms:
    """Room 1 (train) of three segments, room 2 (test) of three, of one streamer; an hour apart."""
    starts = [0, 1, 2, 120, 121, 122]
    frame = pl.DataFrame(
        {
            "item_id": [1, 1, 1, 2, 2, 2], "segment": pl.Series([0, 1, 2, 0, 1, 2], dtype=pl.Int32),
            "start_ms": [s * SEGMENT_MS for s in starts], "end_ms": [(s + 1) * SEGMENT_MS for s in starts],
            "lvtr": lvtr, **({"entries": entries} if entries else {}),
        }
    )  # fmt: skip
    (folder / "segments").mkdir(parents=True)
    frame.write_parquet(folder / "segments" / "part-0.parquet")
    items = pl.DataFrame({"item_id": [1, 2], "author_id": [7, 7], "start_ms": [0, 3_600_000]})
    items.with_columns(split=pl.Series(["train", "test"])).write_parquet(folder / "items.parquet")
    meta = DatasetMeta(
        format="klive", split=SplitRule(rule="given"), rows={}, licence="made", source="made", fingerprint="f",
        rates={"lvtr": Rate(trials="entries" if entries else None, known_after_ms=delay)},
    )  # fmt: skip
    (folder / "dataset.json").write_text(meta.model_dump_json())
    return Rooms.of(DatasetFolder.open(folder))


def test_next_segments_predictions_by_hand(tmp_path: Path) -> None:
    rooms = two_rooms(tmp_path / "d", lvtr=[0.5, 0.0, 0.75, 1.0, None, 0.5], entries=[10, 10, 20, 4, 0, 6])
    known = KnownSums.of(rooms, "lvtr", shift=1)
    assert known.newest.tolist() == [0, 1, 2, 3, 3, 5], "segment 4 has no rate"
    assert known.room.successes.tolist() == [5, 5, 20, 4, 4, 7]
    assert known.room.trials.tolist() == [10, 20, 40, 4, 4, 10]
    assert known.others.successes.tolist() == [0, 0, 0, 20, 20, 20]
    assert known.others.trials.tolist() == [0, 0, 0, 40, 40, 40]
    priors = LivePriors(rooms, known, 0.5, 10.0, 2.0)
    of_streamer = (20 + 10 * 0.5) / 50
    assert priors.streamer_mean.tolist() == [0.5, 0.5, 0.5, of_streamer, of_streamer, of_streamer]
    assert priors.room_mean[:4].tolist() == pytest.approx([6 / 12, 6 / 22, 21 / 42, (4 + 2 * of_streamer) / 6])
    assert priors.last_value.tolist() == [0.5, 0.0, 0.75, 1.0, 1.0, 0.5]
    assert priors.minus_position.tolist() == [0, -1, -2, 0, -1, -2]


def test_the_segments_own_rate_is_not_known_when_it_begins(tmp_path: Path) -> None:
    rooms = two_rooms(tmp_path / "d", lvtr=[0.5, 0.0, 0.75, 1.0, 0.25, 0.5], entries=[10] * 6)
    priors = LivePriors(rooms, KnownSums.of(rooms, "lvtr", shift=0), 0.4, 1e9, 1.0)
    assert priors.last_value.round(6).tolist() == [0.4, 0.5, 0.0, 0.4, 1.0, 0.25], "nothing known: the streamer's mean"


def test_what_is_known_late_is_used_late(tmp_path: Path) -> None:
    rooms = two_rooms(tmp_path / "d", lvtr=[0.5, 0.0, 0.75, 1.0, 0.25, 0.5], entries=[10] * 6, delay=60_000)
    assert KnownSums.of(rooms, "lvtr", shift=1).newest.tolist() == [-1, -1, 0, -1, -1, 3]


def test_without_trials_each_segment_counts_once(tmp_path: Path) -> None:
    rooms = two_rooms(tmp_path / "d", lvtr=[0.5, 0.0, 1.0, 1.0, None, 0.5], entries=None)
    priors = LivePriors.fit(rooms, "lvtr", 1)
    assert priors.global_mean == 0.5
    assert priors.known.others.trials.tolist() == [0, 0, 0, 3, 3, 3]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Rooms:
    return Rooms.of(make_live_dataset(tmp_path_factory.mktemp("live") / "d", rooms=20, segments=24, seed=3))


@pytest.mark.parametrize("shift", [0, 1])
def test_all_are_finite_and_better_than_nothing(rooms: Rooms, shift: int) -> None:
    predictions = LivePriors.fit(rooms, "lvtr", shift).predictions()
    assert list(predictions) == [*SIMPLE, "global_mean"]
    truth = rooms.target("lvtr", shift).values
    there = ~np.isnan(truth)
    errors = {name: float(np.mean((found - truth)[there] ** 2)) for name, found in predictions.items()}
    assert all(np.isfinite(found).all() for found in predictions.values())
    assert errors["room_mean"] < errors["global_mean"]


def test_later_segments_change_no_earlier_prediction(rooms: Rooms) -> None:
    """The rates of everything that ends after some moment may be anything."""
    moment = int(np.quantile(rooms.end_ms, 0.6))
    known = rooms.end_ms + 60_000 <= moment
    noise = pl.Series(np.random.default_rng(0).random(len(known)), dtype=pl.Float32)
    mask = pl.Series(known)
    changed = rooms.frame.with_columns(lvtr=pl.when(mask).then(pl.col("lvtr")).otherwise(noise))
    one, other = (
        KnownSums.of(Rooms(rooms.dataset, frame, rooms.offsets), "lvtr", 1) for frame in (rooms.frame, changed)
    )
    before = rooms.end_ms <= moment
    fixed = LivePriors(rooms, one, 0.5, 10.0, 10.0), LivePriors(rooms, other, 0.5, 10.0, 10.0)
    for name in SIMPLE:
        first, second = (priors.predictions()[name][before] for priors in fixed)
        np.testing.assert_allclose(first, second, atol=1e-8, err_msg=name)


def test_streamer_mean_is_constant_in_a_room(rooms: Rooms) -> None:
    """As floats too: sums that differ in the last digit would give it an order."""
    predicted = LivePriors.fit(rooms, "lvtr", 1).streamer_mean
    for first, last in zip(rooms.offsets[:-1], rooms.offsets[1:], strict=True):
        alone = rooms.start_ms[first] - 60_000 > rooms.end_ms[:first].max(initial=0)
        assert not alone or len(set(predicted[first:last])) == 1


def test_a_rate_that_is_not_there_is_refused(rooms: Rooms, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no rate 'gifts'"):
        LivePriors.fit(rooms, "gifts", 1)
    unknown = two_rooms(tmp_path / "d", lvtr=[None, None, None, 1.0, 0.5, 0.5], entries=[0, 0, 0, 1, 1, 1])
    with pytest.raises(DataError, match="has no known lvtr in its train rooms"):
        LivePriors.fit(unknown, "lvtr", 1)
