"""Hashes of files and folders by hand, and what a folder is refused for."""

import hashlib

import pytest

from segrec.records import DataError, check_folder, file_hash, folder_hashes


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b").write_bytes(b"two")
    (tmp_path / "a").write_bytes(b"one")
    return tmp_path


def check(folder, listed):
    check_folder(
        folder, listed, manifest="list", what="the box", changed="was changed after packing", again="pack it again"
    )


def test_hashes_by_hand(folder):
    one, two = (hashlib.sha256(content).hexdigest() for content in (b"one", b"two"))
    assert file_hash(folder / "a") == one
    assert folder_hashes(folder) == {"a": one, "deep/b": two}
    assert list(folder_hashes(folder)) == ["a", "deep/b"]


def test_the_manifest_itself_is_not_listed(folder):
    listed = folder_hashes(folder)
    (folder / "list").write_text("hashes")
    check(folder, listed)


def test_what_is_not_as_listed_is_named(folder):
    listed = folder_hashes(folder)
    (folder / "c").touch()
    with pytest.raises(DataError, match="c: is not in the manifest; remove it, or pack it again"):
        check(folder, listed)
    (folder / "c").unlink()
    (folder / "deep" / "b").write_bytes(b"three")
    with pytest.raises(
        DataError, match=r"b: was changed after packing .found: sha256 \w{12}; expected: \w{12}.; restore"
    ):
        check(folder, listed)
    (folder / "deep" / "b").unlink()
    with pytest.raises(DataError, match="b: is missing from the box; pack it again"):
        check(folder, listed)
