"""Vectors as the file that `segrec read` takes them from, so that reading a log again does not cost them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from segrec.content.segment_grid import SegmentGrid
from segrec.records import SegmentVectors, new_file

_ROWS_A_GROUP = 8192


def export_vectors(vectors: SegmentVectors, grid: SegmentGrid, file: Path, *, live: bool) -> None:
    """Writes `file`, one row a vector, in order of item and segment.

    live: live_stream_id, timestamp (the segment's end on the dataset's clock, ms), vector: name it
    segment_vectors_NAME.parquet beside a KuaiLive-M3 log. Otherwise item_id, segment, vector: segments_NAME.parquet
    beside a log of videos.
    """
    index = vectors.index()
    if live:
        ends = grid.frame.join(grid.item_starts, on="item_id", how="left").select(
            "item_id", "segment", timestamp=pl.col("end_ms") + pl.col("room_start_ms")
        )
        keys = index.join(ends, on=["item_id", "segment"], how="left", maintain_order="left")
        keys = keys.select(pl.col("item_id").alias("live_stream_id"), "timestamp")
    else:
        keys = index.select("item_id", "segment")
    rows = index["row"].to_numpy()
    item = pa.float32() if vectors.meta.dtype == "float32" else pa.float16()
    table = keys.to_arrow(compat_level=pl.CompatLevel.oldest())
    schema = table.schema.append(pa.field("vector", pa.list_(item)))
    schema = schema.with_metadata({"model": vectors.meta.model})
    with new_file(file) as building, pq.ParquetWriter(building, schema, compression="zstd") as writer:
        for begin in range(0, len(rows), _ROWS_A_GROUP):
            part = np.ascontiguousarray(vectors.matrix[rows[begin : begin + _ROWS_A_GROUP]])
            offsets = np.arange(len(part) + 1, dtype=np.int32) * vectors.meta.dim
            lists = pa.ListArray.from_arrays(offsets, pa.array(part.ravel(), item))
            writer.write_table(table.slice(begin, len(part)).append_column(schema.field("vector"), lists))
