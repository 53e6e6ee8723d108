"""Live scoring: whatever order rooms' segments come in, the scores are those of whole rooms afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segrec.encoders import find_encoder
from segrec.encoders.encoder_runs import fit_encoder
from segrec.encoders.live_rate import LiveRateEncoder
from segrec.freezing import FrozenEncoder
from segrec.records import ConfigError, DatasetFolder
from segrec.scoring.live import LiveScorer, LiveScorerConfig
from segrec.scoring.live_segments import LiveSegment, RateOutcome
from segrec.segments.rooms import NO_ROW, Rooms
from segrec.testing.live_dataset import make_live_dataset

SMALL = ("epochs=1", "width=16", "heads=2", "window=5", "min_count=1", "device=cpu")
ALWAYS = LiveScorerConfig(idle_ms=10**12, capacity=64)
SEGMENT_MS = 30_000


def gapped_dataset(folder: Path, *, own_streamers: bool) -> DatasetFolder:
    """12 rooms; a tenth of the segments are missing (gaps), a tenth of the vectors; rates and counters as made."""
    dataset = make_live_dataset(folder, rooms=12, segments=18, width=6)
    file = folder / "segments" / "part-00000.parquet"
    kept = np.random.default_rng(1).random(pl.read_parquet(file).height) > 0.1
    pl.read_parquet(file).filter(pl.Series(kept)).write_parquet(file)
    index = folder / "segments" / "text" / "index.parquet"
    there = np.random.default_rng(2).random(pl.read_parquet(index).height) > 0.1
    pl.read_parquet(index).filter(pl.Series(there)).write_parquet(index)
    if own_streamers:
        items = pl.read_parquet(folder / "items.parquet")
        items.with_columns(author_id=pl.col("item_id") - 1000).write_parquet(folder / "items.parquet")
    return DatasetFolder.open(dataset.path)


Fitted = tuple[LiveRateEncoder, DatasetFolder, Rooms, npt.NDArray[np.float32]]


def fitted(folder: Path, name: str, *sets: str, own_streamers: bool = True) -> Fitted:
    dataset = gapped_dataset(folder / "data", own_streamers=own_streamers)
    config = find_encoder(name).Config.of(sets=[*SMALL, *sets])
    run, _ = fit_encoder(name, config, dataset, folder / "run")
    scorer = LiveScorer.open(FrozenEncoder.open(run.frozen))
    rooms = Rooms.of(dataset)
    return scorer.encoder, dataset, rooms, scorer.encoder.predict(rooms, dataset)


@pytest.fixture(scope="module")
def next_segment(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """The default kuaihl: rates and counters so far are inputs, position bias."""
    return fitted(tmp_path_factory.mktemp("kuaihl"), "kuaihl")


@pytest.fixture(scope="module")
def own_segment(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """content_ctr: another label shift; streamers with several rooms."""
    return fitted(tmp_path_factory.mktemp("ctr"), "content_ctr", own_streamers=False)


@pytest.fixture(scope="module")
def content_only(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fitted(tmp_path_factory.mktemp("content"), "kuaihl", "known=false", "modalities=[visual,text]")


class Stream:
    """The raw segments and outcomes behind a dataset's rooms."""

    def __init__(self, encoder: LiveRateEncoder, dataset: DatasetFolder, rooms: Rooms) -> None:
        self.dataset, self.rooms = dataset, rooms
        self.rows = rooms.frame.to_dicts()
        self.vectors = {name: dataset.vectors(name) for name in encoder.inputs.content_scales}
        self.places = {name: rooms.vector_rows(vectors) for name, vectors in self.vectors.items()}

    def segment(self, row: int, *rates: str) -> LiveSegment:
        told = self.rows[row]
        vectors = {
            name: vectors.matrix[self.places[name][row]]
            for name, vectors in self.vectors.items()
            if self.places[name][row] != NO_ROW
        }
        counters = {name: told[name] for name in self.dataset.meta.counters}
        known = {rate: self.rate(row, rate) for rate in rates}
        return LiveSegment(told["start_ms"], told["end_ms"], told["author_id"], vectors, counters, known)

    def rate(self, row: int, rate: str) -> tuple[float, float | None]:
        told, meta = self.rows[row], self.dataset.meta.rates[rate]
        return np.nan if told[rate] is None else told[rate], told[meta.trials] if meta.trials else None

    def outcome(self, row: int, rate: str = "lvtr") -> RateOutcome:
        return RateOutcome(self.rows[row]["item_id"], self.rows[row]["end_ms"], rate, *self.rate(row, rate))

    def push(self, scorer: LiveScorer, rows: list[int]) -> npt.NDArray[np.float32]:
        """ctr comes with the segment, lvtr right behind it: it waits until its time."""
        scores = scorer.push_many([(self.rows[row]["item_id"], self.segment(row, "ctr")) for row in rows])
        scorer.observe([self.outcome(row) for row in rows])
        return scores

    def push_with_rates(self, scorer: LiveScorer, rows: list[int]) -> npt.NDArray[np.float32]:
        """Both rates come with the segment, so that a call may hold several segments of a room."""
        return scorer.push_many([(self.rows[row]["item_id"], self.segment(row, "ctr", "lvtr")) for row in rows])


