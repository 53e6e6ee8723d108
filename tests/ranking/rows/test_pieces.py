"""Pieces of day files: inside row groups, equal in wanted rows, each wanted row in one of them."""

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.rows.pieces import cut_pieces

WANTED = pl.col("split") == "train"


@pytest.fixture(scope="module")
def cut_log(click_log, tmp_path_factory):
    """The small log's days one and two, 600 rows or so each, in row groups of 100 and of 1,000 rows."""
    folder = tmp_path_factory.mktemp("cut")
    for place, (file, size) in enumerate(zip(click_log.interaction_files(), (100, 1000), strict=False)):
        rows = pl.read_parquet(file).with_row_index("number", offset=1000 * place)
        mixed = rows.with_columns(
            split=pl.when(pl.col("number") % 7 < 3).then(pl.lit("train")).otherwise(pl.lit("test"))
        )
        target = folder / "interactions" / f"day={place}" / "part.parquet"
        target.parent.mkdir(parents=True)
        (mixed if place else rows).write_parquet(target, row_group_size=size)
    return replace(click_log, path=folder)


def numbers(piece, wanted=WANTED):
    return piece.read(wanted, ["number"])["number"].to_list()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 700), st.integers(1, 40))
def test_each_wanted_row_once_and_in_order(cut_log, piece_rows, at_least):
    wanted = cut_log.interactions().filter(WANTED).collect()["number"].to_list()
    size = min(piece_rows, -(-len(wanted) // at_least))
    pieces = cut_pieces(cut_log, WANTED, max(size, 40), 1)
    assert [number for piece in pieces for number in numbers(piece)] == wanted
    assert all(len(numbers(piece)) == piece.kept <= max(size, 40) for piece in pieces[:5])


def test_pieces_stay_inside_row_groups_and_are_even(cut_log):
    pieces = cut_pieces(cut_log, WANTED, 60)
    for piece in pieces:
        assert piece.group.start <= piece.start
        assert piece.start + piece.rows <= piece.group.start + piece.group.rows
    first = [piece for piece in pieces if piece.file.parent.name == "day=0"]
    assert [piece.kept for piece in first[:4]] == [50, 50, 50, 50]
    assert len({piece.group.number for piece in first}) == len(first) / 2
    mixed = [piece.kept for piece in pieces if piece.file.parent.name == "day=1"]
    assert max(mixed) - min(mixed) <= 1


def test_at_least_so_many(cut_log):
    assert len(cut_pieces(cut_log, WANTED, 10_000, at_least=30)) >= 30
    assert len(cut_pieces(cut_log, WANTED, 10_000)) == len(cut_log.row_groups())


def test_no_wanted_row_no_piece(cut_log):
    assert cut_pieces(cut_log, pl.col("split") == "valid", 100) == []


def test_a_row_is_found_in_its_row_group(cut_log):
    for piece in cut_pieces(cut_log, WANTED, 60):
        whole = piece.group.read(lambda rows: rows)["number"].to_list()
        for place in (0, piece.kept - 1):
            assert whole[piece.row(WANTED, place)] == numbers(piece)[place]
