"""Frozen folders: what was written comes back, and nothing that was changed is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch

from segrec.freezing import FrozenEncoder, FrozenMeta, freeze
from segrec.records import DataError

META = FrozenMeta(
    encoder="segment_interest",
    variant="paper",
    config={"width": 8},
    segment_ms=5000,
    dataset_fingerprint="f" * 64,
    fitted_on=["train"],
    trained_until_ms=17,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tensors = {"weight": torch.arange(6.0).view(2, 3), "transposed": torch.arange(6.0).view(2, 3).T}
    frames = {"vocabulary_item_id": pl.DataFrame({"id": [3, 5], "code": [2, 3]})}
    return freeze(tmp_path / "frozen", META, tensors, frames).folder


def test_round_trip(folder: Path) -> None:
    frozen = FrozenEncoder.open(folder)
    assert frozen.meta == META
    assert frozen.meta.model == "segment_interest:paper"
    assert frozen.tensors["transposed"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert frozen.frames["vocabulary_item_id"]["id"].to_list() == [3, 5]
    assert len(frozen.hash) == 64


def test_equal_content_has_an_equal_hash_and_other_content_another(folder: Path, tmp_path: Path) -> None:
    frozen = FrozenEncoder.open(folder)
    again = freeze(tmp_path / "again", META, frozen.tensors, frozen.frames)
    other = freeze(tmp_path / "other", META, {"weight": torch.zeros(2, 3)}, frozen.frames)
    assert again.hash == frozen.hash
    assert other.hash != frozen.hash


def test_nothing_is_pickled(folder: Path) -> None:
    suffixes = {file.suffix for file in folder.rglob("*") if file.is_file()}
    assert suffixes == {".json", ".safetensors", ".parquet"}


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("tensors.safetensors", flip, "was changed after freezing"),
        ("config.json", flip, "was changed after freezing"),
        ("frames/vocabulary_item_id.parquet", flip, "was changed after freezing"),
        ("tensors.safetensors", Path.unlink, "is missing from the frozen encoder"),
        ("frames/vocabulary_item_id.parquet", Path.unlink, "is missing from the frozen encoder"),
        ("frames/added.parquet", Path.touch, "is not in the manifest"),
        ("MANIFEST.json", lambda file: file.write_text("[]"), "is not a manifest"),
    ],
)
def test_a_changed_folder_is_refused_by_name(
    folder: Path, name: str, change: Callable[[Path], object], problem: str
) -> None:
    change(folder / name)
    with pytest.raises(DataError, match=problem) as refused:
        FrozenEncoder.open(folder)
    assert str(folder / name) in str(refused.value)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a frozen encoder .*segrec fit"):
        FrozenEncoder.open(tmp_path)
