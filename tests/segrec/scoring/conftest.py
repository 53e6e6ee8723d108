"""Fitted live encoders, and a dataset with gaps, missing vectors and late rates as a stream to replay."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from segrec.encoders import find_encoder
from segrec.encoders.encoder_runs import fit_encoder
from segrec.encoders.live_rate import LiveRateEncoder
from segrec.freezing import FrozenEncoder
from segrec.records import DatasetFolder, RunFolder
from segrec.scoring.live import LiveScorer, LiveScorerConfig
from segrec.scoring.live_segments import LiveSegment, RateOutcome
from segrec.segments.rooms import NO_ROW, Rooms
from segrec.testing.live_dataset import make_live_dataset

SMALL = ("epochs=1", "width=16", "heads=2", "window=5", "min_count=1", "device=cpu")


@dataclass(repr=False)
class LiveCase:
    """A run, the dataset behind it as raw segments, and the scores that whole rooms get."""

    run: RunFolder
    dataset: DatasetFolder
    encoder: LiveRateEncoder = field(init=False)
    rooms: Rooms = field(init=False)
    wanted: npt.NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        self.encoder = self.scorer().encoder
        self.rooms = Rooms.of(self.dataset)
        self.wanted = self.encoder.predict(self.rooms, self.dataset)
        self.told = self.rooms.frame.to_dicts()
        self.vectors = {name: self.dataset.vectors(name) for name in self.encoder.inputs.content_scales}
        self.places = {name: self.rooms.vector_rows(vectors) for name, vectors in self.vectors.items()}

    def scorer(self, **settings: object) -> LiveScorer:
        config = LiveScorerConfig(**{"idle_ms": 10**12, "capacity": 64, **settings})
        return LiveScorer.open(FrozenEncoder.open(self.run.frozen), config)

    def segment(self, row: int, *rates: str) -> LiveSegment:
        told = self.told[row]
        vectors = {
            name: vectors.matrix[self.places[name][row]]
            for name, vectors in self.vectors.items()
            if self.places[name][row] != NO_ROW
        }
        counters = {name: told[name] for name in self.dataset.meta.counters}
        known = {rate: self.rate(row, rate) for rate in rates}
        return LiveSegment(told["start_ms"], told["end_ms"], told["author_id"], vectors, counters, known)

    def rate(self, row: int, rate: str) -> tuple[float, float | None]:
        told, meta = self.told[row], self.dataset.meta.rates[rate]
        return np.nan if told[rate] is None else told[rate], told[meta.trials] if meta.trials else None

    def outcome(self, row: int, rate: str = "lvtr") -> RateOutcome:
        return RateOutcome(self.told[row]["item_id"], self.told[row]["end_ms"], rate, *self.rate(row, rate))

    def push(self, scorer: LiveScorer, rows: list[int]) -> npt.NDArray[np.float32]:
        """ctr comes with the segment, lvtr right behind it: it waits until its time."""
        scores = scorer.push_many([(self.told[row]["item_id"], self.segment(row, "ctr")) for row in rows])
        scorer.observe([self.outcome(row) for row in rows])
        return scores

    def push_with_rates(self, scorer: LiveScorer, rows: list[int]) -> npt.NDArray[np.float32]:
        """Both rates come with the segment, so that a call may hold several segments of a room."""
        return scorer.push_many([(self.told[row]["item_id"], self.segment(row, "ctr", "lvtr")) for row in rows])

    def in_time(self) -> list[int]:
        """All rows, by the segments' ends."""
        return np.argsort(self.rooms.end_ms, kind="stable").tolist()


def gapped_dataset(folder: Path, *, own_streamers: bool) -> DatasetFolder:
    """12 rooms; a tenth of the segments are missing (gaps), and a tenth of the text vectors.

    `own_streamers`: a streamer a room, so that rooms may run in any order; else 5 streamers.
    """
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


def live_case(folder: Path, name: str, *sets: str, own_streamers: bool = True) -> LiveCase:
    dataset = gapped_dataset(folder / "data", own_streamers=own_streamers)
    config = find_encoder(name).Config.of(sets=[*SMALL, *sets])
    return LiveCase(fit_encoder(name, config, dataset, folder / "run")[0], dataset)


@pytest.fixture(scope="session")
def next_segment(tmp_path_factory: pytest.TempPathFactory) -> LiveCase:
    """The default kuaihl: rates and counters so far are inputs, position bias."""
    return live_case(tmp_path_factory.mktemp("kuaihl"), "kuaihl")


@pytest.fixture(scope="session")
def own_segment(tmp_path_factory: pytest.TempPathFactory) -> LiveCase:
    """content_ctr: another label shift; streamers with several rooms."""
    return live_case(tmp_path_factory.mktemp("ctr"), "content_ctr", own_streamers=False)


@pytest.fixture(scope="session")
def content_only(tmp_path_factory: pytest.TempPathFactory) -> LiveCase:
    """Neither rates, counters nor streamers."""
    return live_case(tmp_path_factory.mktemp("content"), "kuaihl", "known=false", "modalities=[visual,text]")
