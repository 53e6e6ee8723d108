"""Side features of users and items: streamed to Parquet, one row an id, hashed on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from segrec.datasets.fingerprint import ContentHash


@dataclass(frozen=True)
class SideTable:
    """What was written."""

    features: tuple[str, ...] = ()
    content_hash: str = ""


def write_side_table(file: Path, key: str, frames: Iterable[pl.DataFrame], dropped: Counter[str]) -> SideTable:
    """Writes `frames`; rows without `key`, or with one seen before, are dropped and counted.

    Nothing is written where there is no row.
    """
    writer, content = None, ContentHash()
    names: tuple[str, ...] = ()
    try:
        for frame in frames:
            kept = frame.filter(pl.col(key).is_not_null())
            if kept.height < frame.height:
                dropped[f"{file.stem}: missing {key}"] += frame.height - kept.height
            content.add(kept)
            arrow = kept.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                names = tuple(name for name in frame.columns if name != key)
                writer = pq.ParquetWriter(file, arrow.schema, compression="zstd")
            writer.write_table(arrow.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        return SideTable()
    keys = pl.read_parquet(file, columns=[key])[key]
    repeated = keys.len() - keys.n_unique()
    if repeated:
        dropped[f"{file.stem}: repeated {key}"] += repeated
        content = _keep_first(file, key)
    return SideTable(names, content.hexdigest())


def _keep_first(file: Path, key: str) -> ContentHash:
    once = pl.read_parquet(file).unique(key, keep="first", maintain_order=True)
    once.write_parquet(file, compression="zstd")
    content = ContentHash()
    content.add(once)
    return content
