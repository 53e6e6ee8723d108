"""Impressions as batches: read piece by piece, shuffled lane by lane, started at any batch, shared out to processes."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from ranking.batching import RankingBatch, make_batch
from ranking.rows.data_config import DataConfig
from ranking.rows.encoded_rows import EncodedRows
from ranking.rows.impressions import ImpressionSource
from ranking.rows.lanes import IntArray, Lanes, Window
from ranking.rows.reading_ahead import done_ahead, made_ahead


class _Draw(NamedTuple):
    """What a batch needs of one lane: windows to be opened, then the lane's rows up to `end`."""

    lane: int
    windows: list[Window]
    end: int


class _Shuffled:
    """Rows of one lane that are read and not yet in a batch."""

    def __init__(self) -> None:
        self._rows: EncodedRows | None = None
        self._at = 0

    def add(self, rows: EncodedRows) -> None:
        """Appends a window."""
        left = None if self._rows is None else self._rows.take(slice(self._at, self._rows.rows))
        self._rows = rows if left is None or not left.rows else EncodedRows.concatenated([left, rows])
        self._at = 0

    def next(self, count: int) -> EncodedRows:
        """The next rows, which must have been added."""
        assert self._rows is not None
        self._at += count
        return self._rows.take(slice(self._at - count, self._at))


