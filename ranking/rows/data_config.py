"""Settings of the way from the log's files to batches."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from segrec.records import Config, ConfigError


class DataConfig(Config):
    """How rows are shuffled, read ahead and checked. The order of rows depends on `lanes` and `window_rows` alone."""

    lanes: PositiveInt = 8
    "Shares of the log that are shuffled on their own; at least as many as processes."
    window_rows: PositiveInt = 262_144
    "Rows that are shuffled together, over all lanes: what memory holds of a large log."
    cache_rows: NonNegativeInt = 1_000_000
    "A log of at most so many rows stays in memory once it is encoded."
    workers: NonNegativeInt = 1
    "Threads of each process that read and encode; 0 = when a row is wanted."
    prefetch: NonNegativeInt = 2
    "Batches that are made ahead, by a thread of their own; 0 = when a batch is wanted."
    on_corrupt: Literal["stop", "skip"] = "stop"
    "A damaged shard ends the run, or its rows are left out, counted and written to skipped.json."

    @property
    def piece_rows(self) -> int:
        """Rows of a piece at most: a lane's window draws from four or more places of the log."""
        return max(1, self.window_rows // (4 * self.lanes))

    def check_processes(self, count: int) -> None:
        """:raises ConfigError: some of `count` processes would never have a row."""
        if count > self.lanes:
            raise ConfigError(
                f"data.lanes={self.lanes} cannot feed {count} processes; set data.lanes to {count} or a multiple of it"
            )
