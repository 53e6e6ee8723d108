"""Side features of users and items: streamed to Parquet, one row an id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from segrec.datasets.fingerprint import ContentHash

HASH_ROWS = 500_000


def write_side_table(file: Path, key: str, frames: Iterable[pl.DataFrame], dropped: Counter[str]) -> list[str]:
    """Writes `frames`; rows without `key`, or with one seen before, are dropped and counted. Returns the features."""
    writer, names = None, []
    kind = file.stem
    try:
        for frame in frames:
            kept = frame.filter(pl.col(key).is_not_null())
            if kept.height < frame.height:
                dropped[f"{kind}: missing {key}"] += frame.height - kept.height
            arrow = kept.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                names = [name for name in frame.columns if name != key]
                writer = pq.ParquetWriter(file, arrow.schema, compression="zstd")
            writer.write_table(arrow.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()
    _drop_repeated(file, key, dropped)
    return names


def author_of(items: Path) -> pl.DataFrame | None:
    """item_id and author_id of items.parquet; None where it has no authors."""
    if not items.is_file() or "author_id" not in pl.read_parquet_schema(items):
        return None
    return pl.read_parquet(items, columns=["item_id", "author_id"])


def hash_file(file: Path) -> str:
    """Content hash of a Parquet file, read in pieces."""
    content = ContentHash()
    for batch in pq.ParquetFile(file).iter_batches(HASH_ROWS):
        content.add(pl.DataFrame(batch))
    return content.hexdigest()


def _drop_repeated(file: Path, key: str, dropped: Counter[str]) -> None:
    keys = pl.read_parquet(file, columns=[key])[key]
    repeated = keys.len() - keys.n_unique()
    if repeated:
        dropped[f"{file.stem}: repeated {key}"] += repeated
        once = pl.read_parquet(file).unique(key, keep="first", maintain_order=True)
        once.write_parquet(file, compression="zstd")
