"""Saved state: a restarted scorer goes on bit by bit; what is not its own state is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from segrec.records import DataError
from segrec.scoring.live_files import restore_state, save_state
from segrec.scoring.live_segments import LiveSegment

if TYPE_CHECKING:
    from conftest import LiveCase


@pytest.mark.parametrize("name", ["next_segment", "own_segment", "content_only"])
@pytest.mark.parametrize("state", ["float32", "float16"])
def test_a_restored_scorer_goes_on_bit_by_bit(
    name: str, state: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Few slots and a short idle time, so that rooms go before and after; rates wait across the restart."""
    made: LiveCase = request.getfixturevalue(name)
    settings = {"capacity": 3, "idle_ms": 900_000, "state": state}
    order, scorer = made.in_time(), made.scorer(**settings)
    for row in order[:70]:
        made.push(scorer, [row])
    save_state(scorer, tmp_path / "state")
    again = made.scorer(**settings)
    restore_state(again, tmp_path / "state")
    assert (list(again.slots.slot_of), again.counts) == (list(scorer.slots.slot_of), scorer.counts)
    for first in range(70, len(order), 3):
        rows = order[first : first + 3]
        assert made.push(scorer, rows).tobytes() == made.push(again, rows).tobytes()
    assert again.counts == scorer.counts
    assert scorer.counts["evicted_idle"] + scorer.counts["evicted_full"] > 0


def test_duplicates_are_known_across_a_restart(content_only: LiveCase, tmp_path: Path) -> None:
    scorer = content_only.scorer()
    scores = content_only.push(scorer, [0, 1, 2])
    save_state(scorer, tmp_path / "state")
    again = content_only.scorer(capacity=8)
    restore_state(again, tmp_path / "state")
    assert np.array_equal(content_only.push(again, [2, 1]), scores[[2, 1]])
    assert again.counts["duplicate"] == 2


def test_numbers_and_texts_stay_apart(content_only: LiveCase, tmp_path: Path) -> None:
    """Room 7 and room "7" are two rooms; no streamer stays none."""
    scorer = content_only.scorer()
    scorer.push_many([(7, LiveSegment(0, 30, "a")), ("7", LiveSegment(0, 30)), (8, LiveSegment(0, 30, 9))])
    save_state(scorer, tmp_path / "state")
    again = content_only.scorer()
    restore_state(again, tmp_path / "state")
    assert list(again.slots.slot_of) == [7, "7", 8]
    assert [again.streamers[slot] for slot in again.slots.slot_of.values()] == ["a", None, 9]


def test_an_empty_scorer_can_be_saved(own_segment: LiveCase, tmp_path: Path) -> None:
    save_state(own_segment.scorer(), tmp_path / "state")
    again = own_segment.scorer()
    restore_state(again, tmp_path / "state")
    assert len(again) == 0


def test_a_state_is_replaced_only_on_purpose(content_only: LiveCase, tmp_path: Path) -> None:
    scorer = content_only.scorer()
    save_state(scorer, tmp_path / "state")
    with pytest.raises(DataError, match="exists already"):
        save_state(scorer, tmp_path / "state")
    content_only.push(scorer, [0])
    save_state(scorer, tmp_path / "state", overwrite=True)
    assert json.loads((tmp_path / "state" / "state.json").read_text())["rooms"] == 1


def test_states_that_are_refused(content_only: LiveCase, next_segment: LiveCase, tmp_path: Path) -> None:
    scorer, folder = content_only.scorer(), tmp_path / "state"
    content_only.push(scorer, [0, 30])
    save_state(scorer, folder)
    for other, message in (
        (next_segment.scorer(), r"is the state of another encoder \(found: \w{12}; expected: \w{12}\)"),
        (content_only.scorer(state="float16"), r"another type \(found: float32; expected: float16\)"),
        (
            content_only.scorer(capacity=1),
            r"more rooms than the scorer has capacity for \(found: 2; expected: at most 1",
        ),
        (scorer, r"the scorer holds rooms already"),
    ):
        rooms = len(other)
        with pytest.raises(DataError, match=message):
            restore_state(other, folder)
        assert len(other) == rooms


@pytest.mark.parametrize("name", ["state.json", "buffers.safetensors", "rooms.parquet", "streamers.parquet"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_states_are_refused_whole(content_only: LiveCase, tmp_path: Path, name: str, damage: str) -> None:
    """The scorer is as empty as before."""
    scorer, folder = content_only.scorer(), tmp_path / "state"
    content_only.push(scorer, [0, 30])
    save_state(scorer, folder)
    file = folder / name
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-20])
    again = content_only.scorer()
    with pytest.raises(DataError, match="holds no state of live scoring, or a damaged one"):
        restore_state(again, folder)
    assert len(again) == 0


def test_rooms_that_do_not_fit_the_buffers(content_only: LiveCase, tmp_path: Path) -> None:
    scorer, folder = content_only.scorer(), tmp_path / "state"
    content_only.push(scorer, [0, 30])
    save_state(scorer, folder)
    rooms = pl.read_parquet(folder / "rooms.parquet")
    rooms[:1].write_parquet(folder / "rooms.parquet")
    again = content_only.scorer()
    with pytest.raises(DataError, match="1 rooms instead of 2"):
        restore_state(again, folder)
    assert len(again) == 0


def test_the_example_of_the_docs_runs(next_segment: LiveCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, with this run's folder and width of vectors."""
    page = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    example, columns = (block for block in blocks if "LiveScorer" in block or "SegmentColumns" in block)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "kuaihl").symlink_to(next_segment.run.path)
    scope: dict[str, Any] = {}
    exec(example.replace("np.zeros(512)", "np.zeros(6)"), scope)
    assert 0 < scope["score"] < 1
    assert +scope["again"].counts == {"scored": 1, "outcome": 2}
    exec(columns.replace("(2, 512)", "(2, 6)"), scope)
    assert ((scope["scores"] > 0) & (scope["scores"] < 1)).all()
    assert +scope["scorer"].counts == {"scored": 3, "outcome": 3}
