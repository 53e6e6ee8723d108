"""The loop: each content once, neighbours in size together, and what a kill leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segrec.content.embedding import EmbedOptions, Piece, content_key, embed, segment_means
from segrec.content.encoder import ContentEncoder
from segrec.content.segment_grid import SegmentGrid
from segrec.records import ConfigError, DataError, DatasetFolder, SegmentVectors


class Letters:
    """Encodes a text as (its length, its first letter's number), and counts what it is given."""

    identity, digest, dim = "letters", "letters-1", 2

    def __init__(self, die_after: int | None = None) -> None:
        self.batches: list[list[str]] = []
        self._die_after = die_after

    def prepare(self, contents: Sequence[str]) -> list[str | None]:
        return [content or None for content in contents]

    def size(self, prepared: str) -> int:
        return len(prepared)

    def encode(self, batch: Sequence[str]) -> np.ndarray:
        if len(self.batches) == self._die_after:
            raise KeyboardInterrupt
        self.batches.append(list(batch))
        return np.array([[len(text), ord(text[0])] for text in batch], np.float32)


class Texts:
    """Contents at places; None = unreadable."""

    def __init__(self, *contents: tuple[int, str | None]) -> None:
        self._contents = contents

    def pieces(self) -> Iterator[Piece[str]]:
        for place, text in self._contents:
            yield Piece.of(place, content_key(str(text).encode()), text)

    def left_out(self) -> Mapping[str, int]:
        return {"torn": 1}


encoder_keeps_the_interface: ContentEncoder[str, str] = Letters()
WORDS = Texts((3, "dddd"), (0, "a"), (0, "ccc"), (5, ""), (1, "a"), (4, None), (3, "dddd"), (3, "a"))


def _found(out: Path) -> dict[tuple[int, int], list[float]]:
    vectors = SegmentVectors.open(out)
    return {(item, segment): vectors.matrix[row].tolist() for item, segment, row in vectors.index().iter_rows()}


def test_each_content_is_encoded_once_and_a_segment_is_their_mean(grid: SegmentGrid, tmp_path: Path) -> None:
    encoder, out = Letters(), tmp_path / "words"
    done = embed(out, grid, WORDS, encoder, options=EmbedOptions(batch_size=2, window=9), model="letters")
    assert encoder.batches == [["a", "ccc"], ["dddd"]]
    a, c, d = (1, 97), (3, 99), (4, 100)
    assert _found(out) == {
        (7, 0): [(a[0] + c[0]) / 2, (a[1] + c[1]) / 2],
        (7, 1): [*a],
        (7, 4): [(2 * d[0] + a[0]) / 3, (2 * d[1] + a[1]) / 3],
    }
    assert (done.contents, done.distinct, done.encoded, done.batches) == (8, 5, 3, 2)
    assert (done.segments, done.meta.rows, done.resumed, done.left_out) == (6, 3, 0, {"torn": 1})
    assert sorted(file.name for file in out.iterdir()) == ["index.parquet", "vectors.json", "vectors.npy"]
    assert not out.with_name("words.partial").exists()


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_hold_neighbours_in_size(grid: SegmentGrid, tmp_path: Path, threads: int) -> None:
    sizes = np.random.default_rng(0).permutation(40) + 1
    source = Texts(*((0, "x" * int(size)) for size in sizes))
    encoder = Letters()
    options = EmbedOptions(batch_size=5, window=8, threads=threads)
    embed(tmp_path / "x", grid, source, encoder, options=options, model="letters")
    assert [len(text) for batch in encoder.batches for text in batch] == list(range(1, 41))
    assert {len(batch) for batch in encoder.batches} == {5}


def test_an_interrupted_run_goes_on(grid: SegmentGrid, tmp_path: Path) -> None:
    source = Texts(*((number % 6, "abcdefghij"[number] * (number + 1)) for number in range(10)))
    options, out = EmbedOptions(batch_size=2), tmp_path / "x"
    with pytest.raises(KeyboardInterrupt):
        embed(out, grid, source, Letters(die_after=3), options=options, model="letters")
    assert not out.exists()
    second = Letters()
    done = embed(out, grid, source, second, options=options, model="letters")
    assert [text[0] for batch in second.batches for text in batch] == list("ghij")
    assert (done.resumed, done.encoded, done.batches) == (6, 4, 2)
    embed(tmp_path / "y", grid, source, Letters(), options=options, model="letters")
    assert _found(out) == _found(tmp_path / "y")


def test_what_another_model_left_is_not_used(grid: SegmentGrid, tmp_path: Path) -> None:
    options, out = EmbedOptions(batch_size=1), tmp_path / "x"
    with pytest.raises(KeyboardInterrupt):
        embed(out, grid, WORDS, Letters(die_after=2), options=options, model="letters")
    other = Letters()
    other.digest = "letters-2"
    done = embed(out, grid, WORDS, other, options=options, model="letters")
    assert (done.discarded, done.resumed, done.encoded) == (True, 0, 3)


_KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_embedding import EmbedOptions, Letters, TEN, embed, ten_segments
def told(contents, encoded):
    print(encoded, flush=True)
    if encoded == 6: time.sleep(60)
embed(Path({out!r}), ten_segments(), TEN, Letters(), options=EmbedOptions(batch_size=2, told=told), model="letters")
"""
TEN = Texts(*((place, "x" * (place + 1)) for place in range(10)))


def ten_segments() -> SegmentGrid:
    segments = pl.DataFrame({"item_id": [7] * 10, "segment": range(10), "start_ms": [0] * 10, "end_ms": [1] * 10})
    return SegmentGrid(segments, pl.DataFrame({"item_id": [7], "room_start_ms": [0]}))


def test_a_killed_process_loses_no_finished_batch(tmp_path: Path) -> None:
    out = tmp_path / "x"
    program = _KILLED.format(tests=str(Path(__file__).parent), out=str(out))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "6":
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    assert not out.exists()
    encoder = Letters()
    done = embed(out, ten_segments(), TEN, encoder, options=EmbedOptions(batch_size=2), model="letters")
    assert (done.resumed, done.encoded, done.batches) == (6, 4, 2)
    assert [len(text) for batch in encoder.batches for text in batch] == [7, 8, 9, 10]
    assert _found(out) == {(7, place): [place + 1, 120] for place in range(10)}


def test_what_is_being_made_is_no_vector_yet(rooms: DatasetFolder) -> None:
    (rooms.path / "segments" / "visual.partial").mkdir()
    (rooms.path / "segments" / "visual.partial" / "vectors.json").write_text("{}")
    assert rooms.vector_names() == []


def test_an_error_in_the_source_reaches_the_caller(grid: SegmentGrid, tmp_path: Path) -> None:
    class Torn(Texts):
        def pieces(self) -> Iterator[Piece[str]]:
            yield from super().pieces()
            raise DataError("log", "is torn")

    with pytest.raises(DataError, match="log: is torn"):
        embed(tmp_path / "x", grid, Torn((0, "a")), Letters(), options=EmbedOptions(), model="letters")


def test_nothing_with_content(grid: SegmentGrid, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no segment has content \(found: torn: 1\)"):
        embed(tmp_path / "x", grid, Texts((2, "")), Letters(), options=EmbedOptions(), model="letters")
    assert list(tmp_path.glob("x*")) == []


@pytest.mark.parametrize("field", ["batch_size", "window", "threads"])
def test_options_out_of_range(field: str) -> None:
    with pytest.raises(ConfigError, match=rf"{field} must be at least 1 \(found: 0\)"):
        EmbedOptions(**{field: 0})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), max_size=40))
def test_segment_means_equal_a_loop(pairs: list[tuple[int, int]]) -> None:
    pairs = sorted(pairs)
    matrix = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    places, rows = np.array(pairs, np.int64).reshape(-1, 2).T
    means = list(segment_means(places, rows, matrix))
    expected = [np.mean([matrix[row] for at, row in pairs if at == place], 0) for place in np.unique(places)]
    np.testing.assert_allclose(np.concatenate(means) if means else [], expected, atol=1e-6)


def test_segment_means_over_many_chunks() -> None:
    places = np.repeat(np.arange(10_000), 2)
    matrix = np.arange(20_000, dtype=np.float32)[:, None]
    means = np.concatenate(list(segment_means(places, np.arange(20_000), matrix)))
    np.testing.assert_array_equal(means[:, 0], np.arange(10_000) * 2 + 0.5)