def batches(order: list[int], sizes: Iterator[int]) -> Iterator[list[int]]:
    at = 0
    while at < len(order):
        size = next(sizes)
        yield order[at : at + size]
        at += size


def replayed(made: Fitted, scorer: LiveScorer, order: list[int], size: int = 7) -> npt.NDArray[np.float32]:
    encoder, dataset, rooms, wanted = made
    stream, found = Stream(encoder, dataset, rooms), np.full(len(wanted), np.nan, np.float32)
    for first in range(0, len(order), size):
        rows = order[first : first + size]
        found[rows] = stream.push(scorer, rows)
    return found


def scorer_of(made: Fitted, config: LiveScorerConfig = ALWAYS) -> LiveScorer:
    return LiveScorer(made[0], "hash", config)


def in_time(rooms: Rooms) -> list[int]:
    return np.argsort(rooms.end_ms, kind="stable").tolist()


@pytest.mark.parametrize("name", ["next_segment", "own_segment", "content_only"])
def test_a_stream_in_time_order_gets_the_scores_of_whole_rooms(name: str, request: pytest.FixtureRequest) -> None:
    made: Fitted = request.getfixturevalue(name)
    scorer = scorer_of(made)
    np.testing.assert_allclose(replayed(made, scorer, in_time(made[2]), 1), made[3], rtol=0, atol=1e-5)
    runs, rooms = len(made[2].run_offsets) - 1, len(made[2].offsets) - 1
    assert (scorer.counts["scored"], scorer.counts["gap"], len(scorer)) == (len(made[3]), runs - rooms, rooms)
    assert runs > rooms


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_interleaving_with_duplicates_gives_the_same_scores(next_segment: Fitted, data: st.DataObject) -> None:
    """Rooms run against each other in any order, calls hold any number of segments, some are told twice."""
    encoder, dataset, rooms, wanted = next_segment
    stream, scorer = Stream(encoder, dataset, rooms), scorer_of(next_segment)
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    left = [list(range(first, last)) for first, last in pairwise(rooms.offsets.tolist())]
    order = []
    while any(left):
        room = int(draw.choice([number for number, rows in enumerate(left) if rows]))
        row = left[room].pop(0)
        order += [row] * (2 if draw.random() < 0.1 else 1)
    sizes = iter(lambda: int(draw.integers(1, data.draw(st.sampled_from([2, 9, 40])) + 1)), 0)
    for rows in batches(order, sizes):
        np.testing.assert_allclose(stream.push_with_rates(scorer, rows), wanted[rows], rtol=0, atol=1e-5)
    assert scorer.counts["duplicate"] == len(order) - len(wanted)
    assert scorer.counts["late"] == 0


def test_late_segments_are_counted_and_change_nothing(content_only: Fitted) -> None:
    """Window 5: the newest 5 starts are remembered, older ones are late, as is one between two of them."""
    encoder, dataset, rooms, wanted = content_only
    stream, scorer = Stream(encoder, dataset, rooms), scorer_of(content_only)
    stream.push(scorer, list(range(8)))
    assert np.isnan(stream.push(scorer, [0, 1, 2])).all()
    np.testing.assert_allclose(stream.push(scorer, [7, 3]), wanted[[7, 3]], atol=1e-5)
    between = stream.segment(6)
    assert np.isnan(scorer.push(stream.rows[0]["item_id"], LiveSegment(between.start_ms + 1, between.end_ms)))
    assert (scorer.counts["late"], scorer.counts["duplicate"]) == (4, 2)
    np.testing.assert_allclose(stream.push(scorer, [8, 9]), wanted[[8, 9]], atol=1e-5)


def test_late_segments_as_an_error(content_only: Fitted) -> None:
    """Nothing of the call is scored; duplicates are no error."""
    encoder, dataset, rooms, wanted = content_only
    stream = Stream(encoder, dataset, rooms)
    scorer = scorer_of(content_only, LiveScorerConfig(late="error", idle_ms=10**12))
    stream.push(scorer, [0, 1, 2])
    late = rf"room 1000 starts before its newest one \(found: {rooms.start_ms[3]}, expected: >= {rooms.start_ms[4]}\)"
    with pytest.raises(ConfigError, match=late):
        stream.push(scorer, [2, 4, 3])
    np.testing.assert_allclose(stream.push(scorer, [2, 3, 3, 4, 1]), wanted[[2, 3, 3, 4, 1]], atol=1e-5)
    assert (scorer.counts["scored"], scorer.counts["duplicate"]) == (5, 3)


