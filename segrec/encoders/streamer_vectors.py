"""Frozen vectors of streamers from outside (ContentCTR takes its E_u from a trained ranker)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.records import DataError, scan_parquet
from segrec.tables import Vocabulary


@dataclass(frozen=True)
class StreamerVectors:
    """One vector a streamer."""

    vocabulary: Vocabulary
    matrix: npt.NDArray[np.float32]
    "(codes of the vocabulary, E): zeros for missing and unseen streamers."

    @property
    def width(self) -> int:
        """E."""
        return int(self.matrix.shape[1])

    @classmethod
    def read(cls, file: Path) -> Self:
        """A Parquet file with author_id and vector (a list of floats, all of one width).

        :raises DataError: columns missing, a streamer twice, widths that differ, NaN or infinite values.
        """
        frame = scan_parquet([file]).collect()
        if not {"author_id", "vector"} <= set(frame.columns):
            raise DataError(file, "is no file of streamer vectors", found=frame.columns, expected="author_id, vector")
        frame = frame.select("author_id", pl.col("vector").cast(pl.List(pl.Float32), strict=False)).sort("author_id")
        if frame["author_id"].is_duplicated().any():
            raise DataError(file, "holds a streamer twice", fix="keep one vector an author_id")
        widths = frame["vector"].list.len().unique().to_list()
        if len(widths) != 1 or not widths[0]:
            raise DataError(file, "streamer vectors have no common width", found=sorted(map(str, widths)))
        matrix = np.stack(frame["vector"].to_list()).astype(np.float32)
        if not np.isfinite(matrix).all():
            raise DataError(file, "a streamer vector holds a NaN or infinite value")
        vocabulary = Vocabulary.fit(frame["author_id"])
        rows = np.zeros((vocabulary.size, widths[0]), np.float32)
        rows[vocabulary.encode(frame["author_id"])] = matrix
        return cls(vocabulary, rows)
