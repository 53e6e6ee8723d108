"""Score tables of live encoders: every segment once, train rooms out of fold on request, and what a table says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from ranking.cli import main
from segrec.freezing import FrozenEncoder
from segrec.records import ConfigError, DataError, DatasetFolder, ScoreTable
from segrec.scoring.cross_fitting import cross_fitted_rooms, room_blocks_of
from segrec.scoring.score_tables import write_scores
from segrec.segments.rooms import Rooms

if TYPE_CHECKING:
    from conftest import LiveCase


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Exit code of a command line, and what it told."""

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["segrec", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), " ".join((told.out + told.err).split())

    return run


@pytest.fixture(scope="module")
def table(next_segment: LiveCase, tmp_path_factory: pytest.TempPathFactory) -> ScoreTable:
    return write_scores(next_segment.run, next_segment.dataset, tmp_path_factory.mktemp("scores") / "live.parquet")


def test_every_segment_of_every_room_has_its_score(table: ScoreTable, next_segment: LiveCase) -> None:
    found = table.frame().collect()
    assert found.columns == ["item_id", "segment", "end_ms", "score"]
    assert found.drop("score").equals(next_segment.rooms.frame.select("item_id", "segment", "end_ms"))
    assert found["score"].to_numpy() == pytest.approx(next_segment.wanted)


def test_the_table_says_what_it_is(table: ScoreTable, next_segment: LiveCase) -> None:
    """In-sample scores of train rooms warn; valid and test rooms may be tested."""
    meta, frozen = table.meta, FrozenEncoder.open(next_segment.run.frozen)
    assert (meta.form, meta.kind, meta.encoder, meta.folds) == ("live", "relevance", "kuaihl:default", None)
    assert (meta.encoder_hash, meta.fitted_on) == (frozen.hash, ["train"])
    assert meta.trained_until_ms == next_segment.encoder.trained_until(next_segment.dataset)
    table.check_usable(next_segment.dataset)
    assert "train rooms hold scores of an encoder fitted on those same rooms" in str(table.leak_warning())


def test_blocks_of_rooms_hold_each_train_room_once(next_segment: LiveCase) -> None:
    """8 train rooms (70% of 12) in 3 blocks by start; a room lies in one block whole."""
    blocks = room_blocks_of(next_segment.rooms, 3)
    kept = [set(Rooms.of(next_segment.dataset, ["train"], block).frame["item_id"].to_list()) for block in blocks]
    trained = set(range(1000, 1008))
    hidden = [trained - rooms for rooms in kept]
    assert sorted(room for rooms in hidden for room in rooms) == sorted(trained)
    assert all(2 <= len(rooms) <= 3 for rooms in hidden)
    for before, after in pairwise(hidden):
        assert max(before) < min(after)


@pytest.mark.parametrize(("folds", "error"), [(1, ConfigError), (9, DataError)])
def test_bad_folds(next_segment: LiveCase, folds: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="fold"):
        room_blocks_of(next_segment.rooms, folds)


def test_train_rooms_out_of_fold(table: ScoreTable, next_segment: LiveCase, tmp_path: Path) -> None:
    """Valid and test rooms as by the full encoder, train rooms otherwise; no warning."""
    folded = write_scores(next_segment.run, next_segment.dataset, tmp_path / "folds.parquet", cross_fit=2)
    assert folded.meta.folds is not None
    assert folded.leak_warning() is None
    one, other = table.frame().collect(), folded.frame().collect()
    assert one.drop("score").equals(other.drop("score"))
    train = (next_segment.rooms.frame["split"] == "train").to_numpy()
    changed = (one["score"] != other["score"]).to_numpy()
    assert not changed[~train].any()
    assert changed[train].mean() > 0.9


def test_a_room_out_of_fold_does_not_know_its_own_rates(content_only: LiveCase, tmp_path: Path) -> None:
    """The rates of room 1002 are turned round: its own scores stay bit by bit, rooms of other blocks change.

    The encoder looks at content only, so that the rates can reach a score by the weights alone.
    """
    changed = tmp_path / "changed"
    scores = [cross_fitted(content_only, content_only.dataset)]
    copy_with_turned_rates(content_only.dataset, changed, 1002)
    scores.append(cross_fitted(content_only, DatasetFolder.open(changed)))
    room = (content_only.rooms.frame["item_id"] == 1002).to_numpy()
    assert np.array_equal(scores[0][room], scores[1][room])
    later = (content_only.rooms.frame["item_id"] == 1006).to_numpy()
    assert (scores[0][later] != scores[1][later]).mean() > 0.9


def cross_fitted(made: LiveCase, dataset: DatasetFolder) -> np.ndarray:
    frozen = FrozenEncoder.open(made.run.frozen)
    return cross_fitted_rooms(made.encoder, frozen, Rooms.of(dataset), 2)


def copy_with_turned_rates(dataset: DatasetFolder, folder: Path, room: int) -> None:
    folder.mkdir()
    for part in dataset.path.iterdir():
        if part.name != "segments":
            (folder / part.name).symlink_to(part)
    (folder / "segments").mkdir()
    for part in (dataset.path / "segments").iterdir():
        if part.suffix != ".parquet":
            (folder / "segments" / part.name).symlink_to(part)
            continue
        turned = pl.when(pl.col("item_id") == room).then(1 - pl.col("lvtr")).otherwise("lvtr")
        pl.read_parquet(part).with_columns(lvtr=turned).write_parquet(folder / "segments" / part.name)


def test_the_command_tells_what_it_wrote(
    next_segment: LiveCase, tmp_path: Path, command: Callable[..., tuple[int, str]]
) -> None:
    out = tmp_path / "scores.parquet"
    code, told = command("score", next_segment.run.path, next_segment.dataset.path, "--out", out)
    assert code == 0
    assert f"{len(next_segment.wanted)} rows, relevance by kuaihl:default" in told
    assert "warning:" in told
    assert "use `segrec score --cross-fit K`" in told
    code, told = command("score", next_segment.run.path, next_segment.dataset.path, "--out", out)
    assert code == 2
    assert "exists already" in told


def test_what_cannot_be_scored(
    next_segment: LiveCase, interest_dataset: DatasetFolder, tmp_path: Path, command: Callable[..., tuple[int, str]]
) -> None:
    """A dataset of views has no live rooms; another dataset's rooms cannot be cross-fitted, but scored."""
    out = tmp_path / "scores.parquet"
    code, told = command("score", next_segment.run.path, interest_dataset.path, "--out", out)
    assert code == 2
    assert "has no live rooms" in told
    copy_with_turned_rates(next_segment.dataset, tmp_path / "other", 1002)
    file = tmp_path / "other" / "dataset.json"
    text = file.read_text().replace("live-12", "live-other")
    file.unlink()
    file.write_text(text)
    other = DatasetFolder.open(tmp_path / "other")
    with pytest.raises(DataError, match="was fitted on another dataset"):
        write_scores(next_segment.run, other, out, cross_fit=2)
    assert not out.exists()
    assert write_scores(next_segment.run, other, out).meta.fitted_on is None
