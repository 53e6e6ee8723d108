"""Exported vectors are found again by the readers' own door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segrec.content.embed_request import EmbedRequest
from segrec.content.segment_grid import SegmentGrid
from segrec.content.vector_export import export_vectors
from segrec.datasets.vector_file import vector_file
from segrec.records import DataError, DatasetFolder, SegmentVectors, write_segment_vectors

ROOM_START = 1_747_000_000_000


def _vectors(folder: Path, rows: list[tuple[int, int]], dtype: str = "float32") -> SegmentVectors:
    index = pl.DataFrame(rows, schema={"item_id": pl.Int64, "segment": pl.Int32}, orient="row").with_row_index("row")
    values = np.arange(3 * len(rows), dtype=np.float32).reshape(-1, 3)
    write_segment_vectors(folder, index, [values], dim=3, dtype=dtype, model="drawn")  # type: ignore[arg-type]
    return SegmentVectors.open(folder)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_live_rooms_are_keyed_by_the_segments_end(grid: SegmentGrid, tmp_path: Path, dtype: str) -> None:
    file = tmp_path / "segment_vectors_visual.parquet"
    export_vectors(_vectors(tmp_path / "v", [(8, 1), (7, 4)], dtype), grid, file, live=True)
    found = pl.read_parquet(file)
    assert found.columns == ["live_stream_id", "timestamp", "vector"]
    assert found.drop("vector").rows() == [(7, ROOM_START + 150_000), (8, ROOM_START + 3_660_000)]
    assert found["vector"].cast(pl.List(pl.Float32)).to_list() == [[3, 4, 5], [0, 1, 2]]


def test_videos_are_keyed_by_segment(write_videos_dataset: Callable[..., DatasetFolder], tmp_path: Path) -> None:
    grid = SegmentGrid.of(write_videos_dataset({5: 12_000}))
    file = tmp_path / "segments_visual.parquet"
    export_vectors(_vectors(tmp_path / "v", [(5, 2), (5, 0)]), grid, file, live=False)
    source = vector_file(file, "visual", pl.Int64())
    assert source.dim == 3
    np.testing.assert_array_equal(np.concatenate(list(source.chunks())), [[3, 4, 5], [0, 1, 2]])
    assert source.index.select("item_id", "segment").rows() == [(5, 0), (5, 2)]


def test_many_vectors_are_written_in_groups(tmp_path: Path) -> None:
    rows = [(1, segment) for segment in range(20_000)]
    export_vectors(_vectors(tmp_path / "v", rows), SegmentGrid(pl.DataFrame(), pl.DataFrame()), tmp_path / "v.parquet",
                   live=False)  # fmt: skip
    found = pl.read_parquet(tmp_path / "v.parquet")
    assert found["segment"].to_list() == list(range(20_000))
    np.testing.assert_array_equal(found["vector"].explode().to_numpy(), np.arange(60_000, dtype=np.float32))


def test_an_existing_export_is_kept(rooms: DatasetFolder, tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").write_text("precious")
    request = EmbedRequest(texts=tmp_path / "a.jsonl", model="m", export=tmp_path / "mine.parquet")
    with pytest.raises(DataError, match=r"mine.parquet: exists already; choose another --export"):
        request.run(rooms)
    assert (tmp_path / "mine.parquet").read_text() == "precious"
