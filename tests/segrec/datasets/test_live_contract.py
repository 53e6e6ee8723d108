"""What every reader of live rooms keeps to."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest

from segrec.datasets import ReadOptions, find_reader, read_dataset
from segrec.records import SPLITS
from segrec.segments.rooms import Rooms
from segrec.splitting import SplitRequest

FORMATS = ("klive", "kuailive", "kuailive_m3")


@pytest.fixture(params=FORMATS)
def made(request, live_files):
    """(format, files of the made world)."""
    return request.param, live_files(request.param)


def test_the_segment_table(made, tmp_path):
    name, source = made
    dataset = read_dataset(name, source, tmp_path / "out")
    frame, items = dataset.segments().collect(), dataset.items()
    forms = {"item_id": pl.Int64, "segment": pl.Int32, "start_ms": pl.Int64, "end_ms": pl.Int64}
    assert frame.columns[:4] == list(forms)
    assert frame.schema == {**frame.schema, **forms}
    assert not {"author_id", "split"} & set(frame.columns)
    assert frame["item_id"].n_unique() <= items.height
    numbers = frame.select(pl.int_range(pl.len()).over("item_id").cast(pl.Int32)).to_series()
    assert (frame["segment"] == numbers).all(), "numbered without a gap, in the order in which they stand"
    begun = frame.select(start=pl.col("start_ms").min().over("item_id"))["start"]
    assert begun.is_sorted(), "rooms by start"
    assert (frame["end_ms"] > frame["start_ms"]).all()
    after = frame.select((pl.col("start_ms") >= pl.col("end_ms").shift(1).over("item_id")).fill_null(True)).to_series()
    assert after.all(), "segments of a room do not overlap"
    for rate, form in dataset.meta.rates.items():
        assert frame[rate].drop_nulls().is_between(0, 1).all()
        if form.trials is not None:
            assert (frame[rate].is_null() == (frame[form.trials] == 0)).all()
    assert all(frame.schema[counter].is_integer() for counter in dataset.meta.counters)
    rooms = frame.join(items.select("item_id", "split"), on="item_id")
    assert {part: rooms.filter(split=part).height for part in SPLITS} == dataset.meta.segments
    assert Rooms.of(dataset).frame.height == frame.height
    for kind in dataset.vector_names():
        assert dataset.vectors(kind).index().join(frame, on=["item_id", "segment"], how="anti").is_empty()
    assert [file.name for file in dataset.path.iterdir() if file.name.startswith(".")] == []
    assert (dataset.meta.format, dataset.meta.licence) == (name, "none needed: a made world, no real user")


def test_the_same_source_gives_the_same_fingerprint(made, tmp_path):
    name, source = made
    one, two = (read_dataset(name, source, tmp_path / place).meta for place in ("one", "two"))
    assert one == two
    options = ReadOptions(label_shift="applied") if name == "klive" else ReadOptions(long_view_s=20)
    assert read_dataset(name, source, tmp_path / "other", options).meta.fingerprint != one.fingerprint, "rates count"


@pytest.mark.parametrize("name", ["kuailive", "kuailive_m3"])
def test_an_opened_reader_reads_twice(live_files, name, tmp_path):
    log = find_reader(name)(live_files(name), ReadOptions())
    once = pl.concat(log.batches())
    assert pl.concat(log.batches()).equals(once)
    prepared = find_reader(name)(tmp_path / name, ReadOptions())
    (tmp_path / "scratch").mkdir()
    prepared.live.prepare(tmp_path / "scratch", Counter())
    assert pl.concat(prepared.batches()).equals(once), "impressions do not wait for the segments"


def test_dates_split_rooms_and_impressions(live_files, tmp_path):
    asked = SplitRequest.asked(None, "2025-05-06", "2025-05-07")
    dataset = read_dataset("kuailive_m3", live_files("kuailive_m3"), tmp_path / "out", ReadOptions(split=asked))
    midnight = 1_746_374_400_000 + 86_400_000
    assert (dataset.meta.split.valid_from_ms, dataset.meta.split.test_from_ms) == (midnight, midnight + 86_400_000)
    train = dataset.items().filter(split="train")
    assert train["start_ms"].max() < midnight
    assert dataset.interactions(["train"]).select(pl.col("time_ms").max()).collect().item() < midnight
