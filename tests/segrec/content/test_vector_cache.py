"""What a crash leaves on disk, byte by byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segrec.content.embedding import content_key
from segrec.content.vector_cache import VectorCache
from segrec.records import DataError

KEYS = [content_key(text.encode()) for text in "abc"]
VECTORS = np.arange(6, dtype=np.float32).reshape(3, 2)


def _fill(folder: Path) -> None:
    with VectorCache(folder, "model", 2) as cache:
        cache.append(KEYS[:2], VECTORS[:2])
        cache.append(KEYS[2:], VECTORS[2:])


def test_vectors_are_found_again(tmp_path: Path) -> None:
    _fill(tmp_path)
    with VectorCache(tmp_path, "model", 2) as cache:
        assert (cache.rows, cache.found, cache.discarded) == ({KEYS[0]: 0, KEYS[1]: 1, KEYS[2]: 2}, 3, False)
        np.testing.assert_array_equal(cache.matrix(), VECTORS)


@pytest.mark.parametrize(
    ("file", "lost_bytes", "left"),
    [("keys", 1, 2), ("keys", 16, 2), ("keys", 17, 1), ("keys", 48, 0), ("vectors.f32", 1, 2), ("vectors.f32", 9, 1)],
)
def test_half_written_ends_are_cut_and_written_anew(tmp_path: Path, file: str, lost_bytes: int, left: int) -> None:
    _fill(tmp_path)
    data = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(data[:-lost_bytes])
    with VectorCache(tmp_path, "model", 2) as cache:
        assert list(cache.rows) == KEYS[:left]
        cache.append(KEYS[left:], VECTORS[left:])
        np.testing.assert_array_equal(cache.matrix(), VECTORS)


@pytest.mark.parametrize(("digest", "dim"), [("other", 2), ("model", 3)])
def test_vectors_of_another_encoder_are_thrown_away(tmp_path: Path, digest: str, dim: int) -> None:
    _fill(tmp_path)
    with VectorCache(tmp_path, digest, dim) as cache:
        assert (cache.rows, cache.discarded) == ({}, True)
        assert cache.matrix().shape == (0, dim)


def test_an_encoder_note_cut_short_counts_as_another(tmp_path: Path) -> None:
    _fill(tmp_path)
    (tmp_path / "encoder.json").write_text('{"dig')
    with VectorCache(tmp_path, "model", 2) as cache:
        assert (cache.found, cache.discarded) == (0, True)


def test_two_writers_are_refused(tmp_path: Path) -> None:
    with VectorCache(tmp_path, "model", 2), pytest.raises(DataError, match="is being written by another process"):
        VectorCache(tmp_path, "model", 2)
    VectorCache(tmp_path, "model", 2).__exit__(None, None, None)


def test_keys_tell_contents_and_shapes_apart() -> None:
    assert content_key(b"ab", (1, 2)) != content_key(b"ab", (2, 1))
    assert content_key(b"ab") == content_key(b"ab")
    assert len(content_key(b"")) == 16
