"""What a reader hands to the folder writer: a log in streams, its side tables, its vectors and its papers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, PositiveInt

from segrec.datasets.live_source import LiveSource
from segrec.records import Config, ConfigError
from segrec.records.segment_vectors import VectorType
from segrec.splitting import SplitRequest

LIVE_ONLY = ("label_shift", "utc_offset", "long_view_s")
"Options that mean something to readers of live rooms only."

Frames = Callable[[], Iterator[pl.DataFrame]]


class ReadOptions(Config):
    """What the user asked of a reader; each reader refuses what it does not know."""

    split: SplitRequest = SplitRequest()
    only: str | None = None
    "Keep rows whose flag of this name is 1."
    segment_ms: PositiveInt | None = None
    "Length of a segment; None = the format's own, 5000 where it has none."
    with_month_averages: bool = False
    "KuaiRand: read the video statistics, which average over the whole month and so leak the future."
    columns: Path | None = None
    "table: the column map."
    vectors_type: VectorType = "float32"
    "Segment vectors are stored in this type."
    label_shift: Literal["applied", "none"] | None = None
    "klive: whether the file's lvtr is already that of the next segment; None = not, assumed."
    utc_offset: Annotated[float, Field(ge=-14, le=14)] | None = None
    "kuailive_m3: hours that datetimes without a zone are ahead of UTC; None = 8 or 0, whichever fits the segments."
    long_view_s: PositiveInt | None = None
    "Live sessions: a long view lasts longer than this; None = 60 s."

    def refuse(self, reader: str, *fields: str) -> None:
        """:raises ConfigError: one of `fields` was set, and `reader` has no use for it."""
        for name in fields:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ConfigError(f"--{name.replace('_', '-')} means nothing to `segrec read {reader}`; leave it out")


@dataclass(frozen=True)
class VectorSource:
    """Segment vectors of one kind, to be streamed into `segments/NAME/`."""

    name: str
    index: pl.DataFrame
    "item_id, segment, row."
    chunks: Callable[[], Iterable[npt.NDArray[np.floating[Any]]]]
    "(n, dim) arrays in row order."
    dim: int
    model: str


@dataclass(frozen=True)
class LogSource:
    """A source that was opened: headers are checked, rows come when they are asked for.

    `batches` yield frames with user_id, item_id, time_ms, duration_ms, watch_ms (Int64 or, for ids, String),
    `flags` as Int8 and every other column under its own name; impossible rows are still inside.
    `users` and `items` yield side features, one row a user_id or item_id.
    """

    format: str
    licence: str
    source: str
    batches: Frames | None
    "None: there are no impressions, only live rooms."
    segment_ms: int = 5000
    utc_offset_hours: float = 0.0
    flags: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    users: Frames | None = None
    items: Frames | None = None
    impossible: dict[str, pl.Expr] = field(default_factory=dict)
    "The format's own reasons to reject a row, beside those that hold for every log."
    checked_only: tuple[str, ...] = ()
    "Columns that `impossible` needs and the dataset folder does not keep."
    may_miss: tuple[str, ...] = ()
    "Columns that may be null: the length of a live room, a flag whose outcome nobody saw."
    given_split: bool = False
    "The batches hold a column `split` (train, valid, test)."
    vectors: tuple[VectorSource, ...] = ()
    live: LiveSource | None = None
    "Live rooms and their segments; items.parquet is then theirs."
    truth: Path | None = None
    notes: tuple[str, ...] = ()
    "What the user should know: files that were left alone, and why."
