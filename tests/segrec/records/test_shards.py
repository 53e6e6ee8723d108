"""Row groups by hand, and how each kind of damage to a Parquet file is named."""

from pathlib import Path

import polars as pl
import pytest

from segrec.records import DataError
from segrec.records.shards import Damage, RowGroup, find_damage, row_groups

ROWS = 1000


@pytest.fixture
def log(tmp_path) -> Path:
    """Four row groups of 250 rows, mostly of texts that compress: damage in the middle hits the second or third."""
    noise = [" ".join(str(row * place % 1009) for place in range(60)) for row in range(ROWS)]
    file = tmp_path / "day=2024-01-01" / "part.parquet"
    file.parent.mkdir()
    pl.DataFrame({"row": range(ROWS), "noise": noise}).write_parquet(file, row_group_size=250, compression="zstd")
    return file


def overwritten(file: Path, start: int, content: bytes) -> None:
    with file.open("r+b") as stream:
        stream.seek(start, 2 if start < 0 else 0)
        stream.write(content)


def test_row_groups_by_hand(log):
    assert row_groups(log) == [RowGroup(log, number, 250 * number, 250) for number in range(4)]
    group = row_groups(log)[2]
    assert group.read(lambda rows: rows.select("row"))["row"].to_list() == list(range(500, 750))
    assert group.read(lambda rows: rows.select("row"), 498, 3)["row"].to_list() == [498, 499, 500]
    assert group.scan().select("row").first().collect().item() == 500


def test_a_sound_file_has_no_damage(log, tmp_path):
    assert find_damage([log], tmp_path) == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]), "magic|PAR1|footer"),
        (lambda file: file.write_bytes(b""), "0 bytes|empty|small"),
        (lambda file: file.write_text("user_id,item_id\n1,2\n" * 9), "magic|PAR1|footer"),
        (lambda file: overwritten(file, -4, b"XXXX"), "magic|PAR1|footer"),
        (lambda file: overwritten(file, -60, b"\xff" * 50), ""),
        (lambda file: file.unlink(), "No such file"),
    ],
    ids=["truncated", "empty", "text", "magic", "footer", "gone"],
)
def test_a_file_that_is_none_is_named(log, tmp_path, damage, reason):
    damage(log)
    with pytest.raises(DataError, match=rf"parquet: cannot be read as Parquet \(found: .*({reason}).*\); write"):
        row_groups(log)
    [found] = find_damage([log], tmp_path)
    assert (found.file, found.row_group, found.rows) == ("day=2024-01-01/part.parquet", None, None)


@pytest.mark.parametrize("content", [b"\0" * 4000, b"\xff" * 4000, bytes(range(256)) * 16])
def test_a_bad_page_names_its_row_group(log, tmp_path, content):
    overwritten(log, log.stat().st_size // 2, content)
    bad = find_damage([log], tmp_path)
    assert {damage.row_group for damage in bad} <= {1, 2}
    assert bad
    for damage in bad:
        assert (damage.file, damage.rows) == ("day=2024-01-01/part.parquet", 250)
        assert damage.reason
        with pytest.raises(DataError, match=rf"part.parquet: row group {damage.row_group} cannot be read \(found: "):
            row_groups(log)[damage.row_group].read(lambda rows: rows)
    sound = next(group for group in row_groups(log) if group.number not in {damage.row_group for damage in bad})
    assert sound.read(lambda rows: rows).height == 250


def test_a_file_that_goes_while_it_is_read(log):
    group = row_groups(log)[1]
    log.unlink()
    with pytest.raises(DataError, match=r"row group 1 cannot be read \(found: No such file"):
        group.read(lambda rows: rows)


def test_damage_is_plain_json():
    damage = Damage(file="a.parquet", row_group=3, rows=10, reason="zstd")
    assert Damage.model_validate_json(damage.model_dump_json()) == damage
