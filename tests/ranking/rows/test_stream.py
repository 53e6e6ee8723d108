"""The order of batches: each row once an epoch, alike for any number of processes, gone on with at any batch."""

import json
import tracemalloc
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.encoding.feature_encoding import FittedFeatures, RowEncoder
from ranking.features import FeatureConfig, build_spec
from ranking.rows.data_config import DataConfig
from ranking.rows.encoded_rows import EncodedRows
from ranking.rows.impressions import ImpressionSource
from ranking.rows.stream import RankingStream
from ranking.targets.labels import fit_label
from segrec.records import ConfigError, DataError


@dataclass(frozen=True)
class Numbers:
    """A source of rows 0, 1, 2 ... in pieces of given sizes; a row's label is its number, and so is its bag's sum."""

    sizes: tuple[int, ...]
    width: int = 1

    names = ("row", "bag")

    @property
    def rows(self):
        return sum(self.sizes)

    @property
    def pieces(self):
        starts = np.cumsum([0, *self.sizes])
        return [NumberPiece(int(start), size) for start, size in zip(starts, self.sizes, strict=False)]

    def read(self, piece):
        numbers = np.arange(piece.start, piece.start + piece.kept)
        halves = np.stack([numbers // 2, numbers - numbers // 2], axis=1).reshape(-1).astype(np.int32)
        return EncodedRows(
            ids=numbers[None].astype(np.int32),
            bags={"bag": (halves, np.arange(0, 2 * len(numbers) + 1, 2))},
            dense=np.repeat(numbers[:, None].astype(np.float32), self.width, axis=1),
            labels=numbers.astype(np.float32),
        )


@dataclass(frozen=True)
class NumberPiece:
    start: int
    kept: int


def stream(sizes, *, batch_size=4, seed=3, rank=0, world_size=1, width=1, **data):
    chosen = DataConfig(**{"workers": 0, "prefetch": 0, **data})
    return RankingStream(
        Numbers(tuple(sizes), width), batch_size=batch_size, seed=seed, data=chosen, rank=rank, world_size=world_size
    )


def numbers(batch):
    """Row numbers of a batch; all of a row's parts must tell the same."""
    count = batch.rows
    labels = batch.labels.tolist()
    assert batch.sparse.values()[:count].tolist() == labels == batch.dense[:, 0].tolist()
    assert batch.sparse.values()[count:].reshape(count, 2).sum(dim=1).tolist() == labels
    return [int(label) for label in labels]


def drawn(streams, epoch=0, start=0):
    """Row numbers of each global batch, process by process."""
    batches = [list(each.epoch(epoch, start)) for each in streams]
    for parts in zip(*batches, strict=True):
        assert {part.global_rows for part in parts} == {sum(part.rows for part in parts)}
    return [[number for part in parts for number in numbers(part)] for parts in zip(*batches, strict=True)]


SIZES = st.lists(st.integers(1, 25), min_size=1, max_size=12)
OPTIONS = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 40), "lanes": st.integers(1, 6), "window_rows": st.integers(1, 80),
        "cache_rows": st.sampled_from([0, 10**6]),
    }
)  # fmt: skip


