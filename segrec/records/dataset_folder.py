"""The dataset folder that `segrec read` writes: interactions by day, side features, segments, and what it all is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from segrec.records.errors import DataError
from segrec.records.interactions import Split
from segrec.records.segment_vectors import SegmentVectors
from segrec.records.shards import Damage, RowGroup, row_groups

SCHEMA_VERSION = 1


class SplitRule(BaseModel):
    """How rows were split; times are epoch ms, `valid_from` <= valid < `test_from` <= test (rule "time" only)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Literal["time", "users", "published", "given"]
    valid_from_ms: int | None = None
    test_from_ms: int | None = None
    seed: int | None = None


class Rate(BaseModel):
    """A rate that each segment of a live room has: column NAME (null = unknown) of the segment table.

    It is stored at the segment that it describes; a model that shall predict the next segment's shifts it itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: str | None = None
    "Column with the number of trials behind the rate (impressions, entries); None = unknown."
    known_after_ms: int = 0
    "How long after the segment's end its value is known: a long view of 60 s needs 60,000."


class DatasetMeta(BaseModel):
    """dataset.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    format: str
    "The reader's registry name: kuairand, segmm, table ..."
    segment_ms: int = 5000
    utc_offset_hours: float = 0.0
    "The source's clock: days and hours are counted in it."
    split: SplitRule
    rows: dict[Split, int]
    "Impressions."
    segments: dict[Split, int] = {}
    "Rows of the segment table, where there is one, by the split of their room."
    rates: dict[str, Rate] = {}
    "ctr, lvtr: what can be predicted of each segment of a live room."
    counters: list[str] = []
    "Columns of the segment table that count what happened inside a segment; known at its end."
    rejected: dict[str, int] = {}
    "Impossible rows and exact duplicates, by reason."
    left_out: dict[str, int] = {}
    "Rows left out because the user asked for it (--only ...), by reason."
    flags: list[str] = []
    "The source's own feedback columns that can be labels: is_click, long_view ..."
    context: list[str] = []
    "Columns known before the impression's outcome, usable as features: tab, hour ..."
    user_features: list[str] = []
    item_features: list[str] = []
    licence: str
    source: str
    fingerprint: str
    "Hash of interactions, items and grid: what a score table is checked against."


@dataclass(frozen=True)
class DatasetFolder:
    """An opened dataset folder. Frames are lazy; nothing is read before it is asked for."""

    path: Path
    meta: DatasetMeta
    left_out: tuple[Damage, ...] = ()
    "Shards of the interactions that are passed over, because they are damaged and the user asked for it."

    @classmethod
    def open(cls, path: Path | str) -> DatasetFolder:
        """:raises DataError: no dataset there, or one of another schema version."""
        path = Path(path)
        file = path / "dataset.json"
        if not file.is_file():
            raise DataError(
                path, "is not a dataset folder (dataset.json is missing)", fix="make one with `segrec read`"
            )
        try:
            return cls(path, DatasetMeta.model_validate_json(file.read_text(encoding="utf-8")))
        except (ValidationError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise DataError(
                file, "does not parse", found=reason, fix="read the source again with `segrec read`"
            ) from None

    def interaction_files(self) -> list[Path]:
        """The day files, oldest first, without those left out; inside each: sorted by time_ms, user_id, item_id."""
        gone = {self.path / damage.file for damage in self.left_out if damage.row_group is None}
        return sorted(file for file in (self.path / "interactions").glob("day=*/*.parquet") if file not in gone)

    def row_groups(self) -> list[RowGroup]:
        """Row groups of the day files, oldest first, without those left out.

        :raises DataError: the folder has no day file, or one of them is damaged.
        """
        gone = {(self.path / damage.file, damage.row_group) for damage in self.left_out}
        groups = [group for file in self._existing_files() for group in row_groups(file)]
        return [group for group in groups if (group.file, group.number) not in gone]

    def interactions(self, splits: Sequence[Split] | None = None) -> pl.LazyFrame:
        """All impressions (of `splits`), lazily, oldest day first.

        :raises DataError: the folder has none, or a file is damaged.
        """
        if self.left_out:
            frame = pl.concat([group.scan() for group in self.row_groups()])
        else:
            frame = scan_parquet(self._existing_files())
        return frame if splits is None else frame.filter(pl.col("split").is_in(list(splits)))

    def users(self) -> pl.DataFrame | None:
        """Side features, one row a user_id; None where the source has none."""
        return self._optional("users.parquet")

    def items(self) -> pl.DataFrame | None:
        """Side features, one row an item_id (with author_id where known); None where the source has none."""
        return self._optional("items.parquet")

    def highlights(self) -> pl.DataFrame | None:
        """Marked spans: item_id, annotator_id or user_id, start_ms, end_ms, score."""
        return self._optional("highlights.parquet")

    def truth(self) -> pl.DataFrame | None:
        """A made world's known truth: for evaluations only, never read by a model."""
        return self._optional("truth.parquet")

    def segment_truth(self) -> pl.DataFrame | None:
        """A made live world's truth, one row a segment: item_id, end_ms, the true ctr and lvtr, and ctr_next and
        lvtr_next, what is expected of the next segment by one who knows this one's true state; highlight (0 or 1).
        """
        return self._optional("truth_segments.parquet")

    def alignment_truth(self) -> pl.DataFrame | None:
        """Of a made live world: item_id, end_ms, text_offset (segments by which the text is ahead of its frames)."""
        return self._optional("truth_alignment.parquet")

    def texts(self) -> pl.DataFrame | None:
        """What was said and written in live rooms: item_id, segment, time_ms, source (speech | comment), text."""
        return self._optional("texts.parquet")

    def segments(self) -> pl.LazyFrame | None:
        """One row a segment, where there is content or live counts; else the grid follows from duration_ms.

        item_id, segment (Int32, 0-based, in time order), start_ms, end_ms (Int64), and where known viewers, `counters`
        and the rates with their trials. Live rooms' items.parquet has author_id, start_ms and split.
        """
        files = sorted((self.path / "segments").glob("*.parquet"))
        return scan_parquet(files) if files else None

    def vector_names(self) -> list[str]:
        """Names of the segment vectors at hand: visual, text ..."""
        names = (file.parent.name for file in (self.path / "segments").glob("*/vectors.json"))
        return sorted(name for name in names if not name.endswith(".partial"))

    def vectors(self, name: str) -> SegmentVectors:
        """:raises DataError: no vectors of that name (the known ones are listed)."""
        folder = self.path / "segments" / name
        if not (folder / "vectors.json").is_file():
            known = ", ".join(self.vector_names()) or "none"
            raise DataError(
                self.path, f"has no segment vectors {name!r}", found=known,
                fix="make them with `segrec embed`, or name others",
            )  # fmt: skip
        return SegmentVectors.open(folder)

    def _existing_files(self) -> list[Path]:
        files = self.interaction_files()
        if not files:
            raise DataError(self.path, "has no interactions", fix="this command needs a dataset with impressions")
        return files

    def _optional(self, name: str) -> pl.DataFrame | None:
        file = self.path / name
        return scan_parquet([file]).collect() if file.is_file() else None


def scan_parquet(files: Sequence[Path]) -> pl.LazyFrame:
    """A lazy frame over Parquet files.

    :raises DataError: a file that is missing, truncated or not Parquet, by name.
    """
    for file in files:
        try:
            pl.read_parquet_schema(file)
        except (OSError, pl.exceptions.PolarsError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(file, "cannot be read as Parquet", found=reason, fix="write it again") from None
    return pl.scan_parquet([str(file) for file in files], hive_partitioning=False)