class RankingStream:
    """Batches of one or more splits in an order that depends on (seed, epoch) alone.

    Rows lie in `data.lanes` lanes; each lane draws its pieces in random order and shuffles them in windows. A global
    batch takes its rows from all lanes in turn, and of several processes each reads its own lanes only: number r
    those whose number leaves r when divided by the number of processes. Memory holds the windows, and all rows only
    where there are at most `data.cache_rows`.

    :raises ConfigError: more processes than lanes.
    """

    def __init__(
        self,
        source: ImpressionSource,
        *,
        batch_size: int,
        seed: int = 0,
        max_segments: int = 40,
        data: DataConfig | None = None,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ) -> None:
        self.source, self._batch_size, self._seed, self._max_segments = source, batch_size, seed, max_segments
        self._data = data or DataConfig()
        self._data.check_processes(world_size)
        self._rank, self._world_size, self._pin_memory = rank, world_size, pin_memory
        self.lanes = Lanes([piece.kept for piece in source.pieces], self._data.lanes)
        self._cache: dict[int, EncodedRows] | None = {} if source.rows <= self._data.cache_rows else None

    def batches(self, epoch: int) -> int:
        """The same for each epoch: the last batch may be smaller."""
        return -(-self.source.rows // self._batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[RankingBatch]:
        """Shuffled batches from number `start` on; windows before it are not read.

        Each process has a batch for each global batch, at the end perhaps one without rows.

        :raises DataError: a piece cannot be read or encoded; the batches before it have come.
        """
        return made_ahead(self._made(epoch, start), self._data.prefetch)

    def cursor(self, epoch: int, batch: int) -> dict[str, Any]:
        """Where a batch begins: file, row group and row that each lane gives next, None of a lane that is used up.

        `order` holds all that the order of rows depends on.
        """
        order = {
            **self.source.identity, "seed": self._seed, "batch_size": self._batch_size,
            "lanes": self.lanes.count, "window_rows": self._data.window_rows,
        }  # fmt: skip
        dealt = self._dealt(batch).tolist()
        places = [self._place(lane, epoch, row) for lane, row in enumerate(dealt)]
        return {"epoch": epoch, "batch": batch, "rows": sum(dealt), "order": order, "lanes": places}

    def in_order(self) -> Iterator[tuple[pl.DataFrame, RankingBatch]]:
        """(keys, batch) of all rows, oldest day first, unshuffled and whole on each process: for predictions."""
        for place, piece in enumerate(self.source.pieces):
            keys, start = self.source.keys(piece), 0
            for batch in self.piece_batches(place):
                yield keys[start : start + batch.rows], batch
                start += batch.rows

    def piece_batches(self, place: int) -> Iterator[RankingBatch]:
        """Batches of one piece in its order."""
        encoded = self._encoded(place)
        for start in range(0, encoded.rows, self._batch_size):
            part = encoded.take(np.arange(start, min(start + self._batch_size, encoded.rows)))
            yield make_batch(part, self.source.names, part.rows, self._max_segments)

    def batches_of(self, rows: int) -> int:
        """Number of batches that so many rows of one piece make."""
        return -(-rows // self._batch_size)

    def empty_batch(self) -> RankingBatch:
        """No row: what a process goes on with when only others have rows left."""
        return make_batch(self._nothing(), self.source.names, 1, self._max_segments)

    def keys(self) -> pl.DataFrame:
        """Keys and labels of all rows, oldest day first."""
        return pl.concat([self.source.keys(piece) for piece in self.source.pieces])

    def encoded(self) -> Iterator[EncodedRows]:
        """All rows piece by piece, oldest day first."""
        return self._read_ahead(range(len(self.source.pieces)))

    def _made(self, epoch: int, start: int) -> Generator[RankingBatch, None, None]:
        windows = (window for draws in self._draws(epoch, start) for draw in draws for window in draw.windows)
        pieces = self._read_ahead(piece for window in windows for piece in window.pieces)
        lanes = {lane: _Shuffled() for lane in self._own_lanes()}
        positions = self._dealt(start)
        try:
            for number, draws in enumerate(self._draws(epoch, start), start):
                parts = []
                for lane, opened, end in draws:
                    for window in opened:
                        rows = EncodedRows.concatenated([next(pieces) for _ in window.pieces])
                        skipped = max(int(positions[lane]) - window.first, 0)
                        lanes[lane].add(rows.take(window.order()[skipped:]))
                    parts.append(lanes[lane].next(end - int(positions[lane])))
                    positions[lane] = end
                yield self._batch(parts, number)
        finally:
            pieces.close()

    def _batch(self, parts: Sequence[EncodedRows], number: int) -> RankingBatch:
        rows = EncodedRows.concatenated(parts) if parts else self._nothing()
        global_rows = min(self._batch_size, self.source.rows - number * self._batch_size)
        batch = make_batch(rows, self.source.names, global_rows, self._max_segments)
        return batch.pin_memory() if self._pin_memory else batch

    def _draws(self, epoch: int, start: int) -> Iterator[list[_Draw]]:
        """What each batch from `start` on needs of this process's lanes."""
        left = {lane: self._windows(lane, epoch)[::-1] for lane in self._own_lanes()}
        before = self._dealt(start)
        opened = np.zeros_like(before)
        for lane, windows in left.items():
            while windows and windows[-1].end <= before[lane]:
                opened[lane] = windows.pop().end
        for number in range(start, self.batches(epoch)):
            after = self._dealt(number + 1)
            draws = []
            for lane, windows in left.items():
                if after[lane] > before[lane]:
                    new = []
                    while opened[lane] < after[lane]:
                        new.append(windows.pop())
                        opened[lane] = new[-1].end
                    draws.append(_Draw(lane, new, int(after[lane])))
            before = after
            yield draws

    def _place(self, lane: int, epoch: int, row: int) -> dict[str, Any] | None:
        """File, row group and row of the lane's `row`-th row of that epoch."""
        window = next((window for window in self._windows(lane, epoch) if row < window.end), None)
        if window is None:
            return None
        place = int(window.order()[row - window.first])
        for number in window.pieces:
            piece = self.source.pieces[number]
            if place < piece.kept:
                return self.source.place(piece, place)
            place -= piece.kept
        raise AssertionError("a window holds the rows of its pieces")

    def _dealt(self, batch: int) -> IntArray:
        """(L,) rows of each lane that the batches before number `batch` hold."""
        return self.lanes.dealt(min(batch * self._batch_size, self.source.rows))

    def _windows(self, lane: int, epoch: int) -> list[Window]:
        window_rows = max(1, self._data.window_rows // self._data.lanes)
        return self.lanes.windows(lane, self._seed, epoch, window_rows)

    def _own_lanes(self) -> range:
        return range(self._rank, self.lanes.count, self._world_size)

    def _read_ahead(self, places: Iterable[int]) -> Generator[EncodedRows, None, None]:
        jobs = (partial(self._encoded, place) for place in places)
        return done_ahead(jobs, self._data.workers, depth=2 * self._data.workers)

    def _nothing(self) -> EncodedRows:
        return self._encoded(0).take(np.zeros(0, dtype=np.int64))

    def _encoded(self, place: int) -> EncodedRows:
        if self._cache is None:
            return self.source.read(self.source.pieces[place])
        if place not in self._cache:
            self._cache[place] = self.source.read(self.source.pieces[place])
        return self._cache[place]