@settings(max_examples=60)
@given(SIZES, OPTIONS, st.data())
def test_any_number_of_processes_draws_the_same_batches(sizes, options, data):
    world_size = data.draw(st.integers(1, options["lanes"]))
    alone, batch_size = stream(sizes, **options), options["batch_size"]
    whole = drawn([alone])
    assert len(whole) == alone.batches(0) == -(-sum(sizes) // batch_size)
    assert {len(batch) for batch in whole[:-1]} <= {batch_size}
    assert sorted(number for batch in whole for number in batch) == list(range(sum(sizes)))
    shared = drawn([stream(sizes, rank=rank, world_size=world_size, **options) for rank in range(world_size)])
    assert [sorted(batch) for batch in shared] == [sorted(batch) for batch in whole]


@settings(max_examples=60)
@given(SIZES, OPTIONS, st.integers(0, 2), st.data())
def test_any_start_goes_on_as_if_nothing_had_been(sizes, options, epoch, data):
    start = data.draw(st.integers(0, -(-sum(sizes) // options["batch_size"])))
    whole = drawn([stream(sizes, **options)], epoch)
    assert drawn([stream(sizes, **options)], epoch, start) == whole[start:]


def test_processes_may_change_between_two_batches():
    sizes = [7] * 20
    whole = drawn([stream(sizes)])
    before = drawn([stream(sizes, rank=rank, world_size=3) for rank in range(3)])[:11]
    after = drawn([stream(sizes, rank=rank, world_size=2) for rank in range(2)], start=11)
    assert [sorted(batch) for batch in before + after] == [sorted(batch) for batch in whole]


def test_a_process_whose_lanes_are_used_up_has_batches_without_rows():
    last = stream([5], lanes=2, rank=1, world_size=2)  # the only piece lies in lane 0
    assert [(batch.rows, batch.global_rows) for batch in last.epoch(0)] == [(0, 4), (0, 1)]
    assert set(last.empty_batch().sparse.lengths().tolist()) == {0}


def test_order_follows_seed_and_epoch():
    sizes = [10] * 30
    first = drawn([stream(sizes)], epoch=1)
    assert first == drawn([stream(sizes)], epoch=1)
    assert first != drawn([stream(sizes)], epoch=2)
    assert first != drawn([stream(sizes, seed=4)], epoch=1)


@pytest.mark.parametrize(("workers", "prefetch"), [(1, 0), (0, 2), (3, 2), (2, 1)])
def test_threads_change_nothing_in_the_order(workers, prefetch):
    sizes, options = [9, 4, 7, 1] * 10, {"window_rows": 40, "cache_rows": 0, "lanes": 3}
    plain = drawn([stream(sizes, **options)])
    assert drawn([stream(sizes, workers=workers, prefetch=prefetch, **options)]) == plain


def test_batches_mix_the_whole_log():
    """Ten thousand rows in time order: a batch of 100 holds rows of early and late parts alike."""
    batches = drawn([stream([100] * 100, batch_size=100, window_rows=3200)])
    tenths = [np.bincount(np.asarray(batch) // 1000, minlength=10) for batch in batches]
    assert np.mean([(counts > 0).sum() for counts in tenths]) > 8
    neighbours = [np.diff(batch) for batch in batches]
    assert np.mean([(step == 1).mean() for step in neighbours]) < 0.02


def test_windows_before_the_start_are_not_read():
    read = []

    class Watched(Numbers):
        def read(self, piece):
            read.append(piece.start)
            return super().read(piece)

    far = RankingStream(
        Watched((5,) * 100), batch_size=10, seed=1, data=DataConfig(lanes=2, window_rows=40, cache_rows=0)
    )
    assert sum(batch.rows for batch in far.epoch(0, start=48)) == 20
    assert len(read) <= 16  # two windows of at most 24 rows a lane, of 100 pieces


def test_memory_holds_the_windows_and_not_the_log():
    """80,000 rows of 64 numbers are 20 MB; windows of 4,096 rows are 1."""
    log = stream([256] * 320, batch_size=512, width=64, window_rows=4096, cache_rows=0, workers=1, prefetch=2)
    tracemalloc.start()
    for batch in log.epoch(0):
        assert batch.rows
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6


def test_more_processes_than_lanes_are_refused():
    with pytest.raises(ConfigError, match=r"data.lanes=2 cannot feed 3 processes; set data.lanes to 3 or a multiple"):
        stream([5], lanes=2, world_size=3)


@pytest.fixture(scope="module")
def encoder(click_log):
    return RowEncoder(FittedFeatures.fit(click_log, build_spec(click_log, FeatureConfig())), click_log)


def of_log(click_log, encoder, **data):
    source = ImpressionSource(click_log, encoder, ["train"], label=fit_label(click_log, "is_click"), piece_rows=64)
    return RankingStream(source, batch_size=100, seed=5, data=DataConfig(**data))


def rows_of(batches):
    found = []
    for batch in batches:
        jagged = batch.sparse.to_dict()
        codes = [jagged[name].values().tolist() for name in ("user_id", "item_id", "hour")]
        found += list(zip(*codes, batch.dense[:, 0].tolist(), batch.labels.tolist(), strict=True))
    return found


@pytest.mark.parametrize("data", [{}, {"cache_rows": 0, "window_rows": 300}, {"workers": 3, "prefetch": 0}])
def test_a_log_is_drawn_whole(click_log, encoder, data):
    log = of_log(click_log, encoder, **data)
    in_order = rows_of(batch for _, batch in log.in_order())
    for epoch in (0, 1):
        shuffled = rows_of(log.epoch(epoch))
        assert shuffled != in_order
        assert sorted(shuffled) == sorted(in_order)
    assert log.keys()["label"].to_list() == [row[-1] for row in in_order]


@pytest.mark.parametrize("batch", [0, 7, 13])
def test_the_cursor_names_the_next_rows(click_log, encoder, batch):
    """Lanes give their next row first: the batch's rows of a lane begin with the one that the cursor names."""
    log = of_log(click_log, encoder, lanes=3, window_rows=200)
    told = json.loads(json.dumps(log.cursor(1, batch)))
    assert (told["epoch"], told["batch"], told["rows"]) == (1, batch, 100 * batch)
    assert told["order"] == {
        "dataset": click_log.meta.fingerprint, "splits": ["train"], "rows": log.source.rows,
        "seed": 5, "batch_size": 100, "lanes": 3, "window_rows": 200,
    }  # fmt: skip
    for lane, place in enumerate(told["lanes"]):
        file = click_log.path / place["file"]
        row = pl.read_parquet(file).row(place["row"], named=True)
        one = RankingStream(log.source, batch_size=100, seed=5, data=DataConfig(lanes=3, window_rows=200),
                            rank=lane, world_size=3)  # fmt: skip
        first = next(one.epoch(1, start=batch))
        ids = encoder.fitted.vocabularies
        jagged = first.sparse.to_dict()
        assert place["row_group"] == 0
        for name in ("user_id", "item_id"):
            known = ids[name].decode(jagged[name].values()[:1].numpy())
            assert known.to_list() == [row[name]]
        assert first.labels[0] == row["is_click"]


def test_the_cursor_of_a_used_up_log_names_no_row(click_log, encoder):
    log = of_log(click_log, encoder)
    assert log.cursor(0, log.batches(0))["lanes"] == [None] * 8


def test_an_error_in_a_thread_keeps_its_message(click_log, encoder, monkeypatch):
    log = of_log(click_log, encoder, workers=2, prefetch=2, cache_rows=0)
    plain = log.source.read

    def broken(piece):
        if piece is log.source.pieces[3]:
            raise DataError("day.parquet", "row group 3 cannot be read")
        return plain(piece)

    monkeypatch.setattr(log.source, "read", broken)
    with pytest.raises(DataError, match=r"^day.parquet: row group 3 cannot be read$"):
        list(log.epoch(0))
