"""The score table that `segrec score` writes: per-segment scores, and the proof of what they may be used for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from segrec.records.dataset_folder import DatasetFolder
from segrec.records.errors import DataError
from segrec.records.interactions import KEY, Split
from segrec.records.outputs import new_file

_METADATA_KEY = b"segrec"

_COLUMNS: Mapping[str, Sequence[str]] = {
    "personal": [*KEY, "scores"],
    "content": ["item_id", "segment", "score"],
    "live": ["item_id", "segment", "end_ms", "score"],
}

ScoreKind = Literal["stay_probability", "relevance"]


class FoldRule(BaseModel):
    """How train rows got out-of-fold scores: `folds` parts, cut by time or at random by user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folds: int
    by: Literal["time", "users"] = "time"


class ScoreMeta(BaseModel):
    """What a score table says of itself (Parquet metadata, key `segrec`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Literal["personal", "content", "live"]
    "personal: one row an impression; content: one a segment of a video; live: one a segment of a room, with its end."
    kind: ScoreKind
    "stay_probability = 1 - hazard of that segment; relevance = any monotone score."
    encoder: str
    "Registry name (with variant), or 'imported'."
    encoder_hash: str
    dataset_fingerprint: str
    segment_ms: int
    trained_until_ms: int | None
    "Newest time_ms among the rows the scores were fitted on."
    fitted_on: list[Split] | None
    "Splits of this dataset the encoder was fitted on; None = unknown (imported): then trained_until_ms decides."
    folds: FoldRule | None = None


@dataclass(frozen=True)
class ScoreTable:
    """An opened score table."""

    path: Path
    meta: ScoreMeta

    @classmethod
    def open(cls, path: Path | str) -> ScoreTable:
        """:raises DataError: not Parquet, or not written by `segrec score`."""
        path = Path(path)
        try:
            schema = pq.read_schema(path)
            return cls(path, ScoreMeta.model_validate_json((schema.metadata or {})[_METADATA_KEY]))
        except (OSError, pa.ArrowInvalid) as error:
            reason = str(error).splitlines()[0]
            raise DataError(
                path, "cannot be read as Parquet", found=reason, fix="pass what `segrec score` wrote"
            ) from None
        except (KeyError, ValidationError):
            raise DataError(
                path, "is not a score table (no segrec metadata)", fix="bring it in with `segrec score --import`"
            ) from None

    def frame(self) -> pl.LazyFrame:
        """Personal: user_id, item_id, time_ms, scores (list<float32>). Content: item_id, segment, score.

        Live: item_id, segment, end_ms, score; a score is there from the segment's end on, for impressions after it.
        """
        return pl.scan_parquet(str(self.path))

    def check_usable(self, dataset: DatasetFolder, tested_on: Split = "test") -> None:
        """Refuses scores of another dataset or grid, or fitted on the rows that `tested_on` measures.

        :raises DataError: naming what differs.
        """
        meta, data = self.meta, dataset.meta
        if meta.segment_ms != data.segment_ms:
            raise DataError(
                self.path, "scores stand on another segment grid", found=f"{meta.segment_ms} ms",
                expected=f"{data.segment_ms} ms", fix="score this dataset again",
            )  # fmt: skip
        if meta.dataset_fingerprint != data.fingerprint:
            raise DataError(
                self.path, "scores belong to another dataset", found=meta.dataset_fingerprint[:12],
                expected=data.fingerprint[:12], fix=f"score {dataset.path} with `segrec score`",
            )  # fmt: skip
        if meta.fitted_on is not None and tested_on in meta.fitted_on:
            raise DataError(
                self.path, f"scores were fitted on the {tested_on} rows", fix="fit the encoder on train only"
            )
        if meta.fitted_on is None:
            self._check_trained_before(dataset, tested_on)

    def _check_trained_before(self, dataset: DatasetFolder, tested_on: Split) -> None:
        if self.meta.trained_until_ms is None:
            raise DataError(
                self.path, "does not say until when it was trained", fix="import it with --trained-until DATE"
            )
        first = dataset.interactions([tested_on]).select(pl.col("time_ms").min()).collect().item()
        if first is not None and self.meta.trained_until_ms >= first:
            found = f"trained until {self.meta.trained_until_ms}, first {tested_on} row at {first}"
            fix = "use scores trained on earlier data"
            raise DataError(
                self.path, f"scores were trained on rows as new as the {tested_on} rows", found=found, fix=fix
            )

    def leak_warning(self) -> str | None:
        """One line when train rows hold in-sample scores (a ranker trained on them trusts them too much), else None."""
        if self.meta.folds is not None or self.meta.form == "content":
            return None
        rows = "rooms" if self.meta.form == "live" else "rows"
        return (
            f"{self.path}: train {rows} hold scores of an encoder fitted on those same {rows}; "
            "use `segrec score --cross-fit K` so that the ranker does not overtrust them"
        )


def write_score_table(path: Path, frames: Iterable[pl.DataFrame], meta: ScoreMeta) -> int:
    """Streams frames (columns as `ScoreTable.frame` says) to `path`; returns the number of rows."""
    columns = _COLUMNS[meta.form]
    types: dict[str, pl.DataType | type[pl.DataType]] = {
        "scores": pl.List(pl.Float32),
        "segment": pl.Int32,
        "score": pl.Float32,
        "time_ms": pl.Int64,
        "end_ms": pl.Int64,
    }
    rows, writer = 0, None
    with new_file(path) as building:
        try:
            for frame in frames:
                shaped = frame.select(
                    pl.col(name).cast(types[name]) if name in types else pl.col(name) for name in columns
                )
                arrow = shaped.to_arrow()
                if writer is None:
                    stamped = arrow.schema.with_metadata({_METADATA_KEY: meta.model_dump_json().encode()})
                    writer = pq.ParquetWriter(building, stamped, compression="zstd")
                writer.write_table(arrow.cast(writer.schema))
                rows += frame.height
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise DataError(path, "no row to score", fix="check the dataset's splits")
    return rows