def test_the_room_pushed_longest_ago_goes_first(content_only: Fitted) -> None:
    """Two slots, three rooms: room 0 was pushed again, so room 1 goes; when it comes back it begins anew."""
    encoder, dataset, rooms, wanted = content_only
    stream, first = Stream(encoder, dataset, rooms), rooms.offsets
    scorer = scorer_of(content_only, LiveScorerConfig(capacity=2, idle_ms=10**12))
    for row in (first[0], first[1], first[0] + 1, first[2]):
        stream.push(scorer, [int(row)])
    assert list(scorer.slots.slot_of) == [1000, 1002]
    again = float(stream.push(scorer, [int(first[1] + 1)])[0])
    alone = scorer_of(content_only).push(1001, stream.segment(int(first[1] + 1)))
    assert again == pytest.approx(alone, abs=1e-6)
    assert scorer.counts["evicted_full"] == 2
    np.testing.assert_allclose(stream.push(scorer, [int(first[2] + 1)]), wanted[[first[2] + 1]], atol=1e-5)


def test_more_rooms_in_a_call_than_slots(content_only: Fitted) -> None:
    encoder, dataset, rooms, wanted = content_only
    scorer = scorer_of(content_only, LiveScorerConfig(capacity=5, idle_ms=10**12))
    rows = rooms.offsets[:-1].tolist()
    np.testing.assert_allclose(Stream(encoder, dataset, rooms).push(scorer, rows), wanted[rows], atol=1e-5)
    assert (len(scorer), scorer.counts["evicted_full"]) == (5, 7)


def test_idle_rooms_are_forgotten(content_only: Fitted) -> None:
    """idle_ms = 10 segments: room 0 goes when room 1 begins 24 segments later; room 1 itself comes back too late."""
    encoder, dataset, rooms, _ = content_only
    stream, first = Stream(encoder, dataset, rooms), rooms.offsets.tolist()
    scorer = scorer_of(content_only, LiveScorerConfig(idle_ms=10 * SEGMENT_MS))
    stream.push(scorer, [first[0]])
    stream.push(scorer, [first[1]])
    assert list(scorer.slots.slot_of) == [1001]
    assert scorer.counts["evicted_idle"] == 1
    end = stream.segment(first[1]).end_ms
    scorer.push(1001, LiveSegment(end + 11 * SEGMENT_MS, end + 12 * SEGMENT_MS))
    assert (scorer.counts["evicted_idle"], scorer.counts["gap"], len(scorer)) == (2, 0, 1)


def test_an_outcome_waits_until_it_is_known(next_segment: Fitted) -> None:
    """lvtr is known 60 s after the end: told at once it changes the score of the segment that ends 60 s later, not
    before. With ctr (known at the end) it changes the next one.
    """
    encoder, dataset, rooms, _ = next_segment
    stream = Stream(encoder, dataset, rooms)
    room, start = 7, rooms.start_ms[0]
    segments = [
        LiveSegment(start + n * SEGMENT_MS, start + (n + 1) * SEGMENT_MS, 1, stream.segment(0).vectors)
        for n in range(5)
    ]

    def scores(*told: RateOutcome) -> list[float]:
        scorer = scorer_of(next_segment)
        first = scorer.push(room, segments[0])
        scorer.observe(told)
        return [first, *(scorer.push(room, segment) for segment in segments[1:])]

    plain = scores()
    for rate, since in (("lvtr", 2), ("ctr", 1)):
        changed = scores(RateOutcome(room, segments[0].end_ms, rate, 0.99, 500))
        same = [one == other for one, other in zip(plain, changed, strict=True)]
        assert same == [number < since for number in range(5)], rate
    nothing = scores(RateOutcome(room, segments[0].end_ms, "lvtr", np.nan, 0))
    assert nothing == plain


def test_a_rate_that_comes_with_its_segment_is_looked_at_where_it_is_known(
    next_segment: Fitted, own_segment: Fitted
) -> None:
    """The next segment's rate is predicted at this one's end: its own ctr is known. Its own rate is predicted as of
    its start: only the segment after it looks at that ctr.
    """
    for made, since in ((next_segment, 0), (own_segment, 1)):
        found = []
        for rates in ({}, {"ctr": (0.9, 400)}):
            scorer, start = scorer_of(made), made[2].start_ms[0]
            told = LiveSegment(start, start + SEGMENT_MS, 1, rates=rates)
            after = LiveSegment(start + SEGMENT_MS, start + 2 * SEGMENT_MS, 1)
            found.append([scorer.push("room", told), scorer.push("room", after)])
        assert [one == other for one, other in zip(*found, strict=True)] == [since > 0, False]


def test_outcomes_that_are_refused(next_segment: Fitted) -> None:
    """Told twice, told after a later one, more than 16 that wait, of a room that is not here."""
    encoder, dataset, rooms, _ = next_segment
    stream, scorer = Stream(encoder, dataset, rooms), scorer_of(next_segment)
    stream.push(scorer, [0, 1])
    assert scorer.counts["outcome"] == 4
    scorer.observe([stream.outcome(1), stream.outcome(0), RateOutcome(5, 0, "ctr", 0.1, 3)])
    assert (scorer.counts["outcome_refused"], scorer.counts["outcome_unknown_room"]) == (2, 1)
    end = stream.segment(1).end_ms
    scorer.observe([RateOutcome(1000, end + number, "lvtr", 0.1, 3) for number in range(1, 20)])
    assert (scorer.counts["outcome"], scorer.counts["outcome_refused"]) == (4 + 14, 2 + 5)


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (RateOutcome(1000, 1, "cvr", 0.5, 1), r"unknown rate 'cvr' \(known: ctr, lvtr\)"),
        (RateOutcome(1000, 1, "ctr", 0.5), r"an outcome of rate 'ctr' needs its trials"),
    ],
)
def test_bad_outcomes(next_segment: Fitted, outcome: RateOutcome, message: str) -> None:
    encoder, dataset, rooms, _ = next_segment
    scorer = scorer_of(next_segment)
    Stream(encoder, dataset, rooms).push(scorer, [0])
    with pytest.raises(ConfigError, match=message):
        scorer.observe([outcome])


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        (LiveSegment(30, 30), r"room 'r' ends at 30 \(expected: after its start 30\)"),
        (LiveSegment(0, 30, vectors={"visual": np.zeros(5)}), r"'visual' of room 'r' has shape \(5,\) .*\(6,\)"),
        (LiveSegment(0, 30, vectors={"text": np.full(6, np.nan)}), r"'text' of room 'r' has a NaN or infinite value"),
        (LiveSegment(0, 30, vectors={"text": np.full(6, np.inf)}), r"'text' of room 'r' has a NaN or infinite value"),
    ],
)
def test_bad_segments_change_nothing(content_only: Fitted, segment: LiveSegment, message: str) -> None:
    scorer = scorer_of(content_only)
    with pytest.raises(ConfigError, match=message):
        scorer.push_many([("good", LiveSegment(0, 30)), ("r", segment)])
    assert len(scorer) == 0
    assert np.isfinite(scorer.push("r", LiveSegment(0, 30)))


def test_half_precision_state_gives_nearly_the_same(content_only: Fitted) -> None:
    scorer = scorer_of(content_only, LiveScorerConfig(state="float16", idle_ms=10**12, capacity=64))
    found = replayed(content_only, scorer, in_time(content_only[2]))
    np.testing.assert_allclose(found, content_only[3], rtol=0, atol=5e-3)
    assert scorer.decoded.nbytes < 0.6 * scorer_of(content_only).decoded.nbytes


@pytest.mark.parametrize(("width", "heads", "layers", "limit"), [(64, 4, 2, 2e9), (512, 8, 3, 3e9)])
def test_ten_thousand_rooms_fit(width: int, heads: int, layers: int, limit: float, next_segment: Fitted) -> None:
    """Keys and values on `meta` (nothing is taken), the rest as it is: all buffers of 10,000 rooms, window 20."""
    from segrec.layers.causal_decoder import CausalDecoder

    decoder = CausalDecoder(width, heads, layers, window=20, feedforward=8, dropout=0.0)
    state = decoder.new_state(10_000, device="meta")
    assert state.nbytes == 10_000 * (layers * 20 * width * 2 * 4 + 8)
    rest = scorer_of(next_segment, LiveScorerConfig(capacity=10_000))
    assert state.nbytes + rest.nbytes - rest.decoded.nbytes < limit


@pytest.mark.parametrize(("field", "value"), [("capacity", 0), ("idle_ms", 0)])
def test_bad_settings(field: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"{field} must be at least 1 \(found: 0\)"):
        LiveScorerConfig(**{field: value})


def test_nothing_in_nothing_out(content_only: Fitted) -> None:
    assert scorer_of(content_only).push_many([]).shape == (0,)
